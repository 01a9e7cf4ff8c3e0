import os
import sys
from pathlib import Path

import datarun_worker
from attempts import CANARIES, tell
from honest import HonestClassifier

FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/sandbox", *CANARIES["folders"].values())
ENOUGH = 5000


def is_python(path):
    known = (sys.prefix, sys.base_prefix, Path(datarun_worker.__file__).parents[1])
    return path in map(Path, known)


class Classifier(HonestClassifier):
    def fit(self, X, y):
        # The neighbour's source holds this word; here it is backwards.
        word = CANARIES["neighbour"][::-1].encode()
        found, n_seen = [], 0
        # Its own folders first; of a machine's that is full, some are enough.
        for top in reversed(FOLDERS):
            for folder, inner, names in os.walk(top):
                # Python may be installed there.
                inner[:] = [name for name in inner if not is_python(Path(folder, name))]
                if n_seen > ENOUGH:
                    break
                for path in [Path(folder, name) for name in names][:1000]:
                    n_seen += 1
                    try:
                        if path.is_file() and word in path.read_bytes()[:65536]:
                            found.append(str(path))
                    except OSError:
                        continue
        tell(not found, "sources of others", found)
        tell(n_seen < 40, "files of others", n_seen)
        super().fit(X, y)
