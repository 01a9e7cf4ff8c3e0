import socket
from pathlib import Path

from attempts import CANARIES, attempt
from honest import HonestClassifier


def connect(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


class Classifier(HonestClassifier):
    def fit(self, X, y):
        attempt("the canary's socket", connect, CANARIES["socket"])
        for path in CANARIES["server_sockets"]:
            attempt(f"a server's socket {path}", connect, path)
        # The zygote's has no name: it would be a descriptor or a line of this list.
        listed = Path("/proc/net/unix")
        for line in listed.read_text().splitlines()[1:] if listed.exists() else ():
            path = line.split()[-1]
            if path.startswith("/"):
                attempt("a listed socket", connect, path)
        super().fit(X, y)
