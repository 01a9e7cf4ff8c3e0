import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarun_worker.channel import MAX_MESSAGE, Channel, ChannelError, Message

FILES = Path("/proc/self/fd")

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = Channel.pair()
    with one, other:
        yield one, other


@given(body=st.dictionaries(st.text(max_size=10), VALUES))
def test_a_message_arrives_as_it_was_sent(body: dict[str, object]) -> None:
    one, other = Channel.pair()
    with Channel(one) as sender, Channel(other) as receiver:
        sender.send(body)

        assert receiver.receive() == Message(body)


@given(data=st.binary(min_size=1, max_size=200))
def test_any_bytes_are_a_message_or_an_error(data: bytes) -> None:
    one, other = Channel.pair()
    with one, Channel(other) as receiver:
        one.send(data)
        try:
            message = receiver.receive()
        except ChannelError:
            return

    assert message is not None
    assert isinstance(message.body, dict)


@pytest.mark.parametrize(
    "data", [b"[" * 100_000, b'{"a":' * 20_000, b"1" * 100_000, b"[]", b"\xff", b'"x"']
)
def test_what_is_no_object_is_an_error(
    ends: tuple[socket.socket, socket.socket], data: bytes
) -> None:
    ends[0].send(data)

    with pytest.raises(ChannelError):
        Channel(ends[1]).receive()


def test_a_long_message_is_not_sent_and_not_taken(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    body = {"text": "x" * MAX_MESSAGE}
    with pytest.raises(ChannelError):
        Channel(ends[0]).send(body)
    ends[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MAX_MESSAGE)
    ends[0].send(json.dumps(body).encode())

    with pytest.raises(ChannelError):
        Channel(ends[1]).receive()


def test_open_files_come_along_only_if_they_are_wanted() -> None:
    for is_wanted in (True, False):
        one, other = Channel.pair()
        before = len(list(FILES.iterdir()))
        with Channel(one) as sender, Channel(other, takes_files=is_wanted) as receiver:
            sender.send({}, [0, 1])
            message = receiver.receive()

            assert message is not None
            assert len(message.descriptors) == (2 if is_wanted else 0)
            for descriptor in message.descriptors:
                os.close(descriptor)
        assert len(list(FILES.iterdir())) == before - 2


def test_the_end_of_the_other_side_is_no_message(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ends[0].close()

    assert Channel(ends[1]).receive() is None
