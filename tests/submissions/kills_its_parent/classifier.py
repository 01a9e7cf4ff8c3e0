import os
import signal

from attempts import tell
from honest import HonestClassifier


class Classifier(HonestClassifier):
    def fit(self, X, y):
        parent = os.getppid()
        # 0 would be the process group: nobody but ourselves, if it is our own.
        if parent > 1 or (parent == 0 and os.getpgrp() in (0, os.getpid())):
            try:
                os.kill(parent, signal.SIGKILL)
            except OSError as error:
                tell(True, "a signal to the parent", error)
            else:
                tell(parent == 0, "a signal to the parent", parent)
        super().fit(X, y)
