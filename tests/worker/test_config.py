from pathlib import Path

import pytest

from datarun_client.errors import SettingError
from datarun_worker.config import SETTINGS, load_settings, read_arithmetic
from datarun_worker.isolation import Isolation

NEEDED = {"DATARUN_URL": "http://127.0.0.1:8000/", "DATARUN_TOKEN": "secret"}


def test_the_defaults_are_read():
    settings = load_settings(NEEDED)

    assert settings.cache_size == 10 * 2**30
    assert settings.cache == Path.home() / ".cache/datarun"
    assert settings.preload == ()


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_setting_is_named(name):
    environ = {key: value for key, value in NEEDED.items() if key != name}

    with pytest.raises(SettingError, match=f"{name} is not set"):
        load_settings(environ)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATARUN_ISOLATION", "some"),
        ("DATARUN_PRELOAD", "numpy; os"),
        ("DATARUN_TIME_LIMIT", "0"),
        ("DATARUN_MEMORY_LIMIT", "much"),
        ("DATARUN_MEMORY_LIMIT", "high=1G"),
        ("DATARUN_MEMORY_LIMIT", "1G, =2G"),
    ],
)
def test_a_bad_value_is_told_with_its_name(name, value):
    with pytest.raises(SettingError, match=name):
        load_settings({**NEEDED, name: value})


def test_values_are_read():
    settings = load_settings({**NEEDED, "DATARUN_PRELOAD": "a, b.c", "DATARUN_ISOLATION": "none"})

    assert settings.preload == ("a", "b.c")
    assert settings.isolation is Isolation.NONE


def test_the_token_is_not_shown():
    assert "secret" not in repr(load_settings(NEEDED))


def test_every_setting_has_a_sentence():
    for setting in SETTINGS:
        assert setting.help.endswith(".")


def test_of_other_variables_only_those_of_arithmetic_are_read():
    environ = {"OPENBLAS_CORETYPE": "Haswell", "AWS_SECRET_ACCESS_KEY": "secret"}

    assert read_arithmetic(environ) == {"OPENBLAS_CORETYPE": "Haswell"}
