"""The peer: a plain RQ worker with scikit-learn loaded, ``python -m benchmarks.plain_rq URL``."""

import importlib
import sys

from redis import Redis


def do_nothing() -> None:
    """Be a job."""


def main(url: str) -> None:
    """Serve the queue `plain` until somebody asks to stop."""
    for name in ("sklearn.ensemble", "sklearn.linear_model"):
        importlib.import_module(name)
    from rq import Worker

    Worker(["plain"], connection=Redis.from_url(url, socket_timeout=None)).work(
        logging_level="WARNING"
    )


if __name__ == "__main__":
    main(sys.argv[1])
