from concurrent.futures import ThreadPoolExecutor

import pytest

from datarun_api import credentials
from datarun_api.accounts import Account
from datarun_api.credentials import CredentialsCache, is_password
from datarun_client.states import Role
from tests.conftest import PASSWORD

ACCOUNT = Account(id=1, name="me", role=Role.PLATFORM, namespace=1)


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def cache(clock):
    return CredentialsCache(60, clock)


def test_what_was_verified_is_believed_for_a_while(cache, clock):
    cache.put(ACCOUNT, "me", "secret")
    clock.seconds = 59
    assert cache.get("me", "secret") == ACCOUNT

    clock.seconds = 61
    assert cache.get("me", "secret") is None


def test_an_expired_token_is_not_believed_for_a_moment(cache, clock):
    cache.put(ACCOUNT, "datarun_abc", lifetime=5.0)

    clock.seconds = 5.1

    assert cache.get("datarun_abc") is None


def test_a_long_life_is_not_believed_for_longer_than_any(cache, clock):
    cache.put(ACCOUNT, "datarun_abc", lifetime=1e6)

    clock.seconds = 61

    assert cache.get("datarun_abc") is None


@pytest.mark.parametrize("words", [("me", "wrong"), ("mesecret", ""), ("m", "esecret"), ("me",)])
def test_other_words_are_not_known(cache, words):
    cache.put(ACCOUNT, "me", "secret")

    assert cache.get(*words) is None


def test_memory_holds_no_secret(cache):
    cache.put(ACCOUNT, "me", "a secret password")

    assert "a secret password" not in repr(vars(cache))


def test_an_unknown_account_costs_a_derivation_too(password_hash, monkeypatch):
    verified = []
    monkeypatch.setattr(credentials, "_hasher", Hasher(credentials._hasher, verified))

    assert is_password(password_hash, PASSWORD)
    assert not is_password(password_hash, "wrong")
    assert not is_password(None, PASSWORD)

    assert len(verified) == 3


class Hasher:
    """Argon2, and a note of each time it was asked."""

    def __init__(self, hasher, verified):
        self._hasher = hasher
        self._verified = verified

    def hash(self, password):
        return self._hasher.hash(password)

    def verify(self, password_hash, password):
        self._verified.append(password_hash)
        return self._hasher.verify(password_hash, password)


def test_keys_are_derived_one_after_the_other(password_hash):
    """Each takes a lot of memory, and wrong passwords cost as much as right ones."""
    with ThreadPoolExecutor() as threads:
        with credentials._deriving:
            answers = [threads.submit(is_password, password_hash, PASSWORD) for _ in range(2)]
            assert not any(answer.done() for answer in answers)

        assert all(answer.result(60) for answer in answers)
