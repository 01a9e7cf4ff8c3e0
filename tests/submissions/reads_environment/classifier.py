import os
import subprocess
import sys
from pathlib import Path

from attempts import CANARIES, tell
from honest import HonestClassifier


class Classifier(HonestClassifier):
    def fit(self, X, y):
        everything = {
            "os.environ": repr(dict(os.environ)),
            "/proc/self/environ": Path("/proc/self/environ").read_text(),
            "a child's": subprocess.run(
                [sys.executable, "-c", "import os; print(dict(os.environ))"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout,
        }
        for name, text in everything.items():
            secrets = [word[::-1] for word in CANARIES["environment"]]
            words = [*secrets, "DATARUN_TOKEN", "REDIS", "DATABASE", "PASSWORD"]
            found = [word for word in words if word in text]
            tell(not found, name, found)
        super().fit(X, y)
