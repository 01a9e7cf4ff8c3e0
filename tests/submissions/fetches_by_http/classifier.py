import urllib.request

from attempts import CANARIES, attempt, tell
from honest import HonestClassifier


class Classifier(HonestClassifier):
    def fit(self, X, y):
        url = f"http://127.0.0.1:{CANARIES['ports']['api']}/health"
        attempt("urllib", lambda: urllib.request.urlopen(url, timeout=1).status)
        try:
            import requests
        except ImportError:
            tell(True, "requests", "not there")
        else:
            # Its errors are OSErrors.
            attempt("requests", lambda: requests.get(url, timeout=1).status_code)
        super().fit(X, y)
