"""`datarun worker join`: makes a machine ready to run folds, and proves that it is.

Everything is tried before anything is written: the sandbox and its escapes, the API with the
token, Redis, and a fold of a tiny data set from its split to its predictions.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
from redis import Redis
from redis.exceptions import RedisError

from datarun_client import PROTOCOL, PROTOCOL_HEADER
from datarun_client.errors import BadInputError, DatarunError, UnauthorizedError
from datarun_client.exit_codes import ExitCode, find_exit_code
from datarun_client.states import WorkflowElement
from datarun_client.transport import Transport
from datarun_worker.check import IsolationError
from datarun_worker.config import Settings, load_settings
from datarun_worker.errors import WorkerError
from datarun_worker.isolation import Isolation
from datarun_worker.local import DataSet, LocalMachine, run_submission

RETRIES = 2

REDIS_TIMEOUT = 10.0
"""Seconds to wait for Redis."""

STOP_MARGIN = 30
"""Seconds that a worker has after its grace time before the service manager kills it."""

ROOTS_FILE = Path("/etc/datarun/worker.env")

CANARY_DATA = "x,y\n" + "".join(f"{x},{'even' if x % 2 == 0 else 'odd'}\n" for x in range(20))
CANARY_SOURCE = b"""
import numpy as np

class Classifier:
    def fit(self, X, y):
        self.shape = (len(np.unique(y)),)
    def predict_proba(self, X):
        return np.full((len(X), *self.shape), 1 / self.shape[0])
"""

UNIT = """\
[Unit]
Description=datarun worker %i
Wants=network-online.target
After=network-online.target

[Service]
EnvironmentFile={file}
ExecStart={command}
User={user}
# A worker that is set up wrongly is not started again; whatever else ends it, it is.
Restart=always
RestartSec=5
RestartPreventExitStatus={wrong_setup:d}
# The worker alone hears of a stop: it finishes its fold or gives it back, and ends its sandboxes.
KillMode=mixed
TimeoutStopSec={stop_time:.0f}
# Lets it limit a fold's memory and processes by control groups.
Delegate=yes

[Install]
WantedBy=multi-user.target
"""


class JoinError(WorkerError):
    """The machine can't be made ready; the message says what to do."""


@dataclass(frozen=True)
class Step:
    """One thing that is tried.

    Attributes
    ----------
    name : str
    run : callable
        Raises if it fails; gives a few words for the operator.
    """

    name: str
    run: Callable[[], str]


@click.command()
@click.argument("url")
@click.argument("token", required=False)
@click.option(
    "--redis-url",
    metavar="URL",
    help="Redis, such as redis://:PASSWORD@server:6379/0; RQ_REDIS_URL by default.",
)
@click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The settings file to write; /etc/datarun/worker.env for root, else in the user's "
    "configuration folder.",
)
@click.option(
    "--isolation",
    type=click.Choice([level.value for level in Isolation]),
    default=Isolation.FULL.value,
    show_default=True,
    help="How folds are confined.",
)
@click.option("--queues", default="high low", show_default=True, help="What the worker serves.")
def join(
    url: str,
    token: str | None,
    redis_url: str | None,
    path: Path | None,
    isolation: str,
    queues: str,
) -> None:
    """Make this machine a compute machine of the API at URL.

    TOKEN is that of an account of role `worker`; left out, it is taken from DATARUN_TOKEN or asked
    for, and stays out of the shell's history. Tries isolation, API, Redis and a small fold; then
    writes the settings file, and prints the command of a worker and a systemd unit.
    """
    token = token or os.environ.get("DATARUN_TOKEN") or click.prompt("Token", hide_input=True)
    redis_url = redis_url or os.environ.get("RQ_REDIS_URL") or click.prompt("Redis's address")
    values = {
        "DATARUN_URL": url,
        "DATARUN_TOKEN": token,
        "DATARUN_ISOLATION": isolation,
        "RQ_REDIS_URL": redis_url,
    }
    settings = load_settings({**os.environ, **values})
    run_steps(
        (
            Step("isolation and a fold", lambda: try_fold(settings)),
            Step("API", lambda: try_api(settings)),
            Step("Redis", lambda: try_redis(redis_url)),
        )
    )
    path = path or find_settings_file()
    write_settings_file(path, values)
    click.echo(f"\nThe settings are in {path}, which only you may read.")
    show_next_steps(path, queues.split(), settings)


