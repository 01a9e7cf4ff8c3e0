"""`datarun demo`: two data sets, four submissions, through the whole of datarun.

The demo is a small platform. It keeps its own copy of the data, starts `datarun up` in a temporary
home, talks to it through `datarun_client.post_api` alone, and scores the predictions that come
back against labels which no submission has seen.

scikit-learn and pandas are imported where they are used: this module belongs to the API's package,
which must do without them.
"""

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import numpy.typing as npt
import requests
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from datarun_api.standalone import count_cores, make_child_environ
from datarun_api.supervisor import Child, Program, StopRequested, Supervisor, SupervisorError
from datarun_client import post_api
from datarun_client.codec import decode_predictions
from datarun_client.errors import DatarunError
from datarun_client.states import State

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES = Path(__file__).parents[1] / "examples"

HELD_OUT = 0.2
RANDOM_STATE = 42
"""The split, here and in the API: the same function with the same seed gives the same rows."""

N_FOLDS = 3

START_TIME = 120.0
"""Seconds until the API answers; a first start makes a database."""

FOLDS_TIME = 300.0
"""Seconds until all folds have ended; a few are usual."""

STOP_TIME = 60.0

LOG_TAIL = 40
"""Lines of the stack's log that are shown when something goes wrong."""

USERNAME = "demo"

FINAL_STATES = (State.TESTED, State.ERROR)

Scorer = Callable[["pd.Series[Any]", npt.NDArray[np.float64]], float]


class DemoError(DatarunError):
    """The demo could not go on; the message says why."""


@dataclass(frozen=True)
class Challenge:
    """A data set and how its submissions are scored.

    Attributes
    ----------
    output_shape : tuple of int
        The shape of the prediction of one row: a probability for each class, or one number.
    """

    name: str
    target_column: str
    workflow_elements: str
    score_name: str
    score: Scorer
    output_shape: tuple[int, ...]
    data: "pd.DataFrame"


@dataclass(frozen=True)
class Fold:
    """One submission on one cross-validation fold, by the numbers that the demo gives them."""

    number: int
    challenge: Challenge
    submission: str
    fold: int


@dataclass
class Platform:
    """The demo's side of the wire.

    Attributes
    ----------
    url, password : str
        The API and the demo's password.
    folds : list of Fold
        What was posted.
    """

    url: str
    password: str
    folds: list[Fold] = field(default_factory=list)

    def post_challenge(self, challenge: Challenge, folder: Path) -> None:
        """Post a data set, ask for its split, and post all its submissions on all folds."""
        from sklearn.model_selection import ShuffleSplit

        data_file = folder / f"{challenge.name}.csv"
        challenge.data.to_csv(data_file, index=False)
        self._call(
            post_api.post_data,
            challenge.name,
            challenge.target_column,
            challenge.workflow_elements,
            data_file,
        )
        known = self._call(post_api.get_raw_data)
        raw_data_id = next(entry["id"] for entry in known if entry["name"] == challenge.name)
        self._call(post_api.post_split, HELD_OUT, raw_data_id, RANDOM_STATE)
        train_rows, _ = split(challenge.data)
        splitter = ShuffleSplit(N_FOLDS, test_size=0.25, random_state=57)
        for source in find_submissions(challenge.name):
            submission_id = len({(fold.challenge.name, fold.submission) for fold in self.folds}) + 1
            for number, (train_is, test_is) in enumerate(splitter.split(train_rows), start=1):
                fold = Fold(len(self.folds) + 1, challenge, source.name, number)
                self._call(
                    post_api.post_submission_fold,
                    submission_id,
                    fold.number,
                    train_is,
                    test_is,
                    raw_data_id=raw_data_id,
                    list_submission_files=sorted(source.glob("*.py")),
                )
                self.folds.append(fold)

    def get_states(self) -> dict[int, State]:
        """Ask for the states of all folds, by their numbers."""
        entries = self._call(post_api.get_submission_fold_light)
        return {entry["databoard_sf_id"]: State(entry["state"]) for entry in entries}

    def get_results(self) -> dict[int, dict[str, Any]]:
        """Fetch predictions and measures of all folds, by their numbers."""
        numbers = [fold.number for fold in self.folds]
        entries = self._call(post_api.get_prediction_list, numbers)
        return {entry["databoard_sf_id"]: entry for entry in entries}

    def _call(self, function: Callable[..., requests.Response], *args: Any, **kwargs: Any) -> Any:
        """Call a function of the client library, and demand success."""
        try:
            response = function(self.url, USERNAME, self.password, *args, **kwargs)
        except requests.RequestException as error:
            raise DemoError(f"{function.__name__} got no answer: {error}") from None
        if not response.ok:
            raise DemoError(
                f"{function.__name__} was answered {response.status_code}: {response.text}"
            )
        return response.json()


