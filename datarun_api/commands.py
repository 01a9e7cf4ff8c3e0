"""The operator's commands: ``datarun user add NAME`` and the like.

They are Flask's too: ``flask --app datarun_api user add NAME`` is the same command. `datarun` finds
the application by itself, with the environment's settings or, by ``--home``, with those of a
`datarun up` that runs on this machine.
"""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

import click
from flask import Flask, current_app
from flask.cli import AppGroup, ScriptInfo, with_appcontext
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError

from datarun_api.accounts import INCLUDED
from datarun_api.credentials import create_token, hash_password
from datarun_api.deliveries import delivering
from datarun_api.extensions import db
from datarun_api.home import load_servers
from datarun_api.models import Token, User
from datarun_api.reconciler import reconcile_forever
from datarun_client.errors import DatarunError
from datarun_client.states import Role

password_option = click.password_option(
    envvar="DATARUN_PASSWORD", help="Prompted for if not in the environment."
)


def register(app: Flask) -> None:
    """Give the application its commands."""
    app.cli.add_command(user_group)
    app.cli.add_command(token_group)
    app.cli.add_command(run_reconciler)


def find_app(context: click.Context, option: click.Parameter, home: Path | None) -> None:
    """Let a command find the application, if `flask` didn't bring it or another one is meant."""
    if context.find_object(ScriptInfo) is None or home is not None:
        context.obj = ScriptInfo(create_app=lambda: make_app(home))


def make_app(home: Path | None) -> Flask:
    """Make the application for a command.

    Raises
    ------
    ClickException
        If a setting is missing or nothing runs in that home.
    """
    from datarun_api.app import create_app

    try:
        return create_app(load_servers(home) if home else None)
    except DatarunError as error:
        raise click.ClickException(str(error)) from None


HOME = click.Option(
    ["--home"],
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of the `datarun up` whose accounts these are.",
    callback=find_app,
    expose_value=False,
)


class HomeGroup(AppGroup):
    """A group that takes ``--home`` before and after the name of its command."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command, with the option."""
        cmd.params.append(HOME)
        super().add_command(cmd, name)


@click.group("user", cls=HomeGroup, params=[HOME])
def user_group() -> None:
    """Accounts."""


@click.group("token", cls=HomeGroup, params=[HOME])
def token_group() -> None:
    """Bearer tokens, for programs."""


@user_group.command("add")
@click.argument("name")
@click.option(
    "--role", type=click.Choice([*map(str, Role)]), default=Role.PLATFORM.value, show_default=True
)
@click.option("--views", help="For a viewer: the account whose data it reads.")
@click.option(
    "--password",
    envvar="DATARUN_PASSWORD",
    help="Prompted for if not in the environment; a worker has a token instead.",
)
def add_user(name: str, role: str, views: str | None, password: str | None) -> None:
    """Add an account."""
    if (Role(role) is Role.VIEWER) != (views is not None):
        raise click.UsageError("a viewer, and only a viewer, needs --views ACCOUNT")
    if password is None and Role(role) is not Role.WORKER:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    hashed = None if password is None else hash_password(password)
    user = User(name=name, role=Role(role), password_hash=hashed)
    if views is not None:
        user.views_id = find_user(views).id
    db.session.add(user)
    try:
        db.session.commit()
    except IntegrityError:
        raise click.ClickException(f"there is an account {name!r} already") from None
    click.echo(f"added {role} {name}")
    if user.role is Role.WORKER:
        click.echo(f"Next: datarun token add {name}")


@user_group.command("list")
def list_users() -> None:
    """List all accounts."""
    users = db.session.scalars(select(User).order_by(User.id))
    echo_table(
        ("name", "role", "since"), [(user.name, user.role, user.created_at) for user in users]
    )


@user_group.command("password")
@click.argument("name")
@password_option
def change_password(name: str, password: str) -> None:
    """Change an account's password; the old one works for DATARUN_PASSWORD_CACHE seconds more."""
    find_user(name).password_hash = hash_password(password)
    db.session.commit()
    click.echo(f"changed the password of {name}")


@token_group.command("add")
@click.argument("name")
@click.option("--label", default="worker", show_default=True, help="What the token is for.")
@click.option(
    "--role",
    type=click.Choice([*map(str, Role)]),
    help="What it may do, if that is less than the account's role.",
)
@click.option(
    "--days",
    type=click.FloatRange(0, min_open=True),
    help="Days until it expires; never if they aren't given.",
)
@click.option(
    "--data-jobs/--no-data-jobs",
    default=True,
    help="Whether its worker may see held-out labels and raw files.",
)
def add_token(name: str, label: str, role: str | None, days: float | None, data_jobs: bool) -> None:
    """Add a token to the account NAME, and print it: it can't be shown again."""
    user = find_user(name)
    if role is not None and Role(role) not in INCLUDED[user.role]:
        raise click.ClickException(f"a token of a {user.role} can't be {role}")
    token = create_token(
        user,
        label,
        data_jobs,
        role=Role(role) if role else None,
        lifetime=timedelta(days=days) if days else None,
    )
    db.session.commit()
    click.echo(token)


@token_group.command("list")
@click.argument("name", required=False)
def list_tokens(name: str | None) -> None:
    """List the tokens of the account NAME, or of all accounts; a token itself isn't kept."""
    query = select(Token, (Token.expires_at <= func.now()).label("expired")).order_by(Token.id)
    if name is not None:
        query = query.where(Token.user == find_user(name))
    echo_table(
        ("number", "account", "label", "role", "expires", "last used"),
        [
            (
                token.id,
                token.user.name,
                token.name,
                token.role or token.user.role,
                "expired" if expired else token.expires_at or "never",
                token.last_used_at or "never",
            )
            for token, expired in db.session.execute(query)
        ],
    )


@token_group.command("revoke")
@click.argument("number", type=int)
def revoke_token(number: int) -> None:
    """Revoke the token of that NUMBER; it works for DATARUN_PASSWORD_CACHE seconds more."""
    revoked = db.session.execute(delete(Token).where(Token.id == number).returning(Token.name))
    label = revoked.scalar_one_or_none()
    if label is None:
        raise click.ClickException(f"there is no token {number}; `token list` shows them")
    db.session.commit()
    click.echo(f"revoked token {number} ({label})")


@click.command("reconcile")
@with_appcontext
def run_reconciler() -> None:
    """Find folds that would wait for ever, and enqueue them again; runs until it is stopped.

    Webhooks are called from here, too.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with delivering(current_app._get_current_object()):  # type: ignore[attr-defined]
        reconcile_forever()


def find_user(name: str) -> User:
    """Find an account.

    Raises
    ------
    ClickException
        If there is none.
    """
    user = db.session.scalar(select(User).where(User.name == name))
    if user is None:
        raise click.ClickException(f"there is no account {name!r}; add it with `user add`")
    return user


def echo_table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    """Print rows in columns, times to the second."""
    lines = [head, *([write_cell(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def write_cell(cell: object) -> str:
    """Write a cell of a table."""
    return cell.isoformat(" ", "seconds") if isinstance(cell, datetime) else str(cell)
