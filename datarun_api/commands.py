"""The operator's commands: ``flask --app datarun_api user add NAME`` and the like."""

import logging

import click
from flask import Flask
from flask.cli import AppGroup, with_appcontext
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from datarun_api.auth import create_token, hash_password
from datarun_api.extensions import db
from datarun_api.models import User
from datarun_api.reconciler import reconcile_forever
from datarun_client.states import Role

user_group = AppGroup("user", help="Accounts.")
token_group = AppGroup("token", help="Bearer tokens.")


def register(app: Flask) -> None:
    """Give the application its commands."""
    app.cli.add_command(user_group)
    app.cli.add_command(token_group)
    app.cli.add_command(run_reconciler)


@user_group.command("add")
@click.argument("name")
@click.option(
    "--role", type=click.Choice([*map(str, Role)]), default=Role.PLATFORM.value, show_default=True
)
@click.option("--views", help="For a viewer: the account whose data it reads.")
@click.password_option(envvar="DATARUN_PASSWORD", help="Prompted for if not in the environment.")
def add_user(name: str, role: str, views: str | None, password: str) -> None:
    """Add an account."""
    if (Role(role) is Role.VIEWER) != (views is not None):
        raise click.UsageError("a viewer, and only a viewer, needs --views ACCOUNT")
    user = User(name=name, role=Role(role), password_hash=hash_password(password))
    if views is not None:
        user.views_id = find_user(views).id
    db.session.add(user)
    try:
        db.session.commit()
    except IntegrityError:
        raise click.ClickException(f"there is an account {name!r} already") from None
    click.echo(f"added {role} {name}")


@token_group.command("add")
@click.argument("name")
@click.option("--label", default="worker", show_default=True, help="What the token is for.")
@click.option(
    "--data-jobs/--no-data-jobs",
    default=True,
    help="Whether its worker may see held-out labels and raw files.",
)
def add_token(name: str, label: str, data_jobs: bool) -> None:
    """Add a token to an account, and print it: it can't be shown again."""
    token = create_token(find_user(name), label, data_jobs)
    db.session.commit()
    click.echo(token)


@click.command("reconcile")
@with_appcontext
def run_reconciler() -> None:
    """Find folds that would wait for ever, and enqueue them again; runs until it is stopped."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
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
