"""Celery with its prefork pool: two processes that live on from task to task."""

import importlib
import os
import sys
import time
from collections.abc import Sequence

from benchmarks.contenders.contender import Contender, Run
from benchmarks.fold_work import Predictions
from benchmarks.site import DEADLINE, N_WORKERS, run_process
from benchmarks.workloads import Kit

_APP = "benchmarks.workers.celery_app"


class CeleryPrefork(Contender):
    """Reads the data in each task, as plain RQ does, but forks for none."""

    key = "celery"
    title = "Celery prefork"
    needs = "celery"

    def start(self) -> None:
        """Start the worker."""
        os.environ["BENCH_BROKER"] = f"{self.site.redis_url}/1"
        options = f"--pool prefork --concurrency {N_WORKERS} --loglevel ERROR"
        self.resources.enter_context(
            run_process(
                [sys.executable, "-m", "celery", "-A", _APP, "worker", *options.split()],
                # It warns of root, who runs it here like everything else.
                {"PYTHONWARNINGS": "ignore"},
            )
        )
        self._application = importlib.import_module(_APP)
        self.resources.callback(self._application.app.close)

    def run(self, kit: Kit, numbers: Sequence[int]) -> Run:
        """Send all folds as one group and wait for its results."""
        from celery import group

        task = self._application.run_fold
        tasks = [task.s(str(kit.folder), number, str(self.codec)) for number in numbers]
        start = time.perf_counter()
        result = group(tasks).apply_async()
        made = result.join(timeout=DEADLINE)
        seconds = time.perf_counter() - start
        result.forget()
        return Run(
            seconds,
            {number: Predictions(*fold) for number, fold in zip(numbers, made, strict=True)},
        )
