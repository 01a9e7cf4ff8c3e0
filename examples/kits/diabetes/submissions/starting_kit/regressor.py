"""Trees, whose seed makes every run the same."""

from sklearn.ensemble import GradientBoostingRegressor


class Regressor:
    def fit(self, X, y):
        self.model = GradientBoostingRegressor(n_estimators=50, random_state=57).fit(X, y)

    def predict(self, X):
        return self.model.predict(X)
