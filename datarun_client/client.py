"""A client of the API: one method a call, arrays and paths in, records out.

>>> from datarun_client import Client
>>> client = Client("http://127.0.0.1:8000/", ("me", "secret"))  # doctest: +SKIP
"""

import contextlib
import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from datarun_client.codec import encode_bytes, encode_indices
from datarun_client.errors import (
    AnswerError,
    CodecError,
    ConflictError,
    DatarunError,
    NotFoundError,
    SplitFailedError,
    UnavailableError,
    UnreachableError,
    WaitTimeoutError,
)
from datarun_client.events import LONGEST_STREAM, EventStream, open_events
from datarun_client.records import (
    FOLD_FIELDS,
    Attempt,
    Delivery,
    FileInfo,
    Fold,
    FoldEvent,
    FoldPredictions,
    FoldState,
    Health,
    PredictionArray,
    QueueInfo,
    RawData,
    Submission,
    UploadInfo,
    Webhook,
    WorkerInfo,
)
from datarun_client.runs import Run
from datarun_client.source_files import Files, find_source_files, read_source_files
from datarun_client.splitters import CrossValidation, make_folds
from datarun_client.states import FailureKind, Force, Priority, SplitState, State
from datarun_client.transport import (
    ACKNOWLEDGED_PREDICTIONS,
    CONNECT_TIMEOUT,
    HEALTH,
    NEW_PREDICTIONS,
    READ_TIMEOUT,
    RETRIES,
    Auth,
    Transport,
)
from datarun_client.waiting import SILENCE, Patience

T = TypeVar("T")

RANDOM_STATE = 42

PREDICTIONS_PER_CALL = 50
"""Folds whose predictions are asked for at once, which bounds an answer's size."""

LARGE_FILE = 16 << 20
"""Bytes from which a data set's file is uploaded in parts instead of written into JSON."""

PART_SIZE = 16 << 20
"""Bytes of a part, which is held in memory."""

TRIES_AT_NUMBERS = 5
"""How often new numbers are chosen, when somebody else takes them in between."""


