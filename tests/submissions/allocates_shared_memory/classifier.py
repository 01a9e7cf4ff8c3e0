import mmap
import os
import time

from attempts import attempt

MIB = 1024 * 1024


def hide():
    descriptor = os.memfd_create("hidden")
    try:
        return os.write(descriptor, b"x" * MIB)
    finally:
        os.close(descriptor)


class Classifier:
    def fit(self, X, y):
        attempt("a file in memory", hide)
        hoard = []
        for _ in range(25):
            region = mmap.mmap(-1, 16 * MIB)
            for at in range(0, len(region), mmap.PAGESIZE):
                region[at] = 1
            hoard.append(region)
        time.sleep(2)
        print(f"ESCAPED with {len(hoard) * 16} MiB")
