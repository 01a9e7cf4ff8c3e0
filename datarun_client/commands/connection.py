"""The client that a command uses."""

import click

from datarun_client.account import find_account
from datarun_client.client import Client

RETRIES = 3
"""How often a call is made again: somebody sits there and waits."""


def open_client() -> Client:
    """Open a client of the account in use, for as long as the command runs.

    Raises
    ------
    AccountError
        If there is none.
    """
    account = find_account()
    client = Client(account.url, account.auth, retries=RETRIES)
    return click.get_current_context().with_resource(client)
