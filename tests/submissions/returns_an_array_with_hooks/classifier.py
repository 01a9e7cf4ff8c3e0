import numpy as np
from honest import HonestClassifier


class Liar(np.ndarray):
    """An array that tells everybody something else."""

    shape = (2**40, 2**40)
    dtype = "nothing"
    nbytes = -1

    def __array_finalize__(self, source):
        print("HOOKED")

    def __array_ufunc__(self, *args, **options):
        return 0

    def __array_function__(self, *args, **options):
        return 0

    def __len__(self):
        return 2**40

    def __reduce__(self):
        return (print, ("ESCAPED unpickled",))


class Classifier(HonestClassifier):
    def predict_proba(self, X):
        return super().predict_proba(X).view(Liar)
