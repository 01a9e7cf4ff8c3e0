import socket

from attempts import CANARIES, attempt
from honest import HonestClassifier


class Classifier(HonestClassifier):
    def fit(self, X, y):
        for name in ("canary", "api", "redis"):
            address = ("127.0.0.1", CANARIES["ports"][name])
            attempt(name, lambda a=address: socket.create_connection(a, timeout=1).close())
        super().fit(X, y)
