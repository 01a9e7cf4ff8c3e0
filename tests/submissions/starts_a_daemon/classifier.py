import ctypes
import os
import signal
import time

from attempts import CANARIES
from honest import HonestClassifier

PR_SET_NAME = 15
LIFETIME = 20


class Classifier(HonestClassifier):
    def fit(self, X, y):
        reader, writer = os.pipe()
        if (pid := os.fork()) == 0:
            os.setsid()
            if os.fork() == 0:
                self.live_on(writer)
            os._exit(0)
        os.waitpid(pid, 0)
        print("STARTED", os.read(reader, 16).decode())
        super().fit(X, y)

    def live_on(self, writer):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        # The test looks for a process of this name.
        ctypes.CDLL(None).prctl(PR_SET_NAME, CANARIES["name"].encode(), 0, 0, 0)
        os.write(writer, b"a daemon")
        time.sleep(LIFETIME)
        os._exit(0)
