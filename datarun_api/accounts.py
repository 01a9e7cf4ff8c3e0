"""Who an account is to the API, and what its tokens may do of what it may do."""

from collections.abc import Mapping
from dataclasses import dataclass

from datarun_api.models import Token, User
from datarun_client.states import Role

INCLUDED: Mapping[Role, frozenset[Role]] = {
    Role.ADMIN: frozenset({Role.ADMIN, Role.PLATFORM, Role.VIEWER}),
    Role.PLATFORM: frozenset({Role.PLATFORM, Role.VIEWER}),
    Role.VIEWER: frozenset({Role.VIEWER}),
    Role.WORKER: frozenset({Role.WORKER}),
}
"""The roles that a token of an account of each role may have."""


@dataclass(frozen=True)
class Account:
    """Who asks.

    Attributes
    ----------
    id : int
    name : str
    role : Role
        The account's, or less if its token says so.
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


def make_account(user: User, token: Token | None = None) -> Account | None:
    """Say who asks with an account's password, or with one of its tokens.

    Returns
    -------
    Account or None
        None if the account's role has become one that has nothing in common with the token's.
    """
    role = narrow_role(user.role, token.role if token and token.role else user.role)
    if role is None:
        return None
    return Account(
        id=user.id,
        name=user.name,
        role=role,
        namespace=user.views_id if user.role is Role.VIEWER and user.views_id else user.id,
        runs_data_jobs=token is not None and token.runs_data_jobs,
    )


def narrow_role(account: Role, token: Role) -> Role | None:
    """Give a token its role, but never more than the account has by now."""
    if token in INCLUDED[account]:
        return token
    return account if account in INCLUDED[token] else None
