from honest import HonestClassifier

MIB = 1024 * 1024


class Classifier(HonestClassifier):
    def fit(self, X, y):
        # Half again as much as the tests' scratch folders hold.
        with open("big", "wb", buffering=0) as file:
            for _ in range(48):
                file.write(b"x" * MIB)
        print("ESCAPED 48 MiB in its scratch folder")
        super().fit(X, y)
