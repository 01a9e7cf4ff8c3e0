import fcntl
import os
import socket
import stat

from attempts import attempt, tell
from honest import HonestClassifier


class Classifier(HonestClassifier):
    def fit(self, X, y):
        self.look_around()
        super().fit(X, y)

    def predict_proba(self, X):
        # Now the features are there as an open file.
        self.look_around()
        return super().predict_proba(X)

    def look_around(self):
        sockets, pipes = [], []
        for name in map(int, os.listdir("/proc/self/fd")):
            try:
                mode = os.fstat(name).st_mode
            except OSError:
                # The listing's own.
                continue
            target = os.readlink(f"/proc/self/fd/{name}")
            if stat.S_ISSOCK(mode):
                sockets.append(name)
            elif stat.S_ISFIFO(mode):
                pipes.append(name)
            elif stat.S_ISDIR(mode):
                tell(False, "an open folder", target)
            elif stat.S_ISREG(mode) and "/memfd:" not in target:
                can_write = fcntl.fcntl(name, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
                tell(not can_write, "an input to write to", target)
                attempt("an input again", os.open, f"/proc/self/fd/{name}", os.O_RDWR)
                attempt("an input's mode", os.fchmod, name, 0o600)
        tell(len(sockets) <= 1, "sockets besides the agreed one", sockets)
        tell(set(pipes) <= {1, 2}, "pipes besides the agreed ones", pipes)
        for name in sockets:
            with socket.socket(fileno=os.dup(name)) as end:
                tell(end.family == socket.AF_UNIX, "a socket to somewhere", end.family)
