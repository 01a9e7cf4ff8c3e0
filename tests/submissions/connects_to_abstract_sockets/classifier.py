import socket

from attempts import CANARIES, attempt
from honest import HonestClassifier


def connect():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + CANARIES["abstract_socket"])


class Classifier(HonestClassifier):
    def fit(self, X, y):
        attempt("the canary's abstract socket", connect)
        super().fit(X, y)
