"""The application of the Celery worker; ``BENCH_BROKER`` says where its broker is."""

import importlib
import os

from celery import Celery
from celery.signals import worker_init

from benchmarks.fold_work import PRELOAD, run_job

app = Celery("benchmarks", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BROKER"])
app.conf.worker_prefetch_multiplier = 1
app.conf.broker_connection_retry_on_startup = True

run_fold = app.task(run_job, name="run_fold")


@worker_init.connect
def preload(**_: object) -> None:
    """Import scikit-learn before the processes are forked."""
    for module in PRELOAD:
        importlib.import_module(module)
