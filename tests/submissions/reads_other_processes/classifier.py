import os
from pathlib import Path

from attempts import CANARIES, attempt, tell
from honest import HonestClassifier


def read(path):
    with Path(path).open("rb") as file:
        return len(file.read(64))


class Classifier(HonestClassifier):
    def fit(self, X, y):
        others = {"its parent": os.getppid(), "the canary": CANARIES["process"]}
        others |= {f"worker {pid}": pid for pid in CANARIES["workers"]}
        for name, pid in others.items():
            for file in ("environ", "cmdline", "maps", "status"):
                attempt(f"{file} of {name}", read, f"/proc/{pid}/{file}")
            attempt(f"memory of {name}", lambda pid=pid: Path(f"/proc/{pid}/mem").open("rb"))
            attempt(f"files of {name}", os.listdir, f"/proc/{pid}/fd")
        seen = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        tell(seen <= {os.getpid()}, "other processes in /proc", len(seen) - 1)
        super().fit(X, y)