def run_steps(steps: Sequence[Step]) -> None:
    """Try everything, say how it went, and end if something failed."""
    statuses = []
    for step in steps:
        try:
            words = step.run()
        except IsolationError as error:
            click.echo(f"NO  {step.name}: {error}")
            statuses.append(ExitCode.CONFIGURATION)
        except DatarunError as error:
            click.echo(f"NO  {step.name}: {error}")
            statuses.append(find_exit_code(error))
        else:
            click.echo(f"ok  {step.name}: {words}")
    if statuses:
        click.echo("Nothing was written; mend that and run it again.", err=True)
        sys.exit(statuses[0])


def try_fold(settings: Settings) -> str:
    """Run a tiny fold in a sandbox that was tried, too.

    Raises
    ------
    IsolationError
        If submissions can't be confined here.
    JoinError
        If the fold isn't tested.
    """
    # The zygote and the sandboxes have nothing to do with the API.
    settings = replace(settings, url="", token="")
    with tempfile.TemporaryDirectory(prefix="datarun-join-") as folder:
        path = Path(folder) / "canary.csv"
        path.write_text(CANARY_DATA)
        data_set = DataSet((path,), "y", (WorkflowElement.CLASSIFIER,))
        with LocalMachine(settings) as machine:
            source = {"classifier.py": CANARY_SOURCE}
            ((_, result), _) = run_submission(machine, data_set, machine.split(data_set), source, 2)
    if result.failure_kind is not None:
        raise JoinError(f"it ended as {result.failure_kind}: {result.log_messages}")
    return f"level {settings.isolation.value}, tested"


def try_api(settings: Settings) -> str:
    """Ask the API whether it takes this token and this release.

    Raises
    ------
    CallError
        If it doesn't.
    """
    headers = {PROTOCOL_HEADER: str(PROTOCOL)}
    with Transport(settings.url, settings.token, RETRIES, headers=headers) as transport:
        try:
            # An empty heartbeat: with the right token its fields are refused, and nothing is noted.
            transport.call("POST", "worker/heartbeat/", {})
        except BadInputError as error:
            if "worker" not in error.errors:
                raise
        except UnauthorizedError as error:
            text = "it doesn't know this token; `datarun token add NAME` on the server makes one"
            raise UnauthorizedError(error.status, text) from error
    return f"{settings.url} takes the token"


def try_redis(url: str) -> str:
    """Ask Redis for a sign of life.

    Raises
    ------
    JoinError
        If it gives none.
    """
    try:
        with Redis.from_url(
            url, socket_connect_timeout=REDIS_TIMEOUT, socket_timeout=REDIS_TIMEOUT
        ) as redis:
            redis.ping()
    except (RedisError, ValueError) as error:
        raise JoinError(f"it doesn't answer: {error}") from error
    return "it answers"


def find_settings_file() -> Path:
    """Say where the settings file belongs."""
    return ROOTS_FILE if os.geteuid() == 0 else Path(click.get_app_dir("datarun")) / "worker.env"


def write_settings_file(path: Path, values: Mapping[str, str]) -> None:
    """Write variables so that systemd and a shell read the same; only the owner may.

    Raises
    ------
    JoinError
        If a value can't be written so, or the file can't.
    """
    lines = []
    for name, value in values.items():
        if "'" in value or not value.isprintable():
            raise JoinError(f"{name} holds a quote or a control character; choose another.")
        lines.append(f"{name}='{value}'\n")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        # mkstemp's files are their owner's alone from the beginning.
        descriptor, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "w") as file:
            file.writelines(lines)
        Path(name).replace(path)
    except OSError as error:
        raise JoinError(f"{path} can't be written: {error.strerror}; choose a --file.") from error


def show_next_steps(path: Path, queues: Sequence[str], settings: Settings) -> None:
    """Print how a worker is started, by hand and by systemd."""
    rq = Path(sys.executable).with_name("rq")
    command = " ".join([str(rq), "worker --worker-class datarun_worker.Worker", *queues])
    click.echo("\nRun one worker for each fold that this machine shall run at once:\n")
    click.echo(f"  set -a; . {path}; set +a; {command}")
    click.echo("\nOr let systemd do it: put this into /etc/systemd/system/datarun-worker@.service,")
    click.echo("then `systemctl enable --now datarun-worker@1 datarun-worker@2`:\n")
    click.echo(make_unit(path, command, settings.grace), nl=False)


def make_unit(path: Path, command: str, grace: float) -> str:
    """Make a systemd unit for workers of this machine, numbered by what stands behind the @."""
    return UNIT.format(
        file=path.absolute(),
        command=command,
        user=os.environ.get("SUDO_USER") or os.environ.get("USER") or "root",
        stop_time=grace + STOP_MARGIN,
        wrong_setup=ExitCode.CONFIGURATION,
    )
