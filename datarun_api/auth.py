"""Who asks: HTTP Basic from people and platforms, a Bearer token from programs.

A verified password or token is believed for ``DATARUN_PASSWORD_CACHE`` seconds (`credentials`); so
long does it take until a changed password or role, or a revoked token, is known to every process.
An expired token isn't believed for a moment. Failed logins are slowed (`logins`); what is
remembered isn't, so that nobody is shut out by another's guesses while at work.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from flask import Flask, Response, current_app, g
from flask_httpauth import HTTPBasicAuth, HTTPTokenAuth, MultiAuth
from sqlalchemy import Float, func, or_, select, update

from datarun_api.accounts import Account, make_account
from datarun_api.credentials import CredentialsCache, hash_token, is_password
from datarun_api.errors import make_error_response
from datarun_api.extensions import db, release_connection
from datarun_api.idempotency import answer_once
from datarun_api.logins import get_failed_logins
from datarun_api.models import USE_NOTED_EVERY, Token, User
from datarun_client.states import Role

REALM = "datarun"

View = TypeVar("View", bound=Callable[..., Any])

basic_auth = HTTPBasicAuth(realm=REALM)
token_auth = HTTPTokenAuth(scheme="Bearer", realm=REALM)
_any_auth = MultiAuth(basic_auth, token_auth)


def init_auth(app: Flask) -> None:
    """Give the application its memory of verified passwords and tokens."""
    app.extensions["datarun_credentials"] = CredentialsCache(app.config["PASSWORD_CACHE"])


def get_account() -> Account:
    """Say who asks; only in a view that demands an account."""
    account: Account = g.flask_httpauth_user
    return account


def allow(*roles: Role) -> Callable[[View], View]:
    """Demand an account of one of these roles, by password or token; `/openapi.json` says so.

    What an account posts with an `Idempotency-Key` is carried out once; workers, whose writes go by
    attempt, have no such keys.
    """

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def answer(*args: Any, **kwargs: Any) -> Any:
            return answer_once(get_account().id, functools.partial(view, *args, **kwargs))

        demand = _any_auth.login_required(role=list(roles))
        guarded: Any = demand(view if Role.WORKER in roles else answer)
        # flask-smorest carries what decorators say of a view in this attribute.
        guarded._apidoc = {**getattr(view, "_apidoc", {}), "roles": roles}
        return cast(View, guarded)

    return decorate


@basic_auth.verify_password
def verify_password(name: str, password: str) -> Account | None:
    """Find the account of HTTP Basic credentials.

    Raises
    ------
    TooManyRequestsError
        If too many logins failed lately.
    """
    if not name or "\x00" in name:
        return None
    credentials = _get_credentials()
    account = credentials.get(name, password)
    if account:
        return account
    failed_logins = get_failed_logins()
    failed_logins.check(name)
    user = db.session.scalar(select(User).where(User.name == name))
    if not is_password(user.password_hash if user else None, password) or user is None:
        failed_logins.note(name)
        return None
    account = make_account(user)
    if account:
        credentials.put(account, name, password)
    # The body may take its time, and needs no connection.
    release_connection()
    return account


@token_auth.verify_token
def verify_token(token: str) -> Account | None:
    """Find the account of a Bearer token, and note that the token was used."""
    credentials = _get_credentials()
    account = credentials.get(token)
    if account:
        return account
    found = find_token(token)
    if found is None:
        return None
    account = make_account(found.token.user, found.token)
    if account:
        note_use(found.token)
        credentials.put(account, token, lifetime=found.lifetime)
    release_connection()
    return account


@dataclass(frozen=True)
class FoundToken:
    """A token that is good.

    Attributes
    ----------
    token : Token
    lifetime : float or None
        Seconds until it expires, by the database's clock; None if it never does.
    """

    token: Token
    lifetime: float | None


def find_token(text: str) -> FoundToken | None:
    """Find a token that hasn't expired."""
    lifetime = func.extract("epoch", Token.expires_at - func.now()).cast(Float)
    query = select(Token, lifetime).where(
        Token.sha256 == hash_token(text),
        or_(Token.expires_at.is_(None), Token.expires_at > func.now()),
    )
    row = db.session.execute(query).one_or_none()
    return FoundToken(*row) if row else None


def note_use(token: Token) -> None:
    """Note when a token was used, about once a minute however often it is."""
    noted = update(Token).where(
        Token.id == token.id,
        or_(Token.last_used_at.is_(None), Token.last_used_at < func.now() - USE_NOTED_EVERY),
    )
    db.session.execute(noted.values(last_used_at=func.now()))
    db.session.commit()


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


def _get_credentials() -> CredentialsCache:
    credentials: CredentialsCache = current_app.extensions["datarun_credentials"]
    return credentials
