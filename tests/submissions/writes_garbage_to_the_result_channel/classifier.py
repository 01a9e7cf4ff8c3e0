import os

from channel import find_sockets
from honest import HonestClassifier


class Classifier(HonestClassifier):
    def fit(self, X, y):
        # Told before: afterwards there may be no time.
        print(f"WRITES to {len(find_sockets())} socket", flush=True)
        for descriptor in find_sockets():
            os.write(descriptor, b"\xff{[garbage")
        super().fit(X, y)
