import threading

from attempts import tell
from honest import HonestClassifier

MOST = 400


class Classifier(HonestClassifier):
    def fit(self, X, y):
        is_over = threading.Event()
        threads = []
        try:
            while len(threads) < MOST:
                thread = threading.Thread(target=is_over.wait, args=(5,))
                thread.start()
                threads.append(thread)
        except RuntimeError as error:
            tell(True, "more threads", error)
        else:
            tell(False, "more threads", len(threads))
        is_over.set()
        for thread in threads:
            thread.join()
        super().fit(X, y)
