"""One JSON message at a time, with open files, over a Unix socket that keeps message bounds.

The worker speaks to the zygote and to each sandbox this way. What comes from a sandbox is data of
a stranger: a message is bounded, must be a JSON object, and its open files are dropped.
"""

import array
import contextlib
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from datarun_client.errors import DatarunError

MAX_MESSAGE = 128 * 1024
"""Bytes of one message; below the kernel's default bound of a Unix datagram."""

MAX_DESCRIPTORS = 64

_ROOM = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
# As enumerations they would take longer to combine than a message takes to come.
_CLOSE_ON_EXEC, _CUT_OFF = int(socket.MSG_CMSG_CLOEXEC), int(socket.MSG_TRUNC)


class ChannelError(DatarunError):
    """The other side sent something that is no message."""


@dataclass(frozen=True)
class Message:
    """What one `receive` took: a JSON object and the files that came with it."""

    body: dict[str, Any]
    descriptors: tuple[int, ...] = field(default=())


class Channel:
    """One end of a conversation.

    Parameters
    ----------
    end : socket.socket
        Of the kind SOCK_SEQPACKET; the channel closes it.
    takes_files : bool
        Whether open files that come with a message are kept. Never from a sandbox.
    """

    def __init__(self, end: socket.socket, takes_files: bool = False) -> None:
        self._end = end
        self._takes_files = takes_files

    @classmethod
    def pair(cls) -> tuple[socket.socket, socket.socket]:
        """Make both ends of a new conversation."""
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def fileno(self) -> int:
        """Give the descriptor to wait on."""
        return self._end.fileno()

    def send(self, body: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send one message.

        Raises
        ------
        ChannelError
            The message is longer than `MAX_MESSAGE`.
        OSError
            The other side is gone.
        """
        data = json.dumps(body).encode()
        if len(data) > MAX_MESSAGE:
            raise ChannelError(f"a message of {len(data)} bytes is over {MAX_MESSAGE}")
        rights = []
        if descriptors:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        self._end.sendmsg([data], rights, socket.MSG_NOSIGNAL)

    def receive(self) -> Message | None:
        """Wait for one message; None when the other side is gone.

        Raises
        ------
        ChannelError
            What came is no JSON object, or is longer than `MAX_MESSAGE`.
        """
        # Without room for them the kernel closes the files that came along.
        room = _ROOM if self._takes_files else 0
        try:
            data, ancillary, flags, _ = self._end.recvmsg(MAX_MESSAGE, room, _CLOSE_ON_EXEC)
        except ConnectionError:
            return None
        descriptors = tuple(_read_descriptors(ancillary))
        try:
            if not data:
                return None
            if flags & _CUT_OFF:
                raise ChannelError(f"a message is longer than {MAX_MESSAGE} bytes")
            return Message(_parse(data), descriptors)
        except ChannelError:
            close_files(descriptors)
            raise

    def close(self) -> None:
        """End the conversation."""
        self._end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _parse(data: bytes) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ChannelError("a message is no JSON") from error
    if not isinstance(body, dict):
        raise ChannelError("a message is no JSON object")
    return body


def _read_descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    numbers = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            whole = len(data) - len(data) % numbers.itemsize
            numbers.frombytes(data[:whole])
    return list(numbers)


def close_files(descriptors: Sequence[int]) -> None:
    """Close each of these; one that is closed already is no error."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
