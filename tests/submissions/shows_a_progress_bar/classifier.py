import sys
import time

from honest import HonestClassifier


class Classifier(HonestClassifier):
    def fit(self, X, y):
        for percent in range(0, 101, 2):
            bar = "#" * (percent // 5)
            sys.stderr.write(f"\r{percent:3d} %|{bar:<20}| \x1b[A\x1b[K")
            sys.stderr.flush()
            time.sleep(0.002)
        sys.stderr.write("\nDONE\n")
        super().fit(X, y)
