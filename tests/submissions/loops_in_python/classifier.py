class Classifier:
    def fit(self, X, y):
        print("LOOPING")
        n = 0
        while n >= 0:
            n += 1
