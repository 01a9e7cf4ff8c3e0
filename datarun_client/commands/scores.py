"""`datarun scores`: how good a submission is, fold by fold."""

from collections.abc import Mapping

import click

from datarun_client.commands.connection import open_client
from datarun_client.commands.output import clean, json_option, print_json, print_table
from datarun_client.scores import FoldScores
from datarun_client.states import ScorePart

SUMMARIES = ("mean", "std", "bagged")

Summary = Mapping[str, Mapping[str, Mapping[str, float | None]]]


@click.command()
@click.argument("submission", type=click.IntRange(0))
@json_option
def scores(submission: int, as_json: bool) -> None:
    """Show the scores of SUBMISSION, by the metrics of its data set or its kit's score types.

    For each fold that was tested those of its train rows, its other rows and the held-out rows;
    then their means, their deviations, and the scores of the combined predictions (bagged).
    """
    client = open_client()
    found = client.get_submission(submission)
    folds = {
        fold.databoard_sf_id: fold.scores for fold in client.list_folds(submission) if fold.scores
    }
    if as_json:
        print_json({**vars(found), "folds": folds})
        return
    show_all_scores(folds, found.scores, found.scoring_error)


def show_all_scores(folds: Mapping[int, FoldScores], summary: Summary, error: str | None) -> None:
    """Print the scores of each fold, and then those of the submission."""
    metrics = list(summary)
    rows: list[tuple[object, ...]] = [
        (number, part, *(describe_score(found.get(metric, {}).get(part)) for metric in metrics))
        for number, found in folds.items()
        for part in ScorePart
    ]
    rows += [
        (name, part, *(describe_score(summary[metric][part][name]) for metric in metrics))
        for name in SUMMARIES
        for part in ScorePart
        if any(summary[metric][part][name] is not None for metric in metrics)
    ]
    print_table(
        ("fold", "rows", *metrics),
        rows if folds else (),
        "There are no scores yet; its data set may have no metrics.",
        expendable=tuple(reversed(metrics[1:])),
    )
    if error:
        click.echo(clean(error))


def describe_score(score: float | None) -> str:
    """Write a score for people."""
    return "" if score is None else f"{score:.4f}"
