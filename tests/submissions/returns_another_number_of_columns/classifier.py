from honest import HonestClassifier


class Classifier(HonestClassifier):
    n_calls = 0

    def predict_proba(self, X):
        self.n_calls += 1
        return super().predict_proba(X)[:, : 4 - self.n_calls]
