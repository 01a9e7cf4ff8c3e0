"""Passwords and tokens: how the database keeps them, and how memory does for a short while.

A password is kept as an Argon2 hash, which takes tens of milliseconds to verify, on purpose. A
token is 256 random bits, which nobody guesses, so its SHA-256 is enough. What was verified is
remembered in memory under a keyed hash that dies with the process: a request then costs neither a
key derivation nor a look into the database.
"""

import functools
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cachetools import TLRUCache
from sqlalchemy import func

from datarun_api.accounts import Account
from datarun_api.extensions import db
from datarun_api.models import Token, User
from datarun_client.states import Role

MAX_REMEMBERED = 10_000
TOKEN_BYTES = 32

_hasher = PasswordHasher()

_deriving = Lock()
"""Who derives a key: one thread at a time, as each takes 64 MiB and several cores."""


def hash_password(password: str) -> str:
    """Hash a password for the database."""
    return _hasher.hash(password)


def is_password(password_hash: str | None, password: str) -> bool:
    """Tell whether this is the password; None stands for an account that isn't there or has none.

    It takes the same time whatever the answer, so that the time doesn't tell which names exist.
    """
    nobody = _get_nobody_hash()
    try:
        with _deriving:
            return _hasher.verify(password_hash or nobody, password) and bool(password_hash)
    except (VerificationError, InvalidHashError):
        return False


@functools.cache
def _get_nobody_hash() -> str:
    """Give what is verified when there is no such account."""
    return _hasher.hash(secrets.token_hex())


def create_token(
    user: User,
    name: str,
    runs_data_jobs: bool = True,
    role: Role | None = None,
    lifetime: timedelta | None = None,
) -> str:
    """Make a Bearer token for an account.

    Parameters
    ----------
    user : User
    name : str
        What the token is for.
    runs_data_jobs : bool, optional
        Whether its worker may see held-out labels and raw files.
    role : Role, optional
        One that the account's role includes; the account's own if it isn't given.
    lifetime : timedelta, optional
        Until it expires, by the database's clock; for ever if it isn't given.

    Returns
    -------
    str
        The token; the database keeps only its hash.
    """
    token = f"datarun_{secrets.token_urlsafe(TOKEN_BYTES)}"
    db.session.add(
        Token(
            user=user,
            name=name,
            sha256=hash_token(token),
            role=role,
            runs_data_jobs=runs_data_jobs,
            expires_at=None if lifetime is None else func.now() + lifetime,
        )
    )
    return token


def hash_token(token: str) -> bytes:
    """Hash a token as the database keeps it."""
    return hashlib.sha256(token.encode()).digest()


@dataclass(frozen=True)
class _Remembered:
    account: Account
    seconds: float


class CredentialsCache:
    """Accounts by what they said to be known by, for a short while, in memory.

    Parameters
    ----------
    seconds : float
        How long it is believed.
    timer : callable, optional
        A clock in seconds.
    """

    def __init__(self, seconds: float, timer: Callable[[], float] = time.monotonic) -> None:
        self._accounts: TLRUCache[bytes, _Remembered] = TLRUCache(
            MAX_REMEMBERED, lambda _, remembered, now: now + remembered.seconds, timer
        )
        self._seconds = seconds
        self._key = secrets.token_bytes(32)
        self._lock = Lock()

    def get(self, *words: str) -> Account | None:
        """Find the account that these words belonged to a moment ago."""
        with self._lock:
            remembered = self._accounts.get(self._digest(words))
        return remembered.account if remembered else None

    def put(self, account: Account, *words: str, lifetime: float | None = None) -> None:
        """Remember that these words belong to the account, but not for longer than they do.

        Parameters
        ----------
        account : Account
        *words : str
            A name and a password, or a token.
        lifetime : float, optional
            Seconds until they expire.
        """
        seconds = self._seconds if lifetime is None else min(self._seconds, lifetime)
        with self._lock:
            self._accounts[self._digest(words)] = _Remembered(account, seconds)

    def _digest(self, words: tuple[str, ...]) -> bytes:
        message = "".join(f"{len(word)}:{word}" for word in words)
        return hmac.digest(self._key, message.encode(errors="surrogatepass"), hashlib.sha256)
