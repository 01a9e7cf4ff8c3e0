"""The arrows between the packages: client <- API, client <- worker, and no other."""

import inspect
import subprocess
import sys

import pytest

from datarun_api import queues

SCIENTIFIC = {"pandas", "scipy", "sklearn", "joblib"}
FORBIDDEN = {
    "datarun_client": {"datarun_api", "datarun_worker", "flask", "sqlalchemy", "rq", *SCIENTIFIC},
    "datarun_client.cli": {"datarun_api", "datarun_worker", *SCIENTIFIC},
    "datarun_client.client": {"datarun_api", "datarun_worker", "flask", "rq", *SCIENTIFIC},
    "datarun_client.post_api": {"datarun_api", "datarun_worker", "flask", "rq", *SCIENTIFIC},
    "datarun_api": {"datarun_worker", *SCIENTIFIC},
    "datarun_api.standalone": {"datarun_worker", *SCIENTIFIC},
    "datarun_worker": {"datarun_api", "flask", "sqlalchemy", "psycopg", *SCIENTIFIC},
    "datarun_worker.commands": {"datarun_api", "flask", "sqlalchemy", "psycopg", *SCIENTIFIC},
    "datarun_worker.scoring": {"datarun_api", "flask", "sqlalchemy", "psycopg", *SCIENTIFIC},
    "datarun_worker.worker": {"datarun_api", "flask", "sqlalchemy", "psycopg", *SCIENTIFIC},
    "datarun_worker.tasks": {"datarun_api", "flask", "sqlalchemy", "psycopg", *SCIENTIFIC},
}


@pytest.mark.parametrize("module", list(FORBIDDEN))
def test_a_package_imports_only_what_it_may(module):
    program = f"import sys, {module}; print(*sorted(sys.modules))"
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout

    loaded = {name.partition(".")[0] for name in output.split()}

    assert loaded & FORBIDDEN[module] == set()


@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        (queues.RUN_FOLD, ("owner", "databoard_sf_id")),
        (queues.PREPARE_DATA, ("raw_data", "attempt")),
        (queues.CUSTOM_PREPARE_DATA, ("raw_data", "attempt")),
        (queues.SCORE, ("owner", "databoard_s", "attempt")),
    ],
)
def test_every_task_that_is_enqueued_exists_and_takes_its_arguments(task, arguments):
    module_name, _, name = task.rpartition(".")
    __import__(module_name)

    function = getattr(sys.modules[module_name], name)

    assert tuple(inspect.signature(function).parameters) == arguments
