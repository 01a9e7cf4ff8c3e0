from honest import HonestClassifier


class Sticky:
    def __del__(self):
        while True:
            pass


class Classifier(HonestClassifier):
    def fit(self, X, y):
        thing = Sticky()
        super().fit(X, y)
        del thing
