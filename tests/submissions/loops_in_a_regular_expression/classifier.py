import re


class Classifier:
    def fit(self, X, y):
        # C code that holds the interpreter: 2 to the 60th ways to fail.
        re.match(r"(a|aa|a?)+$", "a" * 60 + "b")
