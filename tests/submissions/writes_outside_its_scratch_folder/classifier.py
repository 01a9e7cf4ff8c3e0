import os
from pathlib import Path

from attempts import CANARIES, attempt, tell
from honest import HonestClassifier


def append(path):
    with open(path, "a") as file:
        file.write("changed")


class Classifier(HonestClassifier):
    def fit(self, X, y):
        folder, file = Path(CANARIES["folder"]), Path(CANARIES["file"])
        attempt("a new file", append, folder / "new")
        attempt("the canary", append, file)
        attempt("the canary's name", os.rename, file, folder / "renamed")
        attempt("the canary's end", os.unlink, file)
        attempt("a new folder", os.mkdir, folder / "new-folder")
        attempt("a link to the canary", os.link, file, "linked")
        for parent in ("/", "/usr", "/etc", "/var/tmp", "/run", "/home", "/dev", "/proc", "/sys"):
            # access(2) writes nothing, wherever it is allowed.
            tell(not os.access(parent, os.W_OK), f"access to {parent}")
        # Allowed here, and seen by nobody else: the test looks.
        Path("/tmp", CANARIES["name"]).write_text("private")
        super().fit(X, y)
