from sklearn.naive_bayes import GaussianNB

from helpers import FACTOR


def make_model():
    assert FACTOR == 1
    return GaussianNB()
