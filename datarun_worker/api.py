"""The worker's side of the API: where inputs come from and results go.

A request that gets no answer, or one that says that the server is at fault (5xx, 429), is sent
again after a pause, until `DATARUN_RETRY_TIME` is over. All requests may be repeated: the API
knows each by its attempt.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, TypeVar

import requests
from requests.auth import AuthBase

from datarun_client.states import State
from datarun_worker.claims import Claim, FileEntry, FoldClaim, SplitClaim
from datarun_worker.config import Settings
from datarun_worker.errors import ApiError, AttemptLostError, CacheError
from datarun_worker.results import FoldResult, SplitResult

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 15.0
"""Seconds between two tries; each pause is twice the one before."""

_CHUNK = 1 << 20
_UNREACHABLE = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)
_TRY_LATER = frozenset({429, 500, 502, 503, 504})
_CONFLICT = 409

logger = logging.getLogger("rq.worker.datarun")

Answer = TypeVar("Answer")


class Api:
    """The worker endpoints.

    One thread uses it at a time.

    Parameters
    ----------
    settings : Settings
    worker_name : str
    retry_time : float, optional
        Seconds for which a request is tried again; that of the settings by default.
    """

    def __init__(
        self, settings: Settings, worker_name: str, retry_time: float | None = None
    ) -> None:
        self._base = f"{settings.url.rstrip('/')}/runapp/worker/"
        self._timeout = (settings.connect_timeout, settings.read_timeout)
        self._retry_time = settings.retry_time if retry_time is None else retry_time
        self._worker_name = worker_name
        self._session = requests.Session()
        # Set as an object, so that no .netrc of the machine takes its place.
        self._session.auth = _BearerToken(settings.token)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def claim_fold(self, owner: int, databoard_sf_id: int, queue: str) -> FoldClaim | None:
        """Ask for a fold to run; the API may give another one of the same queue.

        Returns
        -------
        FoldClaim or None
            None if there is nothing to do.

        Raises
        ------
        ApiError
            If the API can't be reached or refuses.
        """
        body = {
            "owner": owner,
            "databoard_sf_id": databoard_sf_id,
            "queue": queue,
            "worker": self._worker_name,
        }
        answer = self._post("folds/claim/", body)
        return None if answer is None else FoldClaim.from_wire(answer)

    def claim_split(self, raw_data: int, attempt: int) -> SplitClaim | None:
        """Ask for a data set to split; otherwise as `claim_fold`."""
        body = {"raw_data": raw_data, "attempt": attempt, "worker": self._worker_name}
        answer = self._post("splits/claim/", body)
        return None if answer is None else SplitClaim.from_wire(answer)

    def fetch_file(self, claim: Claim, entry: FileEntry, file: BinaryIO) -> None:
        """Fetch a file of a claim.

        Parameters
        ----------
        claim : FoldClaim or SplitClaim
        entry : FileEntry
        file : binary file
            Empty; open for writing and seekable.

        Raises
        ------
        CacheError
            If what came isn't what the manifest says.
        ApiError
            As for all requests; `AttemptLostError` if the attempt is over.
        """

        def take(response: requests.Response) -> None:
            # A file that broke off in the middle is fetched again from its beginning.
            file.seek(0)
            file.truncate()
            digest = hashlib.sha256()
            n_bytes = 0
            for chunk in response.iter_content(_CHUNK):
                n_bytes += len(chunk)
                if n_bytes > entry.size:
                    break
                digest.update(chunk)
                file.write(chunk)
            if n_bytes != entry.size or digest.hexdigest() != entry.sha256:
                raise CacheError(
                    f"{entry.name!r} came as other bytes than the API's manifest promises."
                )

        self._request("GET", f"{claim.path}/files/{entry.sha256}/", take)

    def report_phase(self, claim: FoldClaim, state: State) -> None:
        """Report the end of a phase; errors as in `fetch_file`."""
        self._post(f"{claim.path}/phase/", {"state": state})

    def append_log(self, claim: FoldClaim, offset: int, text: str) -> int:
        """Send the next piece of a fold's log; an empty one is a sign of life.

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

    def deliver_fold(self, claim: FoldClaim, result: FoldResult) -> None:
        """Deliver a fold's result; errors as in `fetch_file`."""
        self._post(f"{claim.path}/result/", result.to_wire())

    def upload_file(self, claim: SplitClaim, entry: FileEntry, file: BinaryIO) -> None:
        """Upload a part of a data set; errors as in `fetch_file`."""
        path = f"{claim.path}/files/{entry.sha256}/"
        self._request("PUT", path, _read_json, file=file)

    def deliver_split(self, claim: SplitClaim, result: SplitResult) -> None:
        """Deliver a split's result; errors as in `fetch_file`."""
        self._post(f"{claim.path}/result/", result.to_wire())

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        return self._request("POST", path, _read_json, json=body)

    def _request(
        self,
        method: str,
        path: str,
        take: Callable[[requests.Response], Answer],
        json: Mapping[str, Any] | None = None,
        file: BinaryIO | None = None,
    ) -> Answer:
        """Send a request until there is an answer, and give it to `take`."""
        for pause in self._pauses():
            if file is not None:
                file.seek(0)
            retry_after = 0.0
            try:
                with self._session.request(
                    method,
                    self._base + path,
                    json=json,
                    data=file,
                    timeout=self._timeout,
                    allow_redirects=False,
                    stream=True,
                ) as response:
                    if response.status_code not in _TRY_LATER:
                        _check_status(response)
                        return take(response)
                    reason = _explain(response)
                    retry_after = _read_retry_after(response)
            except _UNREACHABLE as error:
                reason = f"The API at {self._base} can't be reached: {error}"
            except requests.RequestException as error:
                raise ApiError(f"{method} {path} can't be sent: {error}") from error
            if pause is None:
                raise ApiError(reason)
            pause = min(max(pause, retry_after), LONGEST_PAUSE)
            logger.warning("%s; trying again in %.1f s", reason, pause)
            time.sleep(pause)
        raise AssertionError("the last pause is None")

    def _pauses(self) -> Iterator[float | None]:
        """Give pauses until the time to retry is over; then None."""
        end = time.monotonic() + self._retry_time
        pause = FIRST_PAUSE
        while time.monotonic() + pause < end:
            yield pause
            pause = min(2 * pause, LONGEST_PAUSE)
        yield None


class _BearerToken(AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _check_status(response: requests.Response) -> None:
    if response.status_code == _CONFLICT:
        raise AttemptLostError(_explain(response))
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
