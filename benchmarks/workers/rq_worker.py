"""A plain RQ worker: ``python -m benchmarks.workers.rq_worker URL QUEUE [MODULE ...]``."""

import importlib
import sys

from redis import Redis
from rq import Worker


def main(url: str, queue: str, *modules: str) -> None:
    """Import modules, then serve a queue until somebody asks to stop."""
    for module in modules:
        importlib.import_module(module)
    connection = Redis.from_url(url, socket_timeout=None)
    Worker([queue], connection=connection).work(logging_level="WARNING")


if __name__ == "__main__":
    main(*sys.argv[1:])
