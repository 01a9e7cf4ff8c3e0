from honest import HonestClassifier


class Classifier(HonestClassifier):
    def fit(self, X, y):
        print("CLASSES", sorted(set(y)))
        super().fit(X, y)
