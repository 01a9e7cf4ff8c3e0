"""Make a database ready for `datarun up`: tables, the first account, a token for the workers.

Run as a program, ``python -m datarun_api.provision TOKEN_FILE``, once before the API starts: it is
the only one that migrates, so that no two processes make the same table. Running it again changes
nothing that is there.
"""

import os
import secrets
import sys
from pathlib import Path

import click
import flask_migrate
from sqlalchemy import select

from datarun_api import create_app
from datarun_api.auth import find_token
from datarun_api.credentials import create_token, hash_password
from datarun_api.extensions import db
from datarun_api.home import write_private
from datarun_api.models import User
from datarun_client.states import Role

FIRST_ACCOUNT = "admin"
"""The first account's name if nobody chose one."""

WORKER_ACCOUNT = "local-worker"
"""The account of the workers that `datarun up` starts."""


def provision(token_file: Path, username: str | None, password: str | None) -> None:
    """Make the tables, and the accounts that are missing.

    Parameters
    ----------
    token_file : Path
        Where the workers' token is, or will be.
    username, password : str or None
        The first account as the operator wants it.
    """
    flask_migrate.upgrade()
    add_first_account(username, password)
    add_worker_token(token_file)


def add_first_account(username: str | None, password: str | None) -> None:
    """Add the first account, unless it is there; a password that nobody chose is printed, once."""
    if find_user(username or FIRST_ACCOUNT) or (not username and find_admin()):
        return
    name = username or FIRST_ACCOUNT
    if password is None:
        password = secrets.token_urlsafe(12)
        # Before the commit: a password that is shown twice is better than one never shown.
        click.echo(f"your account: {name}   password: {password}   (shown only now)")
    else:
        click.echo(f"your account: {name}, with the password of DATARUN_PASSWORD")
    db.session.add(User(name=name, role=Role.ADMIN, password_hash=hash_password(password)))
    db.session.commit()


def add_worker_token(token_file: Path) -> None:
    """Add the workers' account and a token for it, unless the file has one that is good here."""
    if token_file.exists() and find_token(token_file.read_text()):
        return
    user = find_user(WORKER_ACCOUNT)
    if user is None:
        user = User(name=WORKER_ACCOUNT, role=Role.WORKER)  # no password: it has a token
        db.session.add(user)
    token = create_token(user, "datarun up")
    write_private(token_file, token)
    db.session.commit()


def find_user(name: str) -> User | None:
    """Find an account by its name."""
    return db.session.scalar(select(User).where(User.name == name))


def find_admin() -> User | None:
    """Find any account of an administrator."""
    return db.session.scalar(select(User).where(User.role == Role.ADMIN).limit(1))


if __name__ == "__main__":
    with create_app().app_context():
        provision(
            Path(sys.argv[1]),
            os.environ.get("DATARUN_USERNAME") or None,
            os.environ.get("DATARUN_PASSWORD") or None,
        )
