"""Scores of predictions on the held-out rows, from the user's own copy of the data.

The server's labels stay where they are: whoever has the CSV can split it in the same way, by the
same function with the same seed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from datarun_client.commands.connection import open_client
from datarun_client.commands.output import json_option, print_json, print_table
from datarun_client.commands.words import SHARE, NumberOrName, random_state_option
from datarun_client.errors import DatarunError
from datarun_worker.errors import ProgramError
from datarun_worker.predictions import Predictions

HELD_OUT_TEST = 0.2
"""The share that is held out where nothing else is said."""


class ScoringError(DatarunError):
    """The labels can't be had, or aren't those that the predictions are for."""


@dataclass(frozen=True)
class Score:
    """How good predictions are.

    Attributes
    ----------
    name : {'accuracy', 'RMSE'}
    value : float
    """

    name: str
    value: float

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4f}"


@dataclass(frozen=True)
class HeldOutLabels:
    """The labels of a data set's held-out rows.

    Attributes
    ----------
    y_test : ndarray of shape (n_test,)
    classes : ndarray
        The distinct labels of the train part, sorted: the columns of a classifier's predictions.
    """

    y_test: npt.NDArray[Any]
    classes: npt.NDArray[Any]

    @classmethod
    def read(
        cls, path: Path, target_column: str, held_out_test: float, random_state: int
    ) -> "HeldOutLabels":
        """Split a CSV as the server does.

        Raises
        ------
        ScoringError
            If that can't be done.
        """
        # Here, because `datarun --help` loads every command, and none should wait for pandas.
        try:
            from datarun_worker.datasets import read_csv, split_data
        except ModuleNotFoundError as error:
            raise ScoringError(
                f"Scoring needs {error.name}; install datarun with the extra 'worker'."
            ) from None

        try:
            with path.open("rb") as file:
                data = read_csv(file, path.name)
            split = split_data(data, target_column, held_out_test, random_state)
        except ProgramError as error:
            raise ScoringError(error.message) from error
        return cls(split.y_test, np.unique(split.y_train))

    def score(self, predictions: Predictions) -> Score:
        """Score predictions: accuracy for probabilities of classes, else RMSE.

        Parameters
        ----------
        predictions : ndarray of float64 of shape (n_test,) or (n_test, n_classes)

        Raises
        ------
        ScoringError
            If they are for other rows or other classes.
        """
        if len(predictions) != len(self.y_test):
            raise ScoringError(
                f"There are predictions for {len(predictions)} rows, and labels of "
                f"{len(self.y_test)}; give the --held-out-test and --random-state of the split."
            )
        if predictions.ndim == 2:
            if predictions.shape[1] != len(self.classes):
                raise ScoringError(
                    f"There are predictions for {predictions.shape[1]} classes, and "
                    f"{len(self.classes)} in the data."
                )
            predicted = self.classes[predictions.argmax(axis=1)]
            return Score("accuracy", float(np.mean(predicted == self.y_test)))
        errors = predictions - self.y_test.astype(np.float64)
        return Score("RMSE", float(np.sqrt(np.mean(errors**2))))


@click.command()
@click.argument("submission", type=click.IntRange(0))
@click.option("--data", "data_set", required=True, type=NumberOrName(), help="Its data set.")
@click.option(
    "--file",
    "path",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Your copy of the data set's CSV.",
)
@click.option(
    "--held-out-test",
    type=SHARE,
    default=HELD_OUT_TEST,
    show_default=True,
    metavar="SHARE",
    help="As it was split.",
)
@random_state_option
@json_option
def score(
    submission: int,
    data_set: int | str,
    path: Path,
    held_out_test: float,
    random_state: int,
    as_json: bool,
) -> None:
    """Score a submission on the held-out rows, whose labels are in your copy of the data.

    Accuracy for probabilities of classes, root of the mean squared error for numbers. If its data
    set has metrics, `datarun scores` shows what the server has scored itself.
    """
    client = open_client()
    run, raw_data = client.get_run(submission), client.get_raw_data(data_set)
    labels = HeldOutLabels.read(path, raw_data.target_column, held_out_test, random_state)
    scores = {
        entry.databoard_sf_id: labels.score(entry.test_predictions)
        for entry in run.predictions()
        if entry.test_predictions is not None
    }
    if as_json:
        print_json([{"databoard_sf_id": number, **vars(found)} for number, found in scores.items()])
        return
    print_table(("fold", "score"), scores.items(), "No fold is tested yet; see `datarun status`.")
    if scores:
        click.echo(describe_mean(list(scores.values())))


def describe_mean(scores: list[Score]) -> str:
    """Say the mean of scores of one kind."""
    mean = float(np.mean([found.value for found in scores]))
    return f"Mean of {len(scores)} folds on the held-out rows: {Score(scores[0].name, mean)}"
