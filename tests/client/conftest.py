"""Clients over real HTTP, with the real API behind it."""

from collections.abc import Callable, Iterator

import pytest

from datarun_client import Client
from tests.conftest import Caller


def get_token(caller: Caller) -> str:
    """Give the token by which an account calls."""
    return caller.headers["Authorization"].removeprefix("Bearer ")


@pytest.fixture
def open_client(api_url) -> Iterator[Callable[..., Client]]:
    """Make clients of accounts."""
    opened = []

    def make(caller: Caller, url: str = api_url, **options) -> Client:
        client = Client(url, get_token(caller), **options)
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.close()


@pytest.fixture
def client(open_client, platform) -> Client:
    return open_client(platform)
