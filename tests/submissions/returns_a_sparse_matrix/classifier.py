from honest import HonestClassifier
from scipy.sparse import csr_matrix


class Classifier(HonestClassifier):
    def predict_proba(self, X):
        return csr_matrix(super().predict_proba(X))
