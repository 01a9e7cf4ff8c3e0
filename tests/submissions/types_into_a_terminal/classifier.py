import fcntl
import os

from attempts import attempt
from honest import HonestClassifier

TIOCSTI, TIOCLINUX = 0x5412, 0x541C


def type_into_own():
    """Type into a terminal of our own making, where one can be made."""
    ours, theirs = os.openpty()
    try:
        fcntl.ioctl(theirs, TIOCSTI, b"x")
    finally:
        os.close(ours)
        os.close(theirs)


def ask(descriptor, request):
    """Get as far as the device; one that is no terminal says so, and does nothing."""
    try:
        return fcntl.ioctl(descriptor, request, b"\0")
    except OSError as error:
        if isinstance(error, PermissionError):
            raise
        return error


class Classifier(HonestClassifier):
    def fit(self, X, y):
        attempt("TIOCSTI", ask, 0, TIOCSTI)
        attempt("TIOCLINUX", ask, 0, TIOCLINUX)
        attempt("TIOCSTI into a new terminal", type_into_own)
        attempt("the terminal", lambda: os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)))
        super().fit(X, y)
