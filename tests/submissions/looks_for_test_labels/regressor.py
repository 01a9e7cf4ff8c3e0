import gc
import os
import sys
from pathlib import Path

import numpy as np
from attempts import CANARIES, tell
from honest import HonestRegressor
from memory import count_in_memory

NAMES = ("y_test", "y_held_out", "labels_test", "test_labels")


def is_label(value):
    """Tell a label of the test set by its masked upper part."""
    upper = (int(value) >> 16) & 0xFFFF_FFFF_FFFF
    masked = bytes(byte ^ 0x5A for byte in upper.to_bytes(6, "little"))
    return masked.hex() == CANARIES["masked"]["test labels"]


class Regressor(HonestRegressor):
    def predict(self, X):
        found = []
        frame = sys._getframe()
        while frame is not None:
            found += [name for name in {*frame.f_locals, *frame.f_globals} if name in NAMES]
            frame = frame.f_back
        for module in list(sys.modules.values()):
            name = getattr(module, "__name__", "")
            if name.startswith(("datarun", "__main__")):
                found += [f"{name}.{attr}" for attr in vars(module) if attr in NAMES]
        for thing in gc.get_objects():
            if type(thing) is np.ndarray and thing.dtype == np.int64 and 0 < thing.size < 10**6:
                found += ["an array"] * is_label(thing.ravel()[0])
        for top in (".", "..", "../source", "/tmp", "/dev/shm", "/sandbox"):
            for _, _, names in os.walk(top):
                found += [name for name in names if Path(name).stem in NAMES]
        for name in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink(f"/proc/self/fd/{name}")
                # Not a pipe: reading from it would wait.
                if target.startswith("/") and Path(target).name != "null":
                    data = os.pread(int(name), 1 << 20, 0)
                    values = np.frombuffer(data[: len(data) // 8 * 8], "<i8")
                    found += [target] * any(map(is_label, values[:100_000]))
            except OSError:
                continue
        counts = count_in_memory(CANARIES["masked"])
        found += ["memory"] * counts["test labels"]
        tell(not found, "labels of the test set", found)
        return super().predict(X)
