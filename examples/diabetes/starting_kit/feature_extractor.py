"""Passes all measurements on as they are."""


class FeatureExtractor:
    def fit(self, X_df, y):
        pass

    def transform(self, X_df):
        return X_df.to_numpy()
