"""How the client talks HTTP: one session, timeouts always, and repeats that can't do harm.

**What is repeated.** A call that got no answer, or 502, 503 or 504, or a refusal that says when to
come back (``Retry-After``), is made again, with growing pauses. That is safe because the API's
POSTs are idempotent: the same content again is answered 200 and starts nothing. Some calls aren't
so by themselves. A forced post starts its fold anew each time, so it carries an
``Idempotency-Key``. ``testpredictions/new/`` marks what it hands out, so it is repeated only while
no connection could be made. A DELETE whose answer was lost finds nothing to do when it is made
again, so its refusal says that it was (`RefusedError.was_repeated`).

**What isn't followed.** A redirect would turn a POST into a GET without a word, so it is an error
that names the other address.
"""

import base64
import contextlib
import hashlib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Self

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from requests.exceptions import ChunkedEncodingError
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util import Retry

from datarun_client.errors import AnswerError, RefusedError, UnreachableError, make_refusal

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection."""

READ_TIMEOUT = 300.0
"""Seconds to wait for an answer: an upload of a gigabyte is answered after it was stored."""

RETRIES = 6
"""How often a call is made again; with the pauses between them that takes about 15 seconds."""

BACKOFF = 0.25
"""Seconds before the second repeat; each pause is twice the one before, up to `LONGEST_PAUSE`."""

LONGEST_PAUSE = 5.0

LONGEST_RETRY_AFTER = 60
"""Seconds; an API that asks for a longer pause is asked again after this one."""

PASSING_STATUSES = (502, 503, 504)
"""What a server or a proxy in front of it answers while it starts again."""

IDEMPOTENCY_HEADER = "Idempotency-Key"

DIGEST_HEADER = "Content-Digest"

BYTES = "application/octet-stream"

CHUNK = 1 << 20
"""Bytes of a download that are in memory at once."""

NEW_PREDICTIONS = "testpredictions/new/"
"""The one call that marks what it hands out."""

EVENTS = "events/"
HEALTH = "/health"
"""Calls whose callers want to know at once that it doesn't go now."""

SILENT_STREAM = 60.0
"""Seconds after which a stream that says nothing counts as broken off."""

ACKNOWLEDGED_PREDICTIONS = "testpredictions/new"
"""The same call with ``ack``, which marks nothing before it arrived and so may be repeated. The API
takes it with or without the slash; the session's rules go by the address."""

Auth = tuple[str, str] | str
"""Name and password, or a token."""


class BearerAuth(AuthBase):
    """A token in place of name and password."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the token into a request."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class PatientRetry(Retry):
    """urllib3's rules of repeating, which also believe a 409 that says when to come back."""

    RETRY_AFTER_STATUS_CODES = frozenset({409, 429, 503})


