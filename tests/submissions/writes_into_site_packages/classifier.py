import sys
from pathlib import Path

import datarun_worker
import numpy
from attempts import CANARIES, tell
from honest import HonestClassifier


class Classifier(HonestClassifier):
    def fit(self, X, y):
        folders = {
            "site-packages": Path(numpy.__file__).parents[1],
            "datarun": Path(datarun_worker.__file__).parent,
            "the interpreter": Path(sys.base_prefix),
        }
        for name, folder in folders.items():
            # A name that Python never reads, gone again at once.
            path = folder / CANARIES["name"]
            try:
                path.write_text("")
            except OSError as error:
                tell(True, name, error)
            else:
                path.unlink()
                tell(False, name)
        super().fit(X, y)
