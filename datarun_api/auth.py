"""Who asks, and what that account may do.

People and platforms send HTTP Basic, compute machines a Bearer token. A password is kept as an
Argon2 hash, which takes tens of milliseconds to verify, on purpose; so a verified password is
remembered in memory for a short while, under a keyed hash that dies with the process. A changed
password or role is therefore believed within ``DATARUN_PASSWORD_CACHE`` seconds.
"""

import functools
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar, cast

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cachetools import TTLCache
from flask import Flask, Response, current_app, g
from flask_httpauth import HTTPBasicAuth, HTTPTokenAuth, MultiAuth
from sqlalchemy import select

from datarun_api.errors import make_error_response
from datarun_api.extensions import db
from datarun_api.models import Token, User
from datarun_client.states import Role

REALM = "datarun"
MAX_REMEMBERED = 10_000

View = TypeVar("View", bound=Callable[..., Any])

_hasher = PasswordHasher()

basic_auth = HTTPBasicAuth(realm=REALM)
token_auth = HTTPTokenAuth(scheme="Bearer", realm=REALM)
_any_auth = MultiAuth(basic_auth, token_auth)


@dataclass(frozen=True)
class Account:
    """Who asks.

    Attributes
    ----------
    id : int
    name : str
    role : Role
    namespace : int
        The account whose data sets, submissions and folds it sees.
    runs_data_jobs : bool
        Whether it is a compute machine that may see held-out labels.
    """

    id: int
    name: str
    role: Role
    namespace: int
    runs_data_jobs: bool = False


class PasswordCache:
    """Accounts by name and password, for a short while, in memory.

    Parameters
    ----------
    seconds : float
        How long a verified password is believed.
    """

    def __init__(self, seconds: float) -> None:
        self._accounts: TTLCache[bytes, Account] = TTLCache(MAX_REMEMBERED, seconds)
        self._key = secrets.token_bytes(32)
        self._lock = Lock()

    def get(self, name: str, password: str) -> Account | None:
        """Find the account that this name and password belonged to a moment ago."""
        with self._lock:
            return self._accounts.get(self._digest(name, password))

    def put(self, name: str, password: str, account: Account) -> None:
        """Remember that this name and password belong to the account."""
        with self._lock:
            self._accounts[self._digest(name, password)] = account

    def _digest(self, name: str, password: str) -> bytes:
        message = f"{len(name)}:{name}:{password}".encode(errors="surrogatepass")
        return hmac.digest(self._key, message, hashlib.sha256)


def init_auth(app: Flask) -> None:
    """Give the application its memory of verified passwords."""
    app.extensions["datarun_passwords"] = PasswordCache(app.config["PASSWORD_CACHE"])


def hash_password(password: str) -> str:
    """Hash a password for the database."""
    return _hasher.hash(password)


def create_token(user: User, name: str, runs_data_jobs: bool = True) -> str:
    """Make a Bearer token for an account.

    Returns
    -------
    str
        The token; the database keeps only its hash.
    """
    token = f"datarun_{secrets.token_urlsafe(32)}"
    db.session.add(
        Token(user=user, name=name, sha256=_hash_token(token), runs_data_jobs=runs_data_jobs)
    )
    return token


def get_account() -> Account:
    """Say who asks; only in a view that demands an account."""
    account: Account = g.flask_httpauth_user
    return account


def allow(*roles: Role) -> Callable[[View], View]:
    """Demand an account of one of these roles, by password or token; `/openapi.json` says so."""

    def decorate(view: View) -> View:
        guarded: Any = _any_auth.login_required(role=list(roles))(view)
        # flask-smorest carries what decorators say of a view in this attribute.
        guarded._apidoc = {**getattr(view, "_apidoc", {}), "roles": roles}
        return cast(View, guarded)

    return decorate


@basic_auth.verify_password
def verify_password(name: str, password: str) -> Account | None:
    """Find the account of HTTP Basic credentials."""
    if not name or "\x00" in name:
        return None
    passwords: PasswordCache = current_app.extensions["datarun_passwords"]
    account = passwords.get(name, password)
    if account:
        return account
    user = db.session.scalar(select(User).where(User.name == name))
    if not _is_password(user.password_hash if user else None, password) or user is None:
        return None
    account = _make_account(user)
    passwords.put(name, password, account)
    return account


@token_auth.verify_token
def verify_token(token: str) -> Account | None:
    """Find the account of a Bearer token."""
    found = db.session.scalar(select(Token).where(Token.sha256 == _hash_token(token)))
    return _make_account(found.user, found.runs_data_jobs) if found else None


@basic_auth.get_user_roles
@token_auth.get_user_roles
def get_user_roles(account: Account) -> Role:
    """Say what role an account has."""
    return account.role


def refuse(status: int) -> Response:
    """Write the refusal of a stranger (401) or of an account without the role (403)."""
    if status == 403:
        return make_error_response(403, "This account's role doesn't allow that.")
    return make_error_response(401, "Name and password, or a token, of an account are needed.")


# One after the other, not as decorators on top of each other: each adds its own challenge.
basic_auth.error_handler(refuse)
token_auth.error_handler(refuse)


@functools.cache
def _get_nobody_hash() -> str:
    """Give what is verified when there is no such account.

    It takes the same time, so that the time of the answer doesn't tell which names exist.
    """
    return _hasher.hash(secrets.token_hex())


def _is_password(password_hash: str | None, password: str) -> bool:
    try:
        return _hasher.verify(password_hash or _get_nobody_hash(), password) and bool(password_hash)
    except (VerificationError, InvalidHashError):
        return False


def _make_account(user: User, runs_data_jobs: bool = False) -> Account:
    return Account(
        id=user.id,
        name=user.name,
        role=user.role,
        namespace=user.views_id if user.role is Role.VIEWER and user.views_id else user.id,
        runs_data_jobs=runs_data_jobs,
    )


def _hash_token(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
