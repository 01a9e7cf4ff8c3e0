import time

import numpy as np

MIB = 1024 * 1024


class Classifier:
    def fit(self, X, y):
        hoard = np.ones(400 * MIB // 8)
        time.sleep(2)
        print(f"ESCAPED with {hoard.nbytes // MIB} MiB")
