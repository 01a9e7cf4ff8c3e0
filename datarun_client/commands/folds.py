"""`datarun show`, `logs`, `cancel` and `rerun`: single folds."""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import click

from datarun_client.client import Client
from datarun_client.commands.connection import open_client
from datarun_client.commands.output import (
    clean,
    describe_age,
    describe_bytes,
    describe_seconds,
    json_option,
    print_json,
    print_pairs,
    print_table,
)
from datarun_client.commands.scores import describe_score
from datarun_client.errors import ConflictError
from datarun_client.exit_codes import ExitCode
from datarun_client.records import Attempt, Fold
from datarun_client.states import ScorePart, State
from datarun_client.waiting import Patience

LOG_WAIT = 1
"""Seconds after which a growing log is asked for again, if the fold's state doesn't change."""

folds_argument = click.argument("folds", nargs=-1, type=click.IntRange(0), metavar="[FOLDS]...")
submission_option = click.option(
    "--submission", "-s", type=click.IntRange(0), help="All folds of this submission."
)


@click.command()
@click.argument("fold", type=click.IntRange(0))
@json_option
def show(fold: int, as_json: bool) -> None:
    """Show a fold: why it waits or failed, what it used, who tried to run it, and its log."""
    client = open_client()
    found, attempts = client.get_fold(fold), client.list_attempts(fold)
    if as_json:
        print_json({**vars(found), "attempts": attempts})
        return
    show_fold(found)
    show_attempts(attempts)
    if found.log_messages:
        click.secho("\nLog", bold=True)
        click.echo(clean(found.log_messages))


@click.command()
@click.argument("fold", type=click.IntRange(0))
@click.option("--follow", "-f", is_flag=True, help="Go on until the fold has ended.")
def logs(fold: int, follow: bool) -> None:
    """Print what a fold has printed, and why it failed."""
    client = open_client()
    if not follow:
        click.echo(clean(client.get_fold(fold).log_messages))
        return
    shown, wait = "", 0
    patience = Patience(None)
    for _ in patience.tries():
        found = patience.ask(partial(client.get_fold, fold, wait))
        wait = LOG_WAIT
        if found is None:
            continue
        log = found.log_messages
        # A new attempt begins a new log.
        click.echo(clean(log.removeprefix(shown)), nl=False)
        shown = log
        if found.state.is_final:
            click.echo()
            sys.exit(ExitCode.OK if found.state is State.TESTED else ExitCode.FAILED)


@click.command()
@folds_argument
@submission_option
def cancel(folds: tuple[int, ...], submission: int | None) -> None:
    """Cancel folds, queued or running."""
    client = open_client()
    apply(client.cancel_fold, choose_folds(client, folds, submission), "Cancelled")


@click.command()
@folds_argument
@submission_option
def rerun(folds: tuple[int, ...], submission: int | None) -> None:
    """Run folds again with the source that is stored; their old results are gone."""
    client = open_client()
    apply(client.rerun_fold, choose_folds(client, folds, submission), "Runs again:")


def choose_folds(client: Client, folds: tuple[int, ...], submission: int | None) -> tuple[int, ...]:
    """Name the folds that a command line means.

    Raises
    ------
    click.UsageError
        If it means none, or both.
    """
    if bool(folds) == (submission is not None):
        raise click.UsageError("Give either the numbers of folds or --submission N.")
    return folds or client.get_run(submission or 0).databoard_sf_ids


def apply(act: Callable[[int], Any], folds: tuple[int, ...], word: str) -> None:
    """Do something with each fold; one that has ended already doesn't keep the others from it."""
    status = ExitCode.OK
    for number in folds:
        try:
            act(number)
        except ConflictError as error:
            click.echo(clean(str(error)), err=True)
            status = ExitCode.REFUSED
        else:
            click.echo(f"{word} fold {number}.")
    sys.exit(status)


def show_fold(fold: Fold) -> None:
    """Print what is known of a fold."""
    progress, measures = fold.progress, fold.measures
    wait = describe_seconds(progress.estimated_wait) if progress else ""
    print_pairs(
        (
            ("fold", fold.databoard_sf_id),
            ("submission", fold.databoard_s),
            ("state", fold.state),
            ("failure", fold.failure_kind),
            ("now", progress.message if progress else None),
            ("may take", wait or None),
            ("priority", fold.priority.queue),
            ("rows", f"{len(fold.train_is)} to train on, {len(fold.test_is)} others"),
            ("created", describe_age(fold.created_at)),
            ("finished", describe_age(fold.finished_at) or None),
            ("train time", _describe(measures.train_time, measures.train_cpu_time)),
            ("validation time", describe_seconds(measures.validation_time) or None),
            ("test time", _describe(measures.test_time, measures.test_cpu_time)),
            ("train memory", describe_bytes(measures.train_memory) or None),
            ("test memory", describe_bytes(measures.test_memory) or None),
            ("steps", ", ".join(map(_describe_step, fold.timings.items())) or None),
            *((metric, _describe_scores(found)) for metric, found in fold.scores.items()),
        )
    )


def show_attempts(attempts: list[Attempt]) -> None:
    """Print who tried to run a fold."""
    if not attempts:
        return
    click.secho("\nAttempts", bold=True)
    print_table(
        ("", "worker", "started", "outcome", "why"),
        (
            (
                attempt.number,
                attempt.worker,
                describe_age(attempt.started_at),
                attempt.outcome or "runs",
                attempt.reason or attempt.failure_kind,
            )
            for attempt in attempts
        ),
        flexible="why",
        expendable=("worker", "started"),
    )


def _describe(wall_time: float, cpu_time: float) -> str | None:
    if not wall_time:
        return None
    return f"{describe_seconds(wall_time)} ({describe_seconds(cpu_time) or '0 s'} of CPU)"


def _describe_scores(found: Mapping[str, float | None]) -> str:
    return ", ".join(
        f"{part} {describe_score(found[part])}" for part in ScorePart if found.get(part) is not None
    )


def _describe_step(step: tuple[str, float]) -> str:
    name, seconds = step
    return f"{name} {describe_seconds(seconds) or '0 ms'}"
