import socket

from attempts import CANARIES, attempt
from honest import HonestClassifier


def send():
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.sendto(b"hello", ("127.0.0.1", CANARIES["ports"]["datagrams"]))


def ask():
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.connect(("192.0.2.1", 53))
        client.send(b"no question")


class Classifier(HonestClassifier):
    def fit(self, X, y):
        attempt("a datagram", send)
        attempt("a question to a name server", ask)
        attempt("a name", socket.getaddrinfo, "datarun.invalid", 80)
        super().fit(X, y)
