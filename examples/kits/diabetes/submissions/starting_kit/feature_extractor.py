"""The table, and how weight and blood pressure go together."""


class FeatureExtractor:
    def fit(self, X_df, y):
        return self

    def transform(self, X_df):
        return X_df.assign(bmi_bp=X_df["bmi"] * X_df["bp"]).to_numpy()
