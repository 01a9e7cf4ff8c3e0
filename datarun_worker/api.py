"""The worker's side of the API: where inputs come from and results go.

What may be repeated without harm is repeated after a pause when there is no answer, or one that
says that the server is at fault (5xx, 429). What must be repeated until it is done (a result) or
comes again by itself (a report, a heartbeat) is sent once here; `delivery`, `attempts` and
`heartbeat` come again. Where the answer to a fold's claim was lost, the next one asks for what was
given then; of a data job the lease will tell.
"""

import contextlib
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlencode

import requests
from urllib3.exceptions import NewConnectionError

from datarun_client import PROTOCOL, PROTOCOL_HEADER
from datarun_client.codec import encode_base64
from datarun_client.states import State
from datarun_worker.claims import (
    Claim,
    FileEntry,
    FoldClaim,
    FoldName,
    ScoredFold,
    ScoringClaim,
    SplitClaim,
)
from datarun_worker.config import Settings
from datarun_worker.errors import (
    ApiAwayError,
    ApiError,
    ApiNotFoundError,
    ApiRefusalError,
    ApiTooLargeError,
    AttemptLostError,
    CacheError,
    ProtocolError,
)

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 15.0
"""Seconds between two tries; each pause is twice the one before."""

RELEASE_TIME = 5.0
"""Seconds for which a worker that stops tries to give its attempt back."""

_CHUNK = 1 << 20
_UNREACHABLE = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)
_TRY_LATER = frozenset({429, 500, 502, 503, 504})
_DID_NOTHING = frozenset({429, 503})
_NEVER = frozenset({400, 403, 411, 413, 415, 422})
_CONFLICT = 409
_NOT_FOUND = 404
_TOO_LARGE = 413

logger = logging.getLogger("rq.worker.datarun")

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class ResultAnswer:
    """What the API says to a result that it takes.

    Attributes
    ----------
    claim : FoldClaim or None
        The next fold, if one was asked for and there is one.
    """

    claim: FoldClaim | None


