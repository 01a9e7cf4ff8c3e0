"""Many small trees, each correcting the ones before."""

from sklearn.ensemble import GradientBoostingRegressor


class Regressor:
    def __init__(self):
        self.model = GradientBoostingRegressor(
            n_estimators=100, learning_rate=0.05, max_depth=3, subsample=0.7, random_state=0
        )

    def fit(self, X, y):
        self.model.fit(X, y)

    def predict(self, X):
        return self.model.predict(X)
