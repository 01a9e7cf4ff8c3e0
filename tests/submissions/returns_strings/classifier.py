from honest import HonestClassifier


class Classifier(HonestClassifier):
    def predict_proba(self, X):
        return self.model.predict(X)
