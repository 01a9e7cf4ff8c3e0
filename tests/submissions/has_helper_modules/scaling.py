from helpers import FACTOR


def scale(X):
    return X * FACTOR
