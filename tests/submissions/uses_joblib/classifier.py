import joblib
from honest import HonestClassifier


def square(number):
    return number * number


class Classifier(HonestClassifier):
    def fit(self, X, y):
        for backend in ("loky", "threading"):
            squares = joblib.Parallel(2, backend=backend)(map(joblib.delayed(square), range(8)))
            print("SQUARED", backend, sum(squares))
        super().fit(X, y)
