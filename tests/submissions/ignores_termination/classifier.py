import signal
import time


class Classifier:
    def fit(self, X, y):
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            time.sleep(0.1)
        print("ESCAPED its time limit")