class Transport:
    """A session with one API.

    Parameters
    ----------
    url : str
        The API's address, such as ``http://127.0.0.1:8000/``.
    auth : tuple of str, or str
        Name and password, or a token.
    retries : int, optional
        How often a call is made again that got no answer.
    timeout : tuple of float, optional
        Seconds to wait for a connection, and for an answer.
    headers : mapping of str to str, optional
        What every request carries besides.

    Attributes
    ----------
    url : str
        The address, with one slash at its end.
    """

    def __init__(
        self,
        url: str,
        auth: Auth,
        retries: int = RETRIES,
        timeout: tuple[float, float] = (CONNECT_TIMEOUT, READ_TIMEOUT),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.url = f"{url.rstrip('/')}/"
        self._retries = retries
        self._timeout = timeout
        self._session = requests.Session()
        self._session.auth = _make_auth(auth)
        self._session.headers.update(headers or {})
        self._session.mount(self.url, HTTPAdapter(max_retries=_make_retry(retries)))
        careful = HTTPAdapter(max_retries=_make_careful_retry(retries))
        for path in (NEW_PREDICTIONS, EVENTS, HEALTH):
            self._session.mount(self._name(path), careful)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def send(
        self,
        method: str,
        path: str,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        is_forced: bool = False,
        data: bytes | None = None,
    ) -> requests.Response:
        """Send a request and give whatever was answered.

        Parameters
        ----------
        method : str
        path : str
            Below ``/runapp/``; from the root if it begins with a slash.
        json : object, optional
            The body.
        params : mapping, optional
            The address's query.
        is_forced : bool, optional
            Whether the same request would do its work again.
        data : bytes, optional
            The body, if it isn't JSON; it travels with its hash.

        Raises
        ------
        requests.RequestException
            If nothing was answered.
        """
        return self._send(method, path, json, params, is_forced, data).response

    def _send(
        self,
        method: str,
        path: str,
        json: Any,
        params: Mapping[str, Any] | None,
        is_forced: bool,
        data: bytes | None,
    ) -> "Sent":
        headers = {IDEMPOTENCY_HEADER: str(uuid.uuid4())} if is_forced else {}
        if data is not None:
            headers |= {"Content-Type": BYTES, DIGEST_HEADER: _write_digest(data)}
        options: dict[str, Any] = {
            "json": json,
            "data": data,
            "params": params,
            "headers": headers,
            "timeout": self._timeout,
            "allow_redirects": False,
        }
        left = 0 if path == NEW_PREDICTIONS else self._retries
        was_cut_off = False
        while True:
            try:
                response = self._session.request(method, self._name(path), **options)
            except ChunkedEncodingError:
                # An answer that broke off midway; urllib3 repeats what came to nothing earlier.
                if not left:
                    raise
                left -= 1
                was_cut_off = True
            else:
                return Sent(response, was_cut_off or _was_repeated(response))

    def call(
        self,
        method: str,
        path: str,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        is_forced: bool = False,
        data: bytes | None = None,
        accepted: int | None = None,
    ) -> Any:
        """Send a request and give the JSON of its answer.

        Parameters
        ----------
        method, path, json, params, is_forced, data
            As of `send`.
        accepted : int, optional
            A status that isn't taken as a refusal, though it says no.

        Raises
        ------
        UnreachableError
            If nothing was answered.
        RefusedError
            If the API said no; one class a status.
        AnswerError
            If what answered isn't the API.
        """
        try:
            sent = self._send(method, path, json, params, is_forced, data)
        except requests.RequestException as error:
            raise self._blame_silence(error) from error
        response = sent.response
        if response.status_code != accepted:
            self._check(response, sent.was_repeated)
        return _read_json(response) if response.content else None

    def download(self, path: str, file: IO[bytes]) -> None:
        """Write what is at a path into a file, piece by piece; errors as of `call`."""
        try:
            with self._session.get(
                self._name(path), timeout=self._timeout, allow_redirects=False, stream=True
            ) as response:
                self._check(response)
                for chunk in response.iter_content(CHUNK):
                    file.write(chunk)
        except requests.RequestException as error:
            raise self._blame_silence(error) from error

    @contextlib.contextmanager
    def open_lines(
        self, path: str, params: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Iterator[Iterator[str]]:
        """Open an endless answer, and give its lines as they come; errors as of `call`."""
        connect_timeout, _ = self._timeout
        try:
            with self._session.get(
                self._name(path),
                params=params,
                headers=headers,
                timeout=(connect_timeout, SILENT_STREAM),
                allow_redirects=False,
                stream=True,
            ) as response:
                self._check(response)
                response.encoding = "utf-8"
                yield response.iter_lines(decode_unicode=True)
        except requests.RequestException as error:
            raise self._blame_silence(error) from error

    def _blame_silence(self, error: requests.RequestException) -> UnreachableError:
        return UnreachableError(
            f"{self.url} gives no answer ({_find_cause(error)}); is it the right address, "
            "and does the API run?"
        )

    def _check(self, response: requests.Response, was_repeated: bool = False) -> None:
        if response.status_code >= 400:
            refusal = _read_refusal(response)
            if isinstance(refusal, RefusedError):
                refusal.was_repeated = was_repeated
            raise refusal
        if response.status_code >= 300:
            where = response.headers.get("Location", "another address")
            raise AnswerError(f"{self.url} redirects to {where}; use that address.")

    def _name(self, path: str) -> str:
        return f"{self.url.rstrip('/')}{path}" if path[:1] == "/" else f"{self.url}runapp/{path}"


@dataclass(frozen=True)
class Sent:
    """A request that was answered.

    Attributes
    ----------
    response : requests.Response
    was_repeated : bool
        Whether it was sent before in vain, as it seemed: it may have been carried out then.
    """

    response: requests.Response
    was_repeated: bool


def _was_repeated(response: requests.Response) -> bool:
    """Tell whether urllib3 sent a request anew after a try that reached a server."""
    rules = getattr(response.raw, "retries", None)
    return any(
        not isinstance(entry.error, NewConnectionError | ConnectTimeoutError)
        for entry in getattr(rules, "history", ())
    )


def _write_digest(data: bytes) -> str:
    """Write a body's hash as RFC 9530 says."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def _make_auth(auth: Auth) -> AuthBase:
    if isinstance(auth, str):
        return BearerAuth(auth)
    name, password = auth
    # As bytes, because requests would write text in Latin-1.
    return HTTPBasicAuth(name.encode(), password.encode())


def _make_retry(retries: int) -> Retry:
    return PatientRetry(
        retries,
        allowed_methods=None,
        status_forcelist=PASSING_STATUSES,
        backoff_factor=BACKOFF,
        backoff_max=LONGEST_PAUSE,
        retry_after_max=LONGEST_RETRY_AFTER,
        raise_on_status=False,
    )


def _make_careful_retry(retries: int) -> Retry:
    """Make rules for a call that must not be made twice: only a missing connection is repeated."""
    return Retry(
        retries,
        read=False,
        other=0,
        backoff_factor=BACKOFF,
        backoff_max=LONGEST_PAUSE,
        respect_retry_after_header=False,
    )


def _read_refusal(response: requests.Response) -> Exception:
    try:
        answer = response.json()
        error, errors = answer["error"], answer["errors"]
    except (ValueError, KeyError, TypeError):
        if response.status_code >= 500:
            return make_refusal(response.status_code, f"The API answers {response.status_code}.")
        return AnswerError(
            f"{response.url} answers {response.status_code} in a way that isn't datarun's; "
            "is it the right address?"
        )
    return make_refusal(response.status_code, error, errors)


def _read_json(response: requests.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise AnswerError(
            f"{response.url} doesn't answer in JSON; is it the address of a datarun?"
        ) from None


def _find_cause(error: BaseException) -> str:
    """Say in few words what lies under the layers of requests and urllib3."""
    reason: Any = error
    for _ in range(8):
        inner = getattr(reason, "reason", None) or next(
            (item for item in getattr(reason, "args", ()) if isinstance(item, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            break
        reason = inner
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return str(reason).rpartition(": ")[2] or type(reason).__name__
