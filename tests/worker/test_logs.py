import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarun_worker.logs import LogBuffer, clean_text


@given(parts=st.lists(st.binary(max_size=50), max_size=20), limit=st.integers(2, 100))
def test_a_log_never_keeps_more_than_its_limit(parts: list[bytes], limit: int) -> None:
    log = LogBuffer(limit)
    for part in parts:
        log.write(part)

    assert len(log.read()) <= limit + len("\n[... 1000 bytes left out ...]\n")


@given(parts=st.lists(st.text("abc\n", max_size=20), max_size=20))
def test_a_short_log_is_kept_whole(parts: list[str]) -> None:
    log = LogBuffer(1000)
    for part in parts:
        log.write(part.encode())

    assert log.read() == "".join(parts)


def test_the_first_and_the_last_half_of_a_long_log_stay() -> None:
    log = LogBuffer(8)
    log.write(b"firs")
    log.write(b"middle")
    log.write(b"last")

    assert log.read() == "firs\n[... 6 bytes left out ...]\nlast"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("a\0b\x07c\x7f", "abc"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("\x1b", ""),
        ("10%\r50%\r100%\ndone", "100%\ndone"),
        ("windows\r\nlines\r\n", "windows\nlines\n"),
        ("good\u202egnp.exe", "goodgnp.exe"),
        ("größe ✓", "größe ✓"),
        ("half \ud83d", "half \ufffd"),
    ],
)
def test_what_plays_tricks_is_taken_out(text: str, clean: str) -> None:
    assert clean_text(text) == clean


@given(text=st.text())
def test_clean_text_has_no_control_characters(text: str) -> None:
    cleaned = clean_text(text)

    assert not any(ord(c) < 32 and c not in "\n\t" for c in cleaned)
    assert clean_text(cleaned) == cleaned
