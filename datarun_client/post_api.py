"""The documented functions of the client library: one per call, each returns the response.

Every function takes the API's address, the account's name and its password first, such as
``get_raw_data("http://127.0.0.1:8000/", "username", "password")``, and returns a
`requests.Response` whatever its status is: look at ``response.status_code`` and
``response.json()``. A call that gets no answer raises an error of `requests`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import requests

from datarun_client.codec import encode_bytes, encode_indices
from datarun_client.source_files import StrPath
from datarun_client.transport import Transport


def post_data(
    host_url: str,
    username: str,
    password: str,
    data_name: str,
    target_column: str,
    workflow_elements: str,
    data_file: StrPath,
    extra_files: Iterable[StrPath] | None = None,
) -> requests.Response:
    """Post a data set.

    Parameters
    ----------
    host_url : str
        The API's address, such as ``http://127.0.0.1:8000/``.
    username, password : str
        The account.
    data_name : str
        The data set's name; no two of an account's data sets have the same.
    target_column : str
        The column that submissions predict.
    workflow_elements : str
        What submissions consist of, such as ``"feature_extractor, classifier"``.
    data_file : path-like
        The data file, such as a CSV; compressed files travel unharmed.
    extra_files : iterable of path-like, optional
        More files, among them the data set's own reader (one ``.py`` file).
    """
    files = _encode_files([data_file, *(extra_files or ())])
    payload = {
        "name": data_name,
        "target_column": target_column,
        "workflow_elements": workflow_elements,
        "files": files,
    }
    return _post(host_url, username, password, "rawdata/", payload)


def post_split(
    host_url: str,
    username: str,
    password: str,
    held_out_test: float,
    raw_data_id: int,
    random_state: int = 42,
) -> requests.Response:
    """Ask for the split of a data set into a train and a held-out test part.

    Parameters
    ----------
    host_url, username, password : str
        As in `post_data`.
    held_out_test : float
        The share of the rows that is held out, between 0 and 1.
    raw_data_id : int
        The data set.
    random_state : int, optional
        The seed of the shuffle.
    """
    payload = {
        "held_out_test": held_out_test,
        "raw_data_id": raw_data_id,
        "random_state": random_state,
    }
    return _post(host_url, username, password, "rawdata/split/", payload)


def custom_post_split(
    host_url: str, username: str, password: str, raw_data_id: int
) -> requests.Response:
    """Ask for the split of a data set that came with its own reader.

    Parameters
    ----------
    host_url, username, password : str
        As in `post_data`.
    raw_data_id : int
        The data set.
    """
    payload = {"raw_data_id": raw_data_id}
    return _post(host_url, username, password, "rawdata/customsplit/", payload)


def post_submission_fold(
    host_url: str,
    username: str,
    password: str,
    sub_id: int,
    sub_fold_id: int,
    train_is: npt.ArrayLike,
    test_is: npt.ArrayLike,
    priority: str = "L",
    raw_data_id: int | None = None,
    list_submission_files: Sequence[StrPath] | None = None,
    force: str | None = None,
) -> requests.Response:
    """Post a submission on one cross-validation fold, with its files if it is new.

    Parameters
    ----------
    host_url, username, password : str
        As in `post_data`.
    sub_id : int
        The submission, by the platform's own number.
    sub_fold_id : int
        The fold, by the platform's own number.
    train_is, test_is : array-like of int of shape (n_samples,)
        Row numbers in the data set's train part: those to train on, and the fold's others.
    priority : {'L', 'H'}, optional
        Low or high.
    raw_data_id : int, optional
        The data set; needed with a new submission.
    list_submission_files : sequence of path-like, optional
        The submission's files; needed with a new submission.
    force : {'submission_fold', 'submission, submission_fold'}, optional
        Run the fold again; the second form replaces the submission's files too.

    Raises
    ------
    CodecError
        If the indices are no whole numbers.
    """
    payload: dict[str, Any] = {
        "databoard_s_id": sub_id,
        "databoard_sf_id": sub_fold_id,
        "train_is": encode_indices(train_is),
        "test_is": encode_indices(test_is),
        "priority": priority,
    }
    if raw_data_id is not None:
        payload["raw_data"] = raw_data_id
    if list_submission_files is not None:
        payload["files"] = _encode_files(list_submission_files)
    if force is not None:
        payload["force"] = force
    return _post(host_url, username, password, "submissionfold/", payload)


def get_prediction_list(
    host_url: str, username: str, password: str, list_submission_fold_id: Sequence[int]
) -> requests.Response:
    """Get predictions and measures of the folds of a list.

    Parameters
    ----------
    host_url, username, password : str
        As in `post_data`.
    list_submission_fold_id : sequence of int
        The folds; those that don't exist are left out of the answer.
    """
    payload = {"list_submission_fold": [int(number) for number in list_submission_fold_id]}
    return _post(host_url, username, password, "testpredictions/list/", payload)


def get_prediction_new(
    host_url: str, username: str, password: str, raw_data_id: int | None = None
) -> requests.Response:
    """Get predictions and measures of the tested folds that were not handed out yet.

    Parameters
    ----------
    host_url, username, password : str
        As in `post_data`.
    raw_data_id : int, optional
        Only the folds on this data set.
    """
    payload = {} if raw_data_id is None else {"raw_data_id": raw_data_id}
    return _post(host_url, username, password, "testpredictions/new/", payload)


def get_raw_data(host_url: str, username: str, password: str) -> requests.Response:
    """Get all data sets; parameters as in `post_data`."""
    return _get(host_url, username, password, "rawdata/")


def get_submission_fold(host_url: str, username: str, password: str) -> requests.Response:
    """Get all folds with all their fields; parameters as in `post_data`."""
    return _get(host_url, username, password, "submissionfold/")


def get_submission_fold_detail(
    host_url: str, username: str, password: str, submission_fold_id: int
) -> requests.Response:
    """Get one fold.

    Parameters
    ----------
    host_url, username, password : str
        As in `post_data`.
    submission_fold_id : int
        The fold, by the platform's own number.
    """
    return _get(host_url, username, password, f"submissionfold/{int(submission_fold_id)}/")


def get_submission_fold_light(host_url: str, username: str, password: str) -> requests.Response:
    """Get number, submission, state and ``new`` of all folds; parameters as in `post_data`."""
    return _get(host_url, username, password, "submissionfold-light/")


def _encode_files(paths: Iterable[StrPath]) -> dict[str, str]:
    """Read files as bytes; a text mode would harm whatever isn't text."""
    return {Path(path).name: encode_bytes(Path(path).read_bytes()) for path in paths}


def _get(host_url: str, username: str, password: str, path: str) -> requests.Response:
    return _send(host_url, username, password, "GET", path)


def _post(
    host_url: str, username: str, password: str, path: str, payload: dict[str, Any]
) -> requests.Response:
    return _send(host_url, username, password, "POST", path, payload)


def _send(
    host_url: str,
    username: str,
    password: str,
    method: str,
    path: str,
    payload: dict[str, Any] | None = None,
) -> requests.Response:
    # Without repeats: what to do about a failure is the caller's to say.
    with Transport(host_url, (username, password), retries=0) as transport:
        return transport.send(method, path, payload)
