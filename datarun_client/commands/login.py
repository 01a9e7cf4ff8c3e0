"""`datarun login` and `datarun logout`."""

import os

import click

from datarun_client.account import SETTINGS, Account, forget_account, store_account
from datarun_client.client import Client
from datarun_client.commands.connection import RETRIES
from datarun_client.settings import read_settings


@click.command()
@click.argument("url")
@click.option("--username", "-u", help="The account's name; asked for if it isn't given.")
@click.option("--token", "asks_for_token", is_flag=True, help="Ask for a token instead.")
def login(url: str, username: str | None, asks_for_token: bool) -> None:
    """Store an account, after trying it at the API's address URL.

    The password or token is asked for, or taken from DATARUN_PASSWORD or DATARUN_TOKEN. It is kept
    in a file that only you may read.
    """
    values = read_settings(SETTINGS, os.environ)
    if asks_for_token or (values["token"] and not username):
        token = values["token"] or click.prompt("Token", hide_input=True)
        account = Account(url, token=token)
    else:
        username = username or values["username"] or click.prompt("Name")
        password = values["password"] or click.prompt("Password", hide_input=True)
        account = Account(url, username, password)
    with Client(account.url, account.auth, retries=RETRIES) as client:
        n_data_sets = len(client.list_raw_data())
    path = store_account(account)
    click.echo(f"Logged in at {client.url}, which has {n_data_sets} data sets of yours.")
    click.echo(f"The account is stored in {path}")


@click.command()
def logout() -> None:
    """Forget the stored account."""
    click.echo("Logged out." if forget_account() else "Nobody was logged in.")
