import os

import joblib
from honest import HonestClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score
from sklearn.naive_bayes import GaussianNB


class Classifier(HonestClassifier):
    def fit(self, X, y):
        forest = RandomForestClassifier(20, n_jobs=-1, random_state=0).fit(X, y)
        scores = cross_val_score(GaussianNB(), X, y, n_jobs=-1, cv=3)
        print(f"WORKED {len(forest.estimators_)} {len(scores)}")
        print("WITHIN" if joblib.cpu_count() <= os.cpu_count() else "BEYOND", "its cores")
        super().fit(X, y)
