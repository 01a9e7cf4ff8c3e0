import settings
from helpers.models import make_model
from scaling import scale


class Classifier:
    def fit(self, X, y):
        import late

        self.model = late.pass_on(make_model()).fit(scale(X), y)
        print("USED", settings.NAME)

    def predict_proba(self, X):
        return self.model.predict_proba(scale(X))
