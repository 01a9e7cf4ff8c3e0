"""Trains a submission on data of its own, for where there is no fold to train it in."""

import numpy as np
from classifier import Classifier


def run() -> None:
    """Train it, and nothing more."""
    Classifier().fit(np.random.default_rng(0).random((30, 4)), np.arange(30) % 3)
