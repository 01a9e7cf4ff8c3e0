"""Scores of a submission, put together from those of its folds."""

import statistics
from collections.abc import Mapping, Sequence

from datarun_client.states import ScorePart

FoldScores = Mapping[str, Mapping[str, float | None]]
"""By metric and `ScorePart`; None where a score is none."""

ScoreSummary = dict[str, dict[str, dict[str, float | None]]]
"""By metric and `ScorePart`: ``mean``, ``std`` and ``bagged``."""


def summarize_scores(
    metrics: Sequence[str], of_folds: Sequence[FoldScores], bagged: FoldScores
) -> ScoreSummary:
    """Summarize the scores of a submission.

    Parameters
    ----------
    metrics : sequence of str
        In their order.
    of_folds : sequence of mapping
        The scores of each fold.
    bagged : mapping
        Those of the combined predictions of all folds.

    Returns
    -------
    dict
        Mean and standard deviation (the population's) over the folds that have the score.
    """
    return {
        metric: {
            part: _summarize(
                [scores.get(metric, {}).get(part) for scores in of_folds],
                bagged.get(metric, {}).get(part),
            )
            for part in ScorePart
        }
        for metric in metrics
    }


def _summarize(found: Sequence[float | None], bagged: float | None) -> dict[str, float | None]:
    values = [value for value in found if value is not None]
    return {
        # Exact arithmetic: what a submission's predictions make of a metric may be huge.
        "mean": statistics.mean(values) if values else None,
        "std": statistics.pstdev(values) if values else None,
        "bagged": bagged,
    }
