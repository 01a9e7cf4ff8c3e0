import os
import time

from attempts import tell
from honest import HonestClassifier

MOST = 200
LIFETIME = 5


class Classifier(HonestClassifier):
    def fit(self, X, y):
        n_forked = 0
        try:
            while n_forked < MOST:
                if os.fork() == 0:
                    time.sleep(LIFETIME)
                    os._exit(0)
                n_forked += 1
        except OSError as error:
            tell(True, "more processes", error)
        else:
            tell(False, "more processes", n_forked)
        super().fit(X, y)