class Api:
    """The worker endpoints; several threads may use it at once.

    Parameters
    ----------
    settings : Settings
    worker_name : str
    is_stopping : threading.Event, optional
        Set when the worker stops, and doesn't wait for a claim any more.
    """

    def __init__(
        self, settings: Settings, worker_name: str, is_stopping: threading.Event | None = None
    ) -> None:
        self._base = f"{settings.url.rstrip('/')}/runapp/worker/"
        self._timeout = (settings.connect_timeout, settings.read_timeout)
        self._retry_time = settings.retry_time
        self._worker_name = worker_name
        self._is_stopping = is_stopping or threading.Event()
        # Whether the API may have given a fold in an answer that was lost.
        self._may_have_fold = False
        self._session = requests.Session()
        self._headers = {
            "Authorization": f"Bearer {settings.token}",
            PROTOCOL_HEADER: str(PROTOCOL),
            "Accept-Encoding": "identity",
        }
        # Proxies and certificates by the environment, looked up once and not for every request.
        found = self._session.merge_environment_settings(self._base, {}, True, True, None)
        self._proxies, self._certificates = found["proxies"], found["verify"] or True

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def send_heartbeat(self, facts: Mapping[str, Any], timeout: float) -> float:
        """Tell that this worker lives; sent once.

        Parameters
        ----------
        facts : mapping
            What the worker tells of itself besides its name.
        timeout : float
            Seconds to wait for the answer.

        Returns
        -------
        float
            How long a lease lasts, in seconds.

        Raises
        ------
        ApiError
            If the API can't be reached or refuses.
        """
        body = {"worker": self._worker_name, **facts}
        return _read_lease(self._post("heartbeat/", body, timeout=timeout))

    def claim_fold(self, owner: int, databoard_sf_id: int, queue: str) -> FoldClaim | None:
        """Ask for a fold to run; the API may give another one of the same queue.

        Waits for an API that can't be reached until there is one, or the worker stops. If a fold
        was given whose answer was lost, it is given that one.

        Returns
        -------
        FoldClaim or None
            None if there is nothing to do.

        Raises
        ------
        ApiError
            If the API refuses, or the worker stops.
        """

        def claim() -> FoldClaim | None:
            more = {"resumes": True} if self._may_have_fold else {}
            return self._claim_fold(owner, databoard_sf_id, queue, **more)

        return self._wait_for(claim, repeats_lost=True)

    def claim_ahead(self, owner: int, databoard_sf_id: int, queue: str) -> FoldClaim | None:
        """Ask for a fold to run after the one that this worker runs; sent once.

        Returns
        -------
        FoldClaim or None
            None if there is nothing to do for a worker that is busy.

        Raises
        ------
        ApiError
            If the API can't be reached or refuses.
        """
        return self._claim_fold(owner, databoard_sf_id, queue, ahead=True)

    def _claim_fold(
        self, owner: int, databoard_sf_id: int, queue: str, **more: bool
    ) -> FoldClaim | None:
        body = {
            "owner": owner,
            "databoard_sf_id": databoard_sf_id,
            "queue": queue,
            "worker": self._worker_name,
            **more,
        }
        with self._noting_loss():
            answer = self._post("folds/claim/", body)
        return None if answer is None else FoldClaim.from_wire(answer)

    def claim_split(self, raw_data: int, attempt: int) -> SplitClaim | None:
        """Ask for a data set to split; as `claim_fold`, but an answer that is lost is an error."""
        body = {"raw_data": raw_data, "attempt": attempt, "worker": self._worker_name}
        answer = self._claim_data_job("splits/claim/", body)
        return None if answer is None else SplitClaim.from_wire(answer)

    def claim_scoring(self, owner: int, databoard_s: int, attempt: int) -> ScoringClaim | None:
        """Ask for a submission to score; otherwise as `claim_split`."""
        body = {
            "owner": owner,
            "databoard_s": databoard_s,
            "attempt": attempt,
            "worker": self._worker_name,
        }
        answer = self._claim_data_job("scorings/claim/", body)
        return None if answer is None else ScoringClaim.from_wire(answer)

    def fetch_scored_fold(
        self, claim: ScoringClaim, name: FoldName, is_dropped: threading.Event
    ) -> ScoredFold | None:
        """Fetch a fold's rows and predictions; None if it was run again since the claim.

        Errors as in `fetch_file`.
        """
        path = f"{claim.path}/folds/{name.databoard_sf_id}/"
        found: list[ScoredFold] = []

        def take(response: requests.Response) -> None:
            found.append(ScoredFold.from_wire(_read_json(response) or {}))

        try:
            self._insist(lambda: self._request("GET", path, take), is_dropped)
        except ApiNotFoundError:
            return None
        return found[-1] if found[-1].name == name else None

    def renew_lease(self, claim: Claim, timeout: float) -> None:
        """Renew an attempt's lease; sent once, errors as in `fetch_file`."""
        self._post(f"{claim.path}/lease/", {}, timeout=timeout)

    def release(self, claim: Claim, reason: str) -> None:
        """Give an attempt back, uncharged; errors as in `fetch_file`."""
        for pause in _list_pauses(RELEASE_TIME):
            try:
                self._post(f"{claim.path}/release/", {"reason": reason}, timeout=RELEASE_TIME)
            except ApiAwayError:
                if pause is None:
                    raise
                time.sleep(pause)
            else:
                return

    def fetch_file(
        self,
        claim: Claim,
        entry: FileEntry,
        file: BinaryIO,
        is_dropped: threading.Event | None = None,
    ) -> None:
        """Fetch a file of a claim.

        Parameters
        ----------
        claim : FoldClaim or SplitClaim
        entry : FileEntry
        file : binary file
            Empty; open for writing and seekable.
        is_dropped : threading.Event, optional
            Set when the attempt is dropped, and the file isn't needed any more.

        Raises
        ------
        CacheError
            If what came isn't what the manifest says.
        ApiError
            If the API can't be reached or refuses; `AttemptLostError` if the attempt is over.
        """
        dropped = is_dropped or threading.Event()

        def take(response: requests.Response) -> None:
            # A file that broke off in the middle is fetched again from its beginning.
            file.seek(0)
            file.truncate()
            digest = hashlib.sha256()
            n_bytes = 0
            for chunk in response.iter_content(_CHUNK):
                n_bytes += len(chunk)
                if n_bytes > entry.size or dropped.is_set():
                    break
                digest.update(chunk)
                file.write(chunk)
            if n_bytes != entry.size or digest.hexdigest() != entry.sha256:
                raise CacheError(
                    f"{entry.name!r} came as other bytes than the API's manifest promises."
                )

        path = f"{claim.path}/files/{entry.sha256}/"
        self._insist(lambda: self._request("GET", path, take), dropped)

    def upload_file(
        self,
        claim: SplitClaim,
        entry: FileEntry,
        file: BinaryIO,
        is_dropped: threading.Event | None = None,
    ) -> None:
        """Upload a part of a data set; parameters and errors as in `fetch_file`."""
        path = f"{claim.path}/files/{entry.sha256}/"

        def send() -> None:
            file.seek(0)
            self._request("PUT", path, _read_json, data=file)

        self._insist(send, is_dropped or threading.Event())

    def report_phase(self, claim: FoldClaim, state: State) -> None:
        """Report the end of a phase; sent once, errors as in `fetch_file`."""
        self._post(f"{claim.path}/phase/", {"state": state})

    def append_log(self, claim: FoldClaim, offset: int, text: str) -> int:
        """Send the next piece of a fold's log; sent once, errors as in `fetch_file`.

        Parameters
        ----------
        claim : FoldClaim
        offset : int
            Bytes of the log that the API has already.
        text : str

        Returns
        -------
        int
            Bytes that it has now.
        """
        answer = self._post(f"{claim.path}/log/", {"offset": offset, "text": text})
        length = (answer or {}).get("length")
        if type(length) is not int:
            raise ApiError("The API doesn't say how much of the log it has.")
        return length

    def send_result(
        self, path: str, body: bytes, queue: str | None = None, ahead: bool = False
    ) -> ResultAnswer:
        """Send a result, whole or not at all; sent once.

        Parameters
        ----------
        path : str
            The attempt's, as of `Claim.path`.
        body : bytes
            JSON.
        queue : str, optional
            For a fold's result: where the next fold is claimed from, as by `claim_fold`.
        ahead : bool, optional
            Whether it is claimed as by `claim_ahead`.

        Raises
        ------
        AttemptLostError
            If the attempt is over.
        ApiRefusalError
            If the API refuses it and always will.
        ApiError
            If it can't be delivered now.
        """
        digest = encode_base64(hashlib.sha256(body).digest())
        headers = {"Content-Type": "application/json", "Repr-Digest": f"sha-256=:{digest}:"}
        address = f"{path}/result/"
        if queue is not None:
            wish = {"queue": queue, "worker": self._worker_name, "ahead": str(ahead).lower()}
            address += f"?{urlencode(wish)}"
        with self._noting_loss() if queue is not None else contextlib.nullcontext():
            answer = self._request("POST", address, _read_json, body, headers)
        claim = (answer or {}).get("claim")
        return ResultAnswer(None if claim is None else FoldClaim.from_wire(claim))

    @contextlib.contextmanager
    def _noting_loss(self) -> Iterator[None]:
        """Note whether the answer to a request that may bring a fold was lost."""
        try:
            yield
        except ApiAwayError as error:
            self._may_have_fold |= error.may_have_happened
            raise
        self._may_have_fold = False

    def _claim_data_job(self, path: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        return self._wait_for(lambda: self._post(path, body), repeats_lost=False)

    def _wait_for(self, claim: Callable[[], Answer], repeats_lost: bool) -> Answer:
        """Claim until there is an answer; a claim whose answer was lost is repeated or raised."""
        pause = FIRST_PAUSE
        while True:
            try:
                return claim()
            except ApiAwayError as error:
                if error.may_have_happened and not repeats_lost:
                    raise
                seconds = min(max(pause, error.retry_after), LONGEST_PAUSE)
                logger.warning("%s; trying again in %.1f s", error, seconds)
                if self._is_stopping.wait(seconds):
                    raise
            pause = min(2 * pause, LONGEST_PAUSE)

    def _insist(self, send: Callable[[], None], is_dropped: threading.Event) -> None:
        """Send until there is an answer, or the time to retry is over."""
        for pause in _list_pauses(self._retry_time):
            try:
                return send()
            except ApiAwayError as error:
                if pause is None:
                    raise
                pause = min(max(pause, error.retry_after), LONGEST_PAUSE)
                logger.warning("%s; trying again in %.1f s", error, pause)
                if is_dropped.wait(pause):
                    raise

    def _post(
        self, path: str, body: Mapping[str, Any], timeout: float | None = None
    ) -> dict[str, Any] | None:
        headers = {"Content-Type": "application/json"}
        data = json.dumps(body).encode()
        return self._request("POST", path, _read_json, data, headers, timeout)

    def _request(
        self,
        method: str,
        path: str,
        take: Callable[[requests.Response], Answer],
        data: bytes | BinaryIO | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Send a request once, and give a good answer to `take`."""
        try:
            # Prepared without the session: no .netrc of the machine takes the token's place.
            request = requests.Request(
                method, self._base + path, {**self._headers, **(headers or {})}, data=data
            ).prepare()
            adapter = self._session.get_adapter(self._base)
            with adapter.send(
                request,
                stream=True,
                timeout=timeout or self._timeout,
                verify=self._certificates,
                proxies=self._proxies,
            ) as response:
                _check_status(response)
                return take(response)
        except _UNREACHABLE as error:
            raise ApiAwayError(
                f"The API at {self._base} can't be reached: {error}",
                may_have_happened=not _was_never_sent(error),
            ) from error
        except requests.RequestException as error:
            raise ApiError(f"{method} {path} can't be sent: {error}") from error


def _list_pauses(seconds: float) -> Iterator[float | None]:
    """Give pauses until the time to retry is over; then None."""
    end = time.monotonic() + seconds
    pause = FIRST_PAUSE
    while time.monotonic() + pause < end:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE)
    yield None


def _was_never_sent(error: requests.RequestException) -> bool:
    """Tell whether there was no connection on which a request could have gone out."""
    cause = error.args[0] if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(
        getattr(cause, "reason", None), NewConnectionError
    )


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status in _TRY_LATER:
        raise ApiAwayError(
            _explain(response),
            may_have_happened=status not in _DID_NOTHING,
            retry_after=_read_retry_after(response),
        )
    if status == _CONFLICT:
        raise AttemptLostError(_explain(response))
    if status == _NOT_FOUND:
        raise ApiNotFoundError(_explain(response))
    if status == _TOO_LARGE and response.headers.get(PROTOCOL_HEADER) == str(PROTOCOL):
        raise ApiTooLargeError(_explain(response))
    if status in _NEVER:
        # What another release refuses may be welcome after an upgrade.
        is_same_release = response.headers.get(PROTOCOL_HEADER, str(PROTOCOL)) == str(PROTOCOL)
        raise (ApiRefusalError if is_same_release else ProtocolError)(_explain(response))
    if not response.ok or response.is_redirect:
        raise ApiError(_explain(response))


def _read_json(response: requests.Response) -> dict[str, Any] | None:
    if not response.content:
        return None
    try:
        answer = response.json()
    except requests.JSONDecodeError as error:
        raise ApiError(f"{_name(response)} answered no JSON; is that the API?") from error
    return answer if isinstance(answer, dict) else {}


def _read_lease(answer: Mapping[str, Any] | None) -> float:
    lease = (answer or {}).get("lease")
    if not isinstance(lease, int | float) or lease <= 0:
        raise ApiError("The API doesn't say how long a lease lasts.")
    return float(lease)


def _explain(response: requests.Response) -> str:
    try:
        reason = response.json()["error"]
    except (requests.RequestException, ValueError, KeyError, TypeError):
        reason = response.reason
    return f"{_name(response)} answered {response.status_code}: {reason}"


def _name(response: requests.Response) -> str:
    return f"{response.request.method} {response.url}"


def _read_retry_after(response: requests.Response) -> float:
    try:
        return max(0.0, float(response.headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0
