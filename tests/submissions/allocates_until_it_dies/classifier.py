import time

MIB = 1024 * 1024


class Classifier:
    def fit(self, X, y):
        # The limit is 256 MiB; this case's own bound is 400.
        hoard = []
        for _ in range(100):
            hoard.append(b"x" * (4 * MIB))
        time.sleep(2)
        print(f"ESCAPED with {len(hoard) * 4} MiB")