@click.command()
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=lambda: count_cores(),
    show_default="one per core",
    help="How many folds run at once.",
)
def demo(workers: int) -> None:
    """Show datarun at work: train and test four submissions on two data sets.

    Everything runs in a temporary folder and is gone afterwards.
    """
    console = Console()
    if not EXAMPLES.is_dir():
        raise click.ClickException("the demo's submissions lie in a clone of datarun; run it there")
    try:
        are_tested = run_demo(console, workers)
    except StopRequested:
        raise click.Abort from None
    except DatarunError as error:
        raise click.ClickException(str(error)) from None
    sys.exit(0 if are_tested else 1)


def run_demo(console: Console, workers: int) -> bool:
    """Run the demo.

    Returns
    -------
    bool
        Whether every fold was tested.

    Raises
    ------
    DemoError, SupervisorError
        If it can't go on; the end of the stack's log was printed.
    StopRequested
        If somebody asked to stop.
    """
    with make_folder() as folder, collect_log(console, folder) as supervisor:
        console.print("Starting PostgreSQL, Valkey, the API and the workers ...")
        stack = start_stack(supervisor, folder / "home", workers)
        # The imports behind it take as long as the start.
        challenges = load_challenges()
        platform = stack.wait()
        console.print(f"The API answers at {platform.url}")
        for challenge in challenges:
            platform.post_challenge(challenge, folder)
        console.print(f"Posted {len(platform.folds)} folds of 2 data sets and 4 submissions.")
        follow_folds(console, supervisor, platform)
        results = platform.get_results()
        print_results(console, platform.folds, results)
        console.print("Stopping ...")
    print_next_steps(console)
    return all(results[fold.number]["state"] == State.TESTED for fold in platform.folds)


@contextmanager
def make_folder() -> Iterator[Path]:
    """Make a folder for the time of the demo."""
    folder = Path(tempfile.mkdtemp(prefix="datarun-demo-"))
    # For root, PostgreSQL's account must get through; what is private in it is so by itself.
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def collect_log(console: Console, folder: Path) -> Iterator[Supervisor]:
    """Keep a supervisor, and show the end of what its program wrote if something goes wrong."""
    lines: list[str] = []
    try:
        with Supervisor(folder / "programs.json", lines.append, width=0) as supervisor:
            yield supervisor
    except (DemoError, SupervisorError):
        console.print("The last lines of the log:", style="bold")
        for line in lines[-LOG_TAIL:]:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        raise


def start_stack(supervisor: Supervisor, home: Path, workers: int) -> "StartingStack":
    """Start `datarun up` in a home of its own, whatever servers the environment names."""
    password = secrets.token_urlsafe(16)
    environ = make_child_environ(os.environ)
    # The demo's own requests stay on this machine too.
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = environ["NO_PROXY"]
    options = ("--home", str(home), "--port", "0", "--workers", str(workers))
    child = supervisor.start(
        Program(
            name="up",
            argv=(sys.executable, "-m", "datarun_api.standalone", *options),
            environ={**environ, "DATARUN_USERNAME": USERNAME, "DATARUN_PASSWORD": password},
            directory=home.parent,
            stop_time=STOP_TIME,
            # The second one hurries it.
            hurry_signal=Signals.SIGTERM,
        )
    )
    return StartingStack(supervisor, child, home / "url", password)


@dataclass(frozen=True)
class StartingStack:
    """A `datarun up` that was started and may not answer yet."""

    supervisor: Supervisor
    child: Child
    url: Path
    password: str

    def wait(self) -> Platform:
        """Wait until the API answers."""
        self.supervisor.wait_for(self.url.exists, "the API", START_TIME, self.child)
        return Platform(self.url.read_text(), self.password)


def load_challenges() -> list[Challenge]:
    """Load scikit-learn's iris and diabetes data."""
    from sklearn.datasets import load_diabetes, load_iris
    from sklearn.metrics import r2_score

    iris = load_iris(as_frame=True)
    species = iris.target.map(dict(enumerate(iris.target_names)))
    iris_data = iris.data.assign(species=species)
    diabetes_data = load_diabetes(as_frame=True).frame.rename(columns={"target": "progression"})
    return [
        Challenge("iris", "species", "classifier", "accuracy", score_accuracy, (3,), iris_data),
        Challenge(
            "diabetes",
            "progression",
            "feature_extractor, regressor",
            "R2",
            lambda y_true, y_pred: float(r2_score(y_true, y_pred)),
            (),
            diabetes_data,
        ),
    ]


