from latin import GRUSS
from modèle import Modèle


class Classifier(Modèle):
    def fit(self, X, y):
        größe, 数 = X.shape
        print(f"{GRUSS}: {größe} × {数} ≥ 0 😀")
        super().fit(X, y)
