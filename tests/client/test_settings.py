import pytest

from datarun_client import settings
from datarun_client.errors import SettingError
from datarun_client.settings import Setting, read_settings

TABLE = (
    Setting("DATARUN_LIMIT", "2M", settings.parse_bytes, "Bytes."),
    Setting("DATARUN_WAIT", None, settings.parse_seconds, "Seconds."),
)


def test_a_setting_has_its_default_until_the_environment_says_otherwise():
    assert read_settings(TABLE, {}) == {"limit": 2 << 20, "wait": None}
    assert read_settings(TABLE, {"DATARUN_WAIT": "1.5"})["wait"] == 1.5
    assert read_settings(TABLE, {"DATARUN_LIMIT": ""})["limit"] == 2 << 20


def test_a_setting_that_cannot_be_read_is_named():
    with pytest.raises(SettingError, match=r"DATARUN_LIMIT='many'.*number of bytes"):
        read_settings(TABLE, {"DATARUN_LIMIT": "many"})


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("17", 17), ("64K", 65536), ("1g", 1 << 30)])
def test_bytes_have_units(text, value):
    assert settings.parse_bytes(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (settings.parse_bytes, "-1"),
        (settings.parse_bytes, "1T"),
        (settings.parse_bytes, "K"),
        (settings.parse_seconds, "0"),
        (settings.parse_seconds, "inf"),
        (settings.parse_seconds, "nan"),
        (settings.parse_count, "-1"),
    ],
)
def test_nonsense_is_refused(parse, text):
    with pytest.raises(ValueError):  # noqa: PT011  # the message is the caller's to add to
        parse(text)
