import os
import time

MIB = 1024 * 1024


class Classifier:
    def fit(self, X, y):
        # None is over the limit of 256 MiB, eight are.
        children = []
        for _ in range(8):
            if (pid := os.fork()) == 0:
                hoard = b"x" * (50 * MIB)
                time.sleep(3)
                os._exit(len(hoard) % 2)
            children.append(pid)
        for pid in children:
            os.waitpid(pid, 0)
        print("ESCAPED with 400 MiB in eight children")
