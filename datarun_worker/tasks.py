"""The tasks that the API enqueues by these dotted names; ids only, as JSON.

They are for `datarun_worker.Worker`. What they need beyond ids they ask the API.
"""

from datarun_worker.work_horse import get_work_horse


def train_test_submission_fold(owner: int, databoard_sf_id: int) -> None:
    """Run a fold: train it, predict the train set and the held-out test set.

    Parameters
    ----------
    owner : int
        The account.
    databoard_sf_id : int
        The account's number of the fold.
    """
    get_work_horse().run_fold(owner, databoard_sf_id)


def prepare_data(raw_data: int, attempt: int) -> None:
    """Split a standard data set.

    Parameters
    ----------
    raw_data : int
        The data set.
    attempt : int
        Which try at its split this is.
    """
    get_work_horse().run_split(raw_data, attempt)


def custom_prepare_data(raw_data: int, attempt: int) -> None:
    """Let a data set's own reader split it; parameters as of `prepare_data`."""
    get_work_horse().run_split(raw_data, attempt)


def score_submission(owner: int, databoard_s: int, attempt: int) -> None:
    """Score the tested folds of a submission.

    Parameters
    ----------
    owner : int
        The account.
    databoard_s : int
        The account's number of the submission.
    attempt : int
        Which try at its scores.
    """
    get_work_horse().run_scoring(owner, databoard_s, attempt)
