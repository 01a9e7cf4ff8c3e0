import atexit
import signal
import time

from honest import HonestClassifier


def block(*_):
    time.sleep(20)


class Classifier(HonestClassifier):
    def fit(self, X, y):
        atexit.register(block)
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, block)
        print("READY to block")
        super().fit(X, y)