class Client:
    """A client of one API, with one account.

    Every method raises a `CallError`: `UnreachableError` if nothing answers after some tries, a
    `RefusedError` that names the field if the API says no (see `datarun_client.errors`). It can be
    used by one thread at a time, and as a context manager, which closes its connections.

    Parameters
    ----------
    url : str
        The API's address, such as ``http://127.0.0.1:8000/``.
    auth : tuple of str, or str
        Name and password, or a token.
    retries : int, optional
        How often a call is made again that got no answer; pauses grow to a few seconds.
    timeout : tuple of float, optional
        Seconds to wait for a connection, and for an answer.
    """

    def __init__(
        self,
        url: str,
        auth: Auth,
        *,
        retries: int = RETRIES,
        timeout: tuple[float, float] = (CONNECT_TIMEOUT, READ_TIMEOUT),
    ) -> None:
        self._transport = Transport(url, auth, retries, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    @property
    def url(self) -> str:
        """The API's address."""
        return self._transport.url

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    # Data sets.

    def list_raw_data(self) -> list[RawData]:
        """List the data sets."""
        return self._read_each(RawData.from_wire, self._transport.call("GET", "rawdata/"))

    def get_raw_data(self, raw_data: "int | str | RawData") -> RawData:
        """Get a data set as it is now.

        Parameters
        ----------
        raw_data : int, str or RawData
            Its number or its name.

        Raises
        ------
        NotFoundError
            If there is none; the message names those that there are.
        """
        wanted = raw_data.id if isinstance(raw_data, RawData) else raw_data
        known = self.list_raw_data()
        for entry in known:
            if wanted in (entry.id, entry.name):
                return entry
        names = ", ".join(repr(entry.name) for entry in known) or "none"
        text = f"There is no data set {wanted!r}; there are {names}."
        raise NotFoundError(404, text, {"raw_data": [text]})

    def create_raw_data(
        self,
        name: str,
        files: Files,
        target_column: str,
        workflow_elements: str,
        time_limit: float | None = None,
        memory_limit: int | None = None,
        metrics: Iterable[str] = (),
    ) -> RawData:
        """Create a data set.

        Parameters
        ----------
        name : str
            No two of an account's data sets have the same.
        files : path-like, iterable of path-like, or mapping
            Its one data file, or several with a reader (one ``.py`` file) among them; or contents
            by name. Large files are sent before, in parts, and never held in memory.
        target_column : str
            The column that submissions predict.
        workflow_elements : str
            What submissions consist of, such as ``"feature_extractor, classifier"``.
        time_limit : float, optional
            Seconds that a whole fold may take.
        memory_limit : int, optional
            Bytes that a fold may use.
        metrics : iterable of str, optional
            What folds are scored by: up to ten names of scikit-learn's scorers.

        Raises
        ------
        ConflictError
            If there is another data set of that name. The same one again is no error.
        """
        payload: dict[str, Any] = {
            "name": name,
            "target_column": target_column,
            "workflow_elements": workflow_elements,
            **self._send_files(files),
        }
        if time_limit is not None:
            payload["time_limit"] = time_limit
        if memory_limit is not None:
            payload["memory_limit"] = memory_limit
        if metrics:
            payload["metrics"] = list(metrics)
        return self._read(RawData.from_wire, self._transport.call("POST", "rawdata/", payload))

    def upload_file(self, path: str | PathLike[str]) -> str:
        """Send a file of any size in parts, each of which may be sent again.

        Parameters
        ----------
        path : path-like

        Returns
        -------
        str
            The upload's name, by which `create_raw_data` refers to it.
        """
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            upload = self._post("uploads/", {"size": size})
            name = self._read(lambda answer: str(answer["upload_id"]), upload)
            for offset in range(0, size, PART_SIZE):
                part = file.read(PART_SIZE)
                address = f"uploads/{name}/parts/{offset}/"
                self._transport.call("PUT", address, data=part)
        return name

    def split_raw_data(
        self,
        raw_data: int | RawData,
        held_out_test: float | None = None,
        random_state: int = RANDOM_STATE,
    ) -> str:
        """Ask for the split of a data set into train part and held-out test part.

        Parameters
        ----------
        raw_data : int or RawData
        held_out_test : float, optional
            The share of the rows that is held out, between 0 and 1. Without it the data set's own
            reader splits.
        random_state : int, optional

        Returns
        -------
        str
            The job's name; `wait_for_split` waits for its end.

        Raises
        ------
        ConflictError
            If folds rely on another split already.
        """
        payload: dict[str, Any] = {"raw_data_id": _get_id(raw_data)}
        path = "rawdata/customsplit/"
        if held_out_test is not None:
            path = "rawdata/split/"
            payload |= {"held_out_test": held_out_test, "random_state": random_state}
        return self._read(lambda answer: str(answer["task_id"]), self._post(path, payload))

    def wait_for_split(
        self, raw_data: "int | str | RawData", timeout: float | None = 600
    ) -> RawData:
        """Wait until a data set is split.

        Parameters
        ----------
        raw_data : int, str or RawData
        timeout : float or None, optional
            Seconds.

        Raises
        ------
        SplitFailedError
            If the split has failed, or nobody has asked for it.
        WaitTimeoutError
            If it takes longer.
        """
        patience = Patience(timeout)
        for _ in patience.tries():
            found = patience.ask(lambda: self.get_raw_data(raw_data))
            if found is None:
                continue
            if found.split_state is SplitState.DONE:
                return found
            if found.split_state is SplitState.ERROR:
                raise SplitFailedError(
                    f"The split of data set {found.name!r} failed: {found.split_error}"
                )
            if found.split_state is SplitState.NONE:
                raise SplitFailedError(
                    f"Data set {found.name!r} isn't split; call split_raw_data first "
                    f"(datarun data split {found.name})."
                )
        raise WaitTimeoutError(
            f"Data set {raw_data!r} isn't split after {timeout:g} s; is there a worker?"
        )

    def list_raw_data_files(self, raw_data: int | RawData) -> list[FileInfo]:
        """List a data set's files; its own reader is always ``specific.py``."""
        answer = self._transport.call("GET", f"rawdata/{_get_id(raw_data)}/files/")
        return self._read_each(FileInfo.from_wire, answer)

    def download_raw_data_file(
        self, raw_data: int | RawData, name: str, path: str | PathLike[str]
    ) -> None:
        """Write one of a data set's files to a path; of any size, and checked by its hash."""
        entries = self.list_raw_data_files(raw_data)
        self._download(f"rawdata/{_get_id(raw_data)}/files/", entries, name, path)

    def delete_raw_data(self, raw_data: int | RawData) -> None:
        """Delete a data set with its submissions and folds; what runs is stopped."""
        self._delete(f"rawdata/{_get_id(raw_data)}/")

    def list_uploads(self) -> list[UploadInfo]:
        """List the files that were sent before what they belong to, the first one first."""
        return self._read_each(UploadInfo.from_wire, self._transport.call("GET", "uploads/"))

    def delete_upload(self, upload_id: str) -> None:
        """Forget an upload; what refers to its file keeps it."""
        self._delete(f"uploads/{quote(upload_id, safe='')}/")

    # Webhooks of a data set.

    def add_webhook(
        self,
        raw_data: int | RawData,
        url: str,
        states: Iterable[State | str] = (State.TESTED, State.ERROR),
    ) -> Webhook:
        """Have an address called when a fold of a data set gets one of some states.

        Returns
        -------
        Webhook
            With the secret that signs its messages: keep it, it is shown only now.
        """
        payload = {"url": url, "states": [str(state) for state in states]}
        return self._read(Webhook.from_wire, self._post(_name_webhooks(raw_data), payload, True))

    def list_webhooks(self, raw_data: int | RawData) -> list[Webhook]:
        """List a data set's webhooks."""
        answer = self._transport.call("GET", _name_webhooks(raw_data))
        return self._read_each(Webhook.from_wire, answer)

    def list_deliveries(self, raw_data: int | RawData, webhook_id: int) -> list[Delivery]:
        """List a webhook's last messages, and how their delivery went."""
        path = f"{_name_webhooks(raw_data)}{int(webhook_id)}/deliveries/"
        return self._read_each(Delivery.from_wire, self._transport.call("GET", path))

    def enable_webhook(self, raw_data: int | RawData, webhook_id: int) -> Webhook:
        """Call a webhook again that was disabled, also about what happened meanwhile."""
        path = f"{_name_webhooks(raw_data)}{int(webhook_id)}/enable/"
        return self._read(Webhook.from_wire, self._post(path, None))

    def delete_webhook(self, raw_data: int | RawData, webhook_id: int) -> None:
        """Call a webhook no more."""
        self._delete(f"{_name_webhooks(raw_data)}{int(webhook_id)}/")

    # Submissions and folds.

    def post_fold(
        self,
        databoard_sf_id: int,
        databoard_s_id: int,
        train_is: npt.ArrayLike,
        test_is: npt.ArrayLike,
        priority: Priority | str = Priority.LOW,
        raw_data: int | RawData | None = None,
        files: Files | None = None,
        force: Force | str | None = None,
    ) -> Fold:
        """Post a submission on one cross-validation fold, by numbers of your own.

        Parameters
        ----------
        databoard_sf_id, databoard_s_id : int
            The fold and its submission.
        train_is, test_is : array-like of int of shape (n_samples,)
            Rows of the data set's train part: those to train on, and the fold's others.
        priority : {'L', 'H'}, optional
        raw_data : int or RawData, optional
            Needed with a new submission.
        files : path-like, iterable of path-like, or mapping, optional
            The submission's folder; needed with a new submission.
        force : {'submission_fold', 'submission, submission_fold'}, optional
            Run the fold again; the second form replaces the submission's files too.

        Raises
        ------
        ConflictError
            If the fold exists with other content. The same one again is no error.
        """
        payload = _write_fold(databoard_sf_id, databoard_s_id, train_is, test_is, priority)
        if raw_data is not None:
            payload["raw_data"] = _get_id(raw_data)
        if files is not None:
            payload["files"] = _encode_files(files)
        if force is not None:
            payload["force"] = str(force)
        return self._read(Fold.from_wire, self._post("submissionfold/", payload, force is not None))

    def post_folds(
        self,
        databoard_s_id: int,
        folds: Iterable[tuple[int, npt.ArrayLike, npt.ArrayLike]],
        priority: Priority | str = Priority.LOW,
        raw_data: int | RawData | None = None,
        files: Files | None = None,
        force: Force | str | None = None,
    ) -> list[Fold]:
        """Post many folds of a submission in one call, all or none.

        Parameters
        ----------
        databoard_s_id : int
        folds : iterable of tuple
            ``(databoard_sf_id, train_is, test_is)`` of each.
        priority, raw_data, files, force
            As of `post_fold`.
        """
        payloads = [
            _write_fold(number, databoard_s_id, train_is, test_is, priority)
            for number, train_is, test_is in folds
        ]
        if payloads and raw_data is not None:
            payloads[0]["raw_data"] = _get_id(raw_data)
        if payloads and files is not None:
            # Once is enough: the others are of the same submission.
            payloads[0]["files"] = _encode_files(files)
        if force is not None:
            payloads = [payload | {"force": str(force)} for payload in payloads]
        answer = self._post("submissionfold/", payloads, force is not None)
        return self._read_each(Fold.from_wire, answer)

    def list_folds(
        self,
        databoard_s_id: int | None = None,
        *,
        raw_data: int | RawData | None = None,
        states: Iterable[State | str] = (),
        since: datetime | None = None,
    ) -> list[Fold]:
        """List folds, without their predictions and progress.

        Parameters
        ----------
        databoard_s_id : int, optional
            Only those of this submission.
        raw_data : int or RawData, optional
            Only those on this data set.
        states : iterable of State, optional
            Only those in one of these states.
        since : datetime, optional
            Only those that changed then or later; aware.
        """
        params = _write_filters(databoard_s_id, raw_data, states, since)
        params["fields"] = ",".join(FOLD_FIELDS)
        answer = self._transport.call("GET", "submissionfold/", params=params)
        return self._read_each(Fold.from_wire, answer)

    def list_fold_states(
        self,
        databoard_s_id: int | None = None,
        *,
        raw_data: int | RawData | None = None,
        states: Iterable[State | str] = (),
        since: datetime | None = None,
    ) -> list[FoldState]:
        """List the states of folds; parameters as of `list_folds`, which costs more."""
        params = _write_filters(databoard_s_id, raw_data, states, since)
        answer = self._transport.call("GET", "submissionfold-light/", params=params)
        return self._read_each(FoldState.from_wire, answer)

    def get_fold(self, databoard_sf_id: int, wait: float = 0) -> Fold:
        """Get one fold, and what it waits for.

        Parameters
        ----------
        databoard_sf_id : int
        wait : float, optional
            Seconds, at most 60, for which the answer may be held back until the state changes.
        """
        params = {"wait": wait} if wait else {}
        answer = self._transport.call(
            "GET", f"submissionfold/{int(databoard_sf_id)}/", None, params
        )
        return self._read(Fold.from_wire, answer)

    def list_attempts(self, databoard_sf_id: int) -> list[Attempt]:
        """List the tries at running a fold, the first one first."""
        answer = self._transport.call("GET", f"submissionfold/{int(databoard_sf_id)}/attempts/")
        return self._read_each(Attempt.from_wire, answer)

    def cancel_fold(self, databoard_sf_id: int) -> Fold:
        """Cancel a fold, queued or running.

        Raises
        ------
        ConflictError
            If it has ended already.
        """
        try:
            answer = self._transport.call("DELETE", f"submissionfold/{int(databoard_sf_id)}/")
        except ConflictError as error:
            if error.was_repeated:
                # Perhaps it has ended because the first try cancelled it, whose answer was lost.
                fold = self.get_fold(databoard_sf_id)
                if fold.failure_kind is FailureKind.CANCELLED:
                    return fold
            raise
        return self._read(Fold.from_wire, answer)

    def rerun_fold(self, databoard_sf_id: int) -> Fold:
        """Run a fold again with the source that is stored; its old result is gone."""
        fold = self.get_fold(databoard_sf_id)
        return self.post_fold(
            fold.databoard_sf_id,
            fold.databoard_s,
            fold.train_is,
            fold.test_is,
            fold.priority,
            force=Force.FOLD,
        )

    def get_submission(self, databoard_s_id: int) -> Submission:
        """Get a submission and its scores."""
        answer = self._transport.call("GET", f"submission/{int(databoard_s_id)}/")
        return self._read(Submission.from_wire, answer)

    def list_submission_files(self, databoard_s_id: int) -> list[FileInfo]:
        """List a submission's files."""
        answer = self._transport.call("GET", f"submission/{int(databoard_s_id)}/files/")
        return self._read_each(FileInfo.from_wire, answer)

    def download_submission_file(
        self, databoard_s_id: int, name: str, path: str | PathLike[str]
    ) -> None:
        """Write one of a submission's files to a path, checked by its hash."""
        entries = self.list_submission_files(databoard_s_id)
        self._download(f"submission/{int(databoard_s_id)}/files/", entries, name, path)

    def delete_submission(self, databoard_s_id: int) -> None:
        """Delete a submission with its folds; what runs is stopped."""
        self._delete(f"submission/{int(databoard_s_id)}/")

    # Predictions.

    def get_predictions(self, databoard_sf_ids: Iterable[int]) -> list[FoldPredictions]:
        """Get predictions and measures of folds, again and again.

        Parameters
        ----------
        databoard_sf_ids : iterable of int
            Those that don't exist are left out.
        """
        found = []
        for batch in _batch(databoard_sf_ids, PREDICTIONS_PER_CALL):
            answer = self._post("testpredictions/list/", {"list_submission_fold": batch})
            found += self._read_each(FoldPredictions.from_wire, answer)
        return found

    def get_prediction_array(
        self, databoard_sf_id: int, part: Literal["full_train", "test"] = "test"
    ) -> PredictionArray:
        """Get one fold's predictions of one set, without marking them as handed out.

        Parameters
        ----------
        databoard_sf_id : int
        part : {'test', 'full_train'}, optional

        Raises
        ------
        NotFoundError
            If there is no such fold, or it has no predictions.
        """
        path = f"submissionfold/{int(databoard_sf_id)}/predictions/{part}/"
        with io.BytesIO() as file:
            self._transport.download(path, file)
            file.seek(0)
            return self._read(lambda content: np.load(content, allow_pickle=False), file)

    def take_new_predictions(self, raw_data: int | RawData | None = None) -> list[FoldPredictions]:
        """Get, once, predictions and measures of the folds that weren't handed out yet.

        Parameters
        ----------
        raw_data : int or RawData, optional
            Only the folds on this data set.
        """
        payload = {} if raw_data is None else {"raw_data_id": _get_id(raw_data)}
        return self._read_each(FoldPredictions.from_wire, self._post(NEW_PREDICTIONS, payload))

    def iter_new_predictions(
        self, raw_data: int | RawData | None = None
    ) -> Iterator[FoldPredictions]:
        """Get predictions of the folds that weren't handed out yet, so that none can be lost.

        A page is acknowledged when the page after it is asked for: what you didn't come to, or
        whose answer was lost, comes again the next time.

        Parameters
        ----------
        raw_data : int or RawData, optional
            Only the folds on this data set.
        """
        payload: dict[str, Any] = {"ack": ""}
        if raw_data is not None:
            payload["raw_data_id"] = _get_id(raw_data)
        while True:
            page = self._post(ACKNOWLEDGED_PREDICTIONS, payload)
            found = self._read(lambda answer: answer["predictions"], page)
            yield from self._read_each(FoldPredictions.from_wire, found)
            payload["ack"] = self._read(lambda answer: str(answer["ack"]), page)
            if not found:
                return

    # Events.

    def iter_events(
        self, last_event_id: int | None = None, silence: float = SILENCE
    ) -> Iterator[FoldEvent]:
        """Follow the changes of the folds' states, without end, and across restarts of the API.

        Parameters
        ----------
        last_event_id : int, optional
            The last event that you know, to go on after it; by default what happens from now on.
        silence : float, optional
            Seconds for which the API may be away at a stretch.

        Yields
        ------
        FoldEvent
            Each once, in their order.

        Raises
        ------
        EventsLostError
            If you come back too late, and events are gone.
        """
        patience = Patience(None, silence)
        for _ in patience.tries():
            try:
                with self.open_events(last_event_id) as stream:
                    patience.hear()
                    last_event_id = stream.last_event_id
                    for event in stream:
                        last_event_id = event.id
                        yield event
                        patience.hear()
            except (UnreachableError, UnavailableError) as error:
                patience.bear(error)

    def open_events(
        self, last_event_id: int | None = None, seconds: float = LONGEST_STREAM
    ) -> contextlib.AbstractContextManager[EventStream]:
        """Open one stream of events, which ends by itself; parameters as of `events.open_events`.

        What happens once it is open is in it, so it is the place to look at the folds first.
        """
        return open_events(self._transport, last_event_id, seconds)

    # Compute machines.

    def get_health(self) -> Health:
        """Ask whether the servers behind the API answer; one that doesn't is no error."""
        answer = self._transport.call("GET", HEALTH, accepted=503)
        return self._read(Health.from_wire, answer)

    def list_workers(self) -> list[WorkerInfo]:
        """List the workers, those heard of last first."""
        return self._read_each(WorkerInfo.from_wire, self._transport.call("GET", "workers/"))

    def list_queues(self) -> list[QueueInfo]:
        """Show how long the queues are and how fast they move."""
        return self._read_each(QueueInfo.from_wire, self._transport.call("GET", "queues/"))

    # Whole submissions.

    def submit(
        self,
        raw_data: "int | str | RawData",
        files: Files,
        cv: CrossValidation = 5,
        priority: Priority | str = Priority.LOW,
        *,
        y: npt.ArrayLike | None = None,
        groups: npt.ArrayLike | None = None,
        databoard_s_id: int | None = None,
        databoard_sf_id: int | None = None,
    ) -> Run:
        """Submit a model on all folds of a cross-validation, in one call.

        If the data set is being split, that is waited for, because folds are made of its rows.

        Parameters
        ----------
        raw_data : int, str or RawData
            The data set, by number or name.
        files : path-like, iterable of path-like, or mapping
            The submission's folder.
        cv : int, splitter or iterable of pairs, optional
            A number of folds, shuffled as by scikit-learn's
            ``KFold(cv, shuffle=True, random_state=42)``; any splitter of scikit-learn; or pairs of
            train and test rows.
        priority : {'L', 'H'}, optional
        y, groups : array-like of shape (n_train,), optional
            For splitters that need them, such as ``StratifiedKFold``.
        databoard_s_id : int, optional
            The submission's number; a free one by default.
        databoard_sf_id : int, optional
            The first fold's number, from which the others count on; a free one by default.

        Returns
        -------
        Run

        Raises
        ------
        SplitFailedError
            If the data set isn't split.
        SplitterError
            If the cross-validation gives no folds for it.
        ConflictError
            If a number that you gave is taken.
        """
        data = self.wait_for_split(raw_data)
        contents = read_source_files(files)
        rows = make_folds(cv, data.n_train or 0, y, groups)
        n_tries = TRIES_AT_NUMBERS if None in (databoard_s_id, databoard_sf_id) else 1
        while True:
            submission, first = self._choose_numbers(databoard_s_id, databoard_sf_id)
            numbered = [(number, *pair) for number, pair in enumerate(rows, start=first)]
            try:
                folds = self.post_folds(submission, numbered, priority, data, contents)
            except ConflictError:
                # Somebody else took a number after it was found free.
                n_tries -= 1
                if not n_tries:
                    raise
            else:
                return Run(self, submission, [fold.databoard_sf_id for fold in folds])

    def get_run(self, databoard_s_id: int) -> Run:
        """Get a submission with its folds.

        Raises
        ------
        NotFoundError
            If it has no folds.
        """
        numbers = [state.databoard_sf_id for state in self.list_fold_states(databoard_s_id)]
        if not numbers:
            text = f"There is no submission {databoard_s_id} with folds."
            raise NotFoundError(404, text, {"databoard_s_id": [text]})
        return Run(self, databoard_s_id, numbers)

    def _choose_numbers(self, submission: int | None, fold: int | None) -> tuple[int, int]:
        """Choose the numbers after the largest ones, where none are given."""
        if submission is not None and fold is not None:
            return submission, fold
        free = self._transport.call("GET", "free-numbers/")
        return self._read(
            lambda answer: (
                int(answer["databoard_s_id"] if submission is None else submission),
                int(answer["databoard_sf_id"] if fold is None else fold),
            ),
            free,
        )

    def _download(
        self, folder: str, entries: Sequence[FileInfo], name: str, path: str | PathLike[str]
    ) -> None:
        """Write a file beside its place, and move it there once it is whole."""
        entry = next((entry for entry in entries if entry.name == name), None)
        if entry is None:
            known = [entry.name for entry in entries]
            text = f"There is no file {name!r}; there are {', '.join(known)}."
            raise NotFoundError(404, text, {"name": [text]})
        place = Path(path)
        with tempfile.NamedTemporaryFile(dir=place.parent, delete=False) as file:
            unfinished = Path(file.name)
            try:
                self._transport.download(folder + quote(name), file)
                file.seek(0)
                if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
                    raise AnswerError(f"{name!r} didn't arrive whole; get it again.")
                unfinished.replace(place)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise

    def _send_files(self, files: Files) -> dict[str, dict[str, str]]:
        """Write the small files of a post into it, and upload the large ones."""
        sent: dict[str, dict[str, str]] = {"files": {}, "uploads": {}}
        for name, content in find_source_files(files).items():
            if isinstance(content, Path) and content.stat().st_size >= LARGE_FILE:
                sent["uploads"][name] = self.upload_file(content)
            else:
                raw = content if isinstance(content, bytes) else content.read_bytes()
                sent["files"][name] = encode_bytes(raw)
        return {kind: named for kind, named in sent.items() if named}

    def _delete(self, path: str) -> None:
        try:
            self._transport.call("DELETE", path)
        except NotFoundError as error:
            # The first try was carried out, but its answer was lost.
            if not error.was_repeated:
                raise

    def _post(self, path: str, payload: Any, is_forced: bool = False) -> Any:
        return self._transport.call("POST", path, payload, is_forced=is_forced)

    def _read(self, read: Callable[[Any], T], answer: Any) -> T:
        """Read an answer.

        Raises
        ------
        AnswerError
            If it isn't what this release knows.
        """
        try:
            return read(answer)
        except DatarunError as error:
            if not isinstance(error, CodecError):
                raise
            cause: Exception = error
        except (KeyError, TypeError, ValueError) as error:
            cause = error
        raise AnswerError(
            f"{self.url} answers what this client can't read ({type(cause).__name__}: {cause}); "
            "let both be of the same release."
        ) from cause

    def _read_each(self, read: Callable[[Any], T], answer: Any) -> list[T]:
        return self._read(lambda entries: [read(entry) for entry in entries], answer)


def _write_fold(
    databoard_sf_id: int,
    databoard_s_id: int,
    train_is: npt.ArrayLike,
    test_is: npt.ArrayLike,
    priority: Priority | str,
) -> dict[str, Any]:
    return {
        "databoard_sf_id": int(databoard_sf_id),
        "databoard_s_id": int(databoard_s_id),
        "train_is": encode_indices(train_is),
        "test_is": encode_indices(test_is),
        "priority": str(priority),
    }


def _name_webhooks(raw_data: int | RawData) -> str:
    return f"rawdata/{_get_id(raw_data)}/webhooks/"


def _write_filters(
    databoard_s_id: int | None,
    raw_data: int | RawData | None,
    states: Iterable[State | str],
    since: datetime | None,
) -> dict[str, Any]:
    filters = {
        "submission": databoard_s_id,
        "raw_data": None if raw_data is None else _get_id(raw_data),
        "state": ",".join(map(str, states)) or None,
        "since": since.isoformat() if since else None,
    }
    return {name: value for name, value in filters.items() if value is not None}


def _encode_files(files: Files) -> dict[str, str]:
    return {name: encode_bytes(content) for name, content in read_source_files(files).items()}


def _get_id(raw_data: int | RawData) -> int:
    return raw_data.id if isinstance(raw_data, RawData) else int(raw_data)


def _batch(numbers: Iterable[int], size: int) -> Iterator[Sequence[int]]:
    rest = iter(numbers)
    while batch := [int(number) for number in islice(rest, size)]:
        yield batch
