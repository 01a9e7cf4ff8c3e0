"""The `Idempotency-Key` header: a POST that is done once, however often it is sent.

After draft-ietf-httpapi-idempotency-key-header. A client that got no answer sends the same
request with the same key again, and gets the answer of the first time.

**No half truth.** The answer is kept in the same transaction as what the request changed: the
view's commits are held back (`transactions`), its jobs are enqueued afterwards (`queues`). So a
crash leaves both or neither, and a request that is sent again after it is carried out as new.
Files that came with a request are stored before; what no row refers to is collected.

**In flight.** The body is received first, so that a client that sends slowly holds nothing but its
thread. Then the request holds an advisory lock on its key, for as long as its transaction lives
and no longer, whatever dies. Whoever doesn't get the lock is told to come back.

**What is kept.** Answers that say 2xx, for a day, up to ``DATARUN_MAX_KEPT_ANSWER`` bytes. A
refusal changed nothing, so its key is free again. An answer with ``Cache-Control: no-store``, which
shows a secret, is not kept either, only that it was given.

**The same request** has the same address and body; the boundary between a form's parts, which
clients make up anew each time, is left out.
"""

import hashlib
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flask import Response, current_app, request
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from datarun_api.body_spool import receive_body
from datarun_api.errors import BadInputError, ConflictError, TooLargeError
from datarun_api.extensions import db, get_queues, get_session
from datarun_api.models import IdempotencyKey

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"
"""Marks an answer that was given before."""

LIFE = timedelta(hours=24)
"""How long an answer is kept."""

RETRY_AFTER = 1.0
"""Seconds after which a request may be sent again that is still being carried out."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def answer_once(account_id: int, answer: Callable[[], Any]) -> Any:
    """Answer a request; if it has a key, only the first time that it comes.

    Parameters
    ----------
    account_id : int
        Whose keys they are.
    answer : callable
        The view, with its arguments.

    Raises
    ------
    BadInputError
        If the key can't be one.
    ConflictError
        If a request with this key is being carried out, or was another one.
    TooLargeError
        If the request is too large, or the answer is, to be kept.
    """
    key = request.headers.get(HEADER)
    if request.method != "POST" or key is None:
        return answer()
    _check_key(key)
    with (
        receive_body() as body_sha256,
        get_queues().holding_jobs(),
        get_session().holding_commits(),
    ):
        _lock(account_id, key)
        fingerprint = _make_fingerprint(body_sha256)
        kept = _find(account_id, key)
        if kept is not None:
            return _replay(kept, fingerprint)
        response = current_app.make_response(answer())
        if 200 <= response.status_code < 300:
            _keep(account_id, key, fingerprint, response)
        return response


def forget_keys() -> None:
    """Forget the answers that were kept long enough."""
    db.session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < func.now() - LIFE))
    db.session.commit()


def _check_key(key: str) -> None:
    if not _KEY.fullmatch(key):
        text = "A key has 1 to 255 printable ASCII characters, such as a UUID's."
        raise BadInputError(f"The {HEADER} header can't be used.", {HEADER: [text]})


def _lock(account_id: int, key: str) -> None:
    """Hold the key until the transaction ends.

    Raises
    ------
    ConflictError
        If another request holds it.
    """
    digest = hashlib.sha256(f"{account_id}:{key}".encode()).digest()
    number = int.from_bytes(digest[:8], signed=True)
    if not db.session.scalar(select(func.pg_try_advisory_xact_lock(number))):
        text = "A request with this key is being carried out; send it again in a moment."
        raise ConflictError(text, {HEADER: [text]}, retry_after=RETRY_AFTER)


def _find(account_id: int, key: str) -> IdempotencyKey | None:
    kept: IdempotencyKey | None = db.session.scalar(
        select(IdempotencyKey).where(
            IdempotencyKey.account_id == account_id,
            IdempotencyKey.key == key,
            IdempotencyKey.created_at >= func.now() - LIFE,
        )
    )
    return kept


def _make_fingerprint(body_sha256: bytes) -> bytes:
    """Hash what makes a request the same."""
    address = f"{request.path.rstrip('/')}?{request.query_string.decode(errors='replace')}"
    return hashlib.sha256(address.encode() + b"\n" + body_sha256).digest()


def _replay(kept: IdempotencyKey, fingerprint: bytes) -> Response:
    """Give a kept answer again.

    Raises
    ------
    ConflictError
        If the request is another one, or the answer was a secret.
    """
    if kept.fingerprint != fingerprint:
        text = "Another request was sent with this key; take a new key for a new request."
        raise ConflictError(text, {HEADER: [text]})
    if kept.body is None:
        text = "This was done already; its answer showed a secret, once, and isn't kept."
        raise ConflictError(text, {HEADER: [text]})
    response = Response(kept.body, kept.status, mimetype=kept.mimetype)
    response.headers[REPLAYED_HEADER] = "true"
    return response


def _keep(account_id: int, key: str, fingerprint: bytes, response: Response) -> None:
    """Keep an answer beside what the request changed.

    Raises
    ------
    TooLargeError
        If there is too much of it; what the request changed is taken back then.
    """
    values = {
        "account_id": account_id,
        "key": key,
        "fingerprint": fingerprint,
        "status": response.status_code,
        "mimetype": response.mimetype,
        "body": None if response.cache_control.no_store else _read(response),
        "created_at": func.now(),
    }
    statement = insert(IdempotencyKey).values(**values)
    primary_key = [IdempotencyKey.account_id, IdempotencyKey.key]
    db.session.execute(statement.on_conflict_do_update(index_elements=primary_key, set_=values))


def _read(response: Response) -> bytes:
    limit = current_app.config["MAX_KEPT_ANSWER"]
    body = bytearray()
    for chunk in response.iter_encoded():
        body += chunk
        if len(body) > limit:
            text = (
                f"The answer has more than {limit} bytes, too many to be kept under a key; "
                "nothing was changed. Ask for less at once, or send no key."
            )
            raise TooLargeError(text, {HEADER: [text]})
    response.set_data(bytes(body))
    return bytes(body)
