import gc

from attempts import CANARIES, tell
from honest import HonestRegressor
from memory import count_in_memory


class Regressor(HonestRegressor):
    def fit(self, X, y):
        counts = count_in_memory(CANARIES["masked"])
        for name in ("train labels", "train features"):
            print(f"CONTROL {name}: {'found' if counts.pop(name) else 'MISSED'}")
        counts.pop("validation features")
        for name, count in counts.items():
            tell(not count, f"{name} in memory", count)
        words = [word[::-1] for word in CANARIES["secrets"]]
        found = 0
        for thing in gc.get_objects():
            if type(thing) is dict:
                values = [value for value in thing.values() if type(value) is str]
                found += sum(word in value for value in values for word in words)
        tell(not found, "secrets in objects", found)
