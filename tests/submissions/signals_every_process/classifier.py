import os
import signal

from attempts import CANARIES, attempt, tell
from honest import HonestClassifier


class Classifier(HonestClassifier):
    def fit(self, X, y):
        reached = []
        for pid in range(1, 40_000):
            if pid == os.getpid():
                continue
            try:
                # Signal 0 asks only.
                os.kill(pid, 0)
                reached.append(pid)
            except OSError:
                continue
        tell(not reached, "processes in reach", reached[:10])
        attempt("the canary", os.kill, CANARIES["process"], signal.SIGTERM)
        attempt("the canary by descriptor", lambda: os.close(os.pidfd_open(CANARIES["process"])))
        for pid in CANARIES["workers"]:
            attempt(f"worker {pid}", os.kill, pid, 0)
        super().fit(X, y)
