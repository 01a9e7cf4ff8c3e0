from honest import HonestClassifier


class Classifier(HonestClassifier):
    def predict_proba(self, X):
        super().predict_proba(X)
