from attempts import CANARIES, tell
from honest import HonestRegressor
from memory import count_in_memory

NAMES = ("train labels", "validation labels", "validation features")
MASKED = {name: CANARIES["masked"][name] for name in NAMES}


class Regressor(HonestRegressor):
    def fit(self, X, y):
        self.look("training")

    def predict(self, X):
        self.look("predicting")
        return super().predict(X)

    def look(self, when):
        counts = count_in_memory(MASKED)
        for name in ("train labels", "validation features"):
            print(f"CONTROL {name}: {'found' if counts[name] else 'MISSED'}")
        tell(not counts["validation labels"], f"validation labels while {when}", counts)
