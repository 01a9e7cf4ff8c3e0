from attempts import CANARIES, tell
from honest import HonestRegressor
from memory import count_in_memory

MASKED = {name: CANARIES["masked"][name] for name in ("train features", "test features")}


class Regressor(HonestRegressor):
    def fit(self, X, y):
        counts = count_in_memory(MASKED)
        print(f"CONTROL train features: {'found' if counts['train features'] else 'MISSED'}")
        tell(not counts["test features"], "test features while training", counts)
        self.n_calls = 0

    def predict(self, X):
        counts = count_in_memory(MASKED)
        self.n_calls += 1
        if self.n_calls == 1:
            tell(not counts["test features"], "test features while validating", counts)
        else:
            print(f"CONTROL test features: {'found' if counts['test features'] else 'MISSED'}")
        return super().predict(X)
