import socket
from pathlib import Path

from attempts import CANARIES, tell
from honest import HonestClassifier


class Classifier(HonestClassifier):
    def fit(self, X, y):
        for name, machines in CANARIES["namespaces"].items():
            own = str(Path(f"/proc/self/ns/{name}").readlink())
            tell(own != machines, f"the machine's namespace {name}", own)
        tell(socket.gethostname() != CANARIES["host"], "the machine's name")
        super().fit(X, y)
