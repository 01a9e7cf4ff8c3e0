import os
import resource

from attempts import tell
from honest import HonestClassifier

MOST = 6_000


class Classifier(HonestClassifier):
    def fit(self, X, y):
        # As many as whoever started us would have allowed.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        files = []
        try:
            while len(files) < MOST:
                files.append(os.open("/dev/null", os.O_RDONLY))
        except OSError as error:
            tell(True, "more open files", error)
        else:
            tell(False, "more open files", len(files))
        for file in files:
            os.close(file)
        super().fit(X, y)
