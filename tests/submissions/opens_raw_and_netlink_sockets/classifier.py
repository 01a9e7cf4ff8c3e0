import socket

from attempts import attempt
from honest import HonestClassifier

# Names that not every Python has, by number.
KINDS = {
    "raw": (socket.AF_INET, socket.SOCK_RAW, 1),
    "packet": (17, socket.SOCK_RAW, 0),
    "netlink": (16, socket.SOCK_RAW, 0),
    "vsock": (40, socket.SOCK_STREAM, 0),
    "kernel cipher": (38, socket.SOCK_SEQPACKET, 0),
    "multipath TCP": (socket.AF_INET, socket.SOCK_STREAM, 262),
    "SCTP": (socket.AF_INET, socket.SOCK_STREAM, 132),
}


class Classifier(HonestClassifier):
    def fit(self, X, y):
        for name, kind in KINDS.items():
            attempt(name, lambda kind=kind: socket.socket(*kind).close())
        super().fit(X, y)
