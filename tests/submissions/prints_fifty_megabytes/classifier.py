import os

from honest import HonestClassifier


class Classifier(HonestClassifier):
    def fit(self, X, y):
        print("THE FIRST LINE", flush=True)
        for _ in range(50 * 16):
            os.write(1, b"nothing to say, sixty-four letters long, again and again, sir.\n" * 1024)
        super().fit(X, y)

    def predict_proba(self, X):
        print("THE LAST LINE")
        return super().predict_proba(X)