def score_accuracy(y_true: "pd.Series[Any]", probabilities: npt.NDArray[np.float64]) -> float:
    """Compute the share of rows whose most probable class is the right one.

    Parameters
    ----------
    y_true : Series of shape (n_samples,)
    probabilities : ndarray of shape (n_samples, n_classes)
        Columns in the sorted order of the classes, as scikit-learn has them.
    """
    classes = np.unique(y_true.to_numpy().astype(str))
    return float(np.mean(classes[probabilities.argmax(axis=1)] == y_true.to_numpy().astype(str)))


def split(data: "pd.DataFrame") -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Split a data set as the API does."""
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(data, test_size=HELD_OUT, random_state=RANDOM_STATE)
    return train, test


def find_submissions(challenge_name: str) -> list[Path]:
    """Find the folders of a challenge's submissions."""
    return sorted(path for path in (EXAMPLES / challenge_name).iterdir() if path.is_dir())


def follow_folds(console: Console, supervisor: Supervisor, platform: Platform) -> None:
    """Show how the folds get on, until all have ended.

    A terminal sees bars; anything else gets a line for every fold that ends.
    """
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} folds  {task.fields[states]}"),
        TimeElapsedColumn(),
    )
    submissions: dict[str, list[Fold]] = {}
    for fold in platform.folds:
        submissions.setdefault(describe_submission(fold), []).append(fold)
    ended: set[int] = set()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bars = {
            name: progress.add_task(name, total=len(folds), states="")
            for name, folds in submissions.items()
        }

        def have_ended() -> bool:
            states = platform.get_states()
            for name, folds in submissions.items():
                own = [states[fold.number] for fold in folds]
                n_ended = sum(state in FINAL_STATES for state in own)
                progress.update(bars[name], completed=n_ended, states=" ".join(own))
            for fold in platform.folds:
                state = states[fold.number]
                if state in FINAL_STATES and fold.number not in ended:
                    ended.add(fold.number)
                    if not console.is_terminal:
                        console.print(f"{describe_submission(fold)}, fold {fold.fold}: {state}")
            return len(ended) == len(platform.folds)

        supervisor.wait_for(have_ended, "the folds", FOLDS_TIME)


def describe_submission(fold: Fold) -> str:
    """Name a submission with its challenge."""
    return f"{fold.challenge.name} / {fold.submission}"


def print_results(
    console: Console, folds: Sequence[Fold], results: dict[int, dict[str, Any]]
) -> None:
    """Print what became of every fold, and the author's log where one failed."""
    # Few lines, so that it fits into 80 columns.
    table = Table(
        title="Scores on the held-out rows, computed here from the predictions",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for column in ("data set", "submission", "fold", "state", "score"):
        table.add_column(column, no_wrap=True)
    for column in ("train time", "memory"):
        table.add_column(column, justify="right", no_wrap=True)
    for fold in folds:
        result = results[fold.number]
        table.add_row(
            fold.challenge.name,
            fold.submission,
            str(fold.fold),
            result["state"],
            describe_score(fold, result),
            describe_number(result["train_time"], 1.0, "s", 3),
            # On the wire memory is in kB of 1024 bytes.
            describe_number(result["train_memory"], 1 / 1024, "MiB", 1),
        )
    console.print(table)
    for fold in folds:
        result = results[fold.number]
        if result["state"] != State.TESTED:
            console.print(f"{describe_submission(fold)}, fold {fold.fold}:", style="bold")
            console.print(result["log_messages"], markup=False, highlight=False)


def describe_score(fold: Fold, result: dict[str, Any]) -> str:
    """Score a fold's predictions of the held-out rows; empty if there are none."""
    if not result["test_predictions"]:
        return ""
    _, test = split(fold.challenge.data)
    shape = (len(test), *fold.challenge.output_shape)
    predictions = decode_predictions(result["test_predictions"], shape)
    score = fold.challenge.score(test[fold.challenge.target_column], predictions)
    return f"{fold.challenge.score_name} {score:.3f}"


def describe_number(number: float | None, factor: float, unit: str, digits: int) -> str:
    """Write a measure with its unit; empty if there is none."""
    return "" if number is None else f"{number * factor:.{digits}f} {unit}"


def print_next_steps(console: Console) -> None:
    """Say what to try next."""
    console.print(
        "Try next:\n"
        "  change a submission in examples/ and run the demo again\n"
        "  datarun up              a stack that stays, at http://127.0.0.1:8000/\n"
        "  curl http://127.0.0.1:8000/health          while it runs: is it well?\n"
        "  curl http://127.0.0.1:8000/openapi.json    and what it can do",
        markup=False,
        highlight=False,
    )


if __name__ == "__main__":
    demo()
