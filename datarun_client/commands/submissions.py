"""`datarun submit`, `status`, `predictions`: whole submissions."""

import sys
from collections import Counter
from pathlib import Path

import click
import numpy as np

from datarun_client.client import Client
from datarun_client.commands.connection import open_client
from datarun_client.commands.output import (
    clean,
    describe_bytes,
    describe_seconds,
    json_option,
    print_json,
    print_table,
)
from datarun_client.commands.scores import SUMMARIES, describe_score
from datarun_client.commands.words import NumberOrName, PriorityWord
from datarun_client.exit_codes import ExitCode
from datarun_client.kits import Kit
from datarun_client.records import Fold, FoldState, Submission
from datarun_client.runs import Run
from datarun_client.states import Priority, State

N_FOLDS = 5

SCORES_TIME = 600.0
"""Seconds for the scores, if no time is given."""

MAX_REASONS = 20
"""Folds that are each asked for what they wait for."""

watch_option = click.option("--watch", "-w", is_flag=True, help="Wait until all folds have ended.")
timeout_option = click.option(
    "--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Wait no longer than that."
)


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--data", "data_set", required=True, type=NumberOrName(), help="Its name or number.")
@click.option(
    "--cv",
    type=click.IntRange(2),
    show_default=f"{N_FOLDS}, or the folds of the kit that FOLDER is in",
    help="How many folds; shuffled, the same for every submission.",
)
@click.option("--priority", type=PriorityWord(), default="low", show_default=True)
@watch_option
@timeout_option
@json_option
def submit(
    folder: Path,
    data_set: int | str,
    cv: int | None,
    priority: Priority,
    watch: bool,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Submit the model in FOLDER on the folds of a cross-validation.

    The folder holds a file for each workflow element of the data set: classifier.py with a class
    Classifier (fit, predict_proba), regressor.py with Regressor (fit, predict), estimator.py with a
    function get_estimator, feature_extractor.py with FeatureExtractor (fit, transform),
    calibrator.py with Calibrator (fit, predict_proba); and any helper modules.

    A submission of a RAMP kit, in KIT/submissions, holds what the kit's workflow wants instead, and
    its folds are those of the kit's get_cv.
    """
    kit = Kit.find(folder)
    if kit is None:
        run = open_client().submit(data_set, folder, cv or N_FOLDS, priority)
    else:
        files = kit.read_submission(folder)
        run = open_client().submit(data_set, files, cv or kit.make_folds(), priority)
    number = run.databoard_s_id
    if not as_json:
        first, last = run.databoard_sf_ids[0], run.databoard_sf_ids[-1]
        click.echo(f"Submission {number}, folds {first} to {last}.")
    if watch:
        watch_run(run, timeout, as_json)
    elif as_json:
        print_json(run.states())
    else:
        click.echo(f"Next: datarun status {number} --watch")


@click.command()
@click.argument("submission", type=click.IntRange(0), required=False)
@watch_option
@timeout_option
@json_option
def status(submission: int | None, watch: bool, timeout: float | None, as_json: bool) -> None:
    """Show how far all submissions are, or the folds of SUBMISSION."""
    client = open_client()
    if submission is None:
        states = client.list_fold_states()
        print_json(states) if as_json else show_submissions(states)
        return
    run = client.get_run(submission)
    if watch:
        watch_run(run, timeout, as_json)
    else:
        show_folds(find_reasons(client, run.folds()), as_json)
        if not as_json:
            show_scores(client.get_submission(submission))


@click.command()
@click.argument("submission", type=click.IntRange(0))
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write, such as predictions.npz.",
)
def predictions(submission: int, output: Path) -> None:
    """Write a submission's predictions into a file of NumPy arrays (.npz).

    For each fold that was tested the file has full_train_predictions_N and test_predictions_N,
    where N is the fold's number.
    """
    run = open_client().get_run(submission)
    arrays = {}
    for entry in run.predictions():
        for name in ("full_train_predictions", "test_predictions"):
            values = getattr(entry, name)
            if values is not None:
                arrays[f"{name}_{entry.databoard_sf_id}"] = values
    if not arrays:
        raise click.ClickException(
            f"no fold of submission {submission} is tested yet; see `datarun status {submission}`"
        )
    with output.open("wb") as file:
        np.savez_compressed(file, **arrays)
    n_missing = len(run.databoard_sf_ids) - len(arrays) // 2
    click.echo(f"Wrote the predictions of {len(arrays) // 2} folds to {output}.")
    if n_missing:
        click.echo(f"{n_missing} folds have none.", err=True)


def watch_run(run: Run, timeout: float | None, as_json: bool) -> None:
    """Wait for a run, show its folds, and end with a status that says whether all are tested."""
    run.wait(timeout, progress=True)
    folds = run.folds()
    show_folds(folds, as_json)
    if not as_json:
        show_scores(run.wait_for_scores(SCORES_TIME if timeout is None else timeout))
    if any(fold.state is not State.TESTED for fold in folds):
        sys.exit(ExitCode.FAILED)


def show_scores(submission: Submission) -> None:
    """Print a submission's scores, if its data set has metrics and they are there."""
    rows = [
        (metric, part, *(describe_score(found[name]) for name in SUMMARIES))
        for metric, parts in submission.scores.items()
        for part, found in parts.items()
        if found["mean"] is not None or found["bagged"] is not None
    ]
    if rows:
        click.echo()
        print_table(("metric", "rows", *SUMMARIES), rows, expendable=("std",))
    if submission.scoring_error:
        click.echo(clean(submission.scoring_error))


def find_reasons(client: Client, folds: list[Fold]) -> list[Fold]:
    """Ask for each of the first folds that haven't ended what it waits for."""
    asked = [fold.databoard_sf_id for fold in folds if not fold.state.is_final][:MAX_REASONS]
    known = {number: client.get_fold(number) for number in asked}
    return [known.get(fold.databoard_sf_id, fold) for fold in folds]


def show_submissions(states: list[FoldState]) -> None:
    """Print a line for each submission."""
    counts: dict[int, Counter[State]] = {}
    for state in states:
        counts.setdefault(state.databoard_s, Counter())[state.state] += 1
    print_table(
        ("submission", "folds", "done", "failed", "waiting or running"),
        (
            (
                number,
                count.total(),
                count[State.TESTED],
                count[State.ERROR],
                count.total() - count[State.TESTED] - count[State.ERROR],
            )
            for number, count in sorted(counts.items())
        ),
        "There are no submissions; send one with `datarun submit`.",
        expendable=("folds",),
    )


def show_folds(folds: list[Fold], as_json: bool, next_step: bool = True) -> None:
    """Print a line for each fold, and how to learn more of the first one that failed."""
    if as_json:
        # Rows may be many; `datarun show FOLD --json` has them.
        rows = ("train_is", "test_is")
        print_json(
            [
                {name: value for name, value in vars(fold).items() if name not in rows}
                for fold in folds
            ]
        )
        return
    print_table(
        ("fold", "state", "why", "train", "test", "memory"),
        (
            (
                fold.databoard_sf_id,
                fold.state,
                fold.failure_kind or (fold.progress.message if fold.progress else None),
                describe_seconds(fold.measures.train_time),
                describe_seconds(fold.measures.test_time),
                describe_bytes(max(fold.measures.train_memory, fold.measures.test_memory)),
            )
            for fold in folds
        ),
        flexible="why",
        expendable=("memory", "test", "train"),
    )
    failed = [fold.databoard_sf_id for fold in folds if fold.state is State.ERROR]
    if failed and next_step:
        click.echo(f"Next: datarun show {failed[0]}")
