"""Adds to the measurements what doctors look at: two ratios of blood fats.

The column names are those of the data set: s1 is the total cholesterol, s2 the "bad" and s3 the
"good" part of it, s5 the logarithm of the triglycerides. All are scaled around 0, so their
differences stand for the logarithms of ratios.
"""


class FeatureExtractor:
    def fit(self, X_df, y):
        pass

    def transform(self, X_df):
        ratios = {
            "bad_to_good": X_df["s2"] - X_df["s3"],
            "triglycerides_to_good": X_df["s5"] - X_df["s3"],
        }
        return X_df.assign(**ratios).to_numpy()
