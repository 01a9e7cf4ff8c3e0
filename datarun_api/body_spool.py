"""A request's body that is received as a whole before anything is done for it.

It goes to a file without a name in the storage's folder, small ones stay in memory; then the view
reads it from there. So whatever is held while the view works isn't held for as long as a client
takes to send.
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator

from flask import current_app, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wsgi import get_input_stream

from datarun_api.bodies import BYTES, FORM, make_too_large
from datarun_api.extensions import get_storage

_CHUNK = 1 << 20
"""Bytes that are received at a time, and that may stay in memory."""


@contextlib.contextmanager
def receive_body() -> Iterator[bytes]:
    """Receive the request's body, and keep it as long as the context lasts.

    Yields
    ------
    bytes
        Its SHA-256; the boundary between a form's parts is left out.

    Raises
    ------
    TooLargeError
        If it is larger than its kind may be.
    """
    limit = find_limit()
    digest = BodyDigest(request.mimetype_params.get("boundary", "").encode())
    with tempfile.SpooledTemporaryFile(_CHUNK, dir=str(get_storage().incoming)) as file:
        try:
            stream = get_input_stream(request.environ, max_content_length=limit)
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
        except RequestEntityTooLarge:
            raise make_too_large(limit) from None
        file.seek(0)
        request.environ["wsgi.input"] = file
        yield digest.finish()


def find_limit() -> int:
    """Say how many bytes a body may have; its view may take less."""
    config = current_app.config
    limits: dict[str, int] = {
        BYTES: config["MAX_UPLOAD"],
        FORM: config["MAX_UPLOAD"] + config["MAX_JSON"],
    }
    return limits.get(request.mimetype, config["MAX_JSON"])


class BodyDigest:
    """The SHA-256 of a body that comes piece by piece.

    Parameters
    ----------
    ignored : bytes, optional
        What is left out of it, wherever it stands.
    """

    def __init__(self, ignored: bytes = b"") -> None:
        self._ignored = ignored
        self._digest = hashlib.sha256()
        # The end of what came, in which what is ignored may begin.
        self._rest = b""

    def update(self, chunk: bytes) -> None:
        """Take the next piece."""
        if not self._ignored:
            self._digest.update(chunk)
            return
        data = (self._rest + chunk).replace(self._ignored, b"")
        end = max(0, len(data) - len(self._ignored) + 1)
        self._digest.update(data[:end])
        self._rest = data[end:]

    def finish(self) -> bytes:
        """Give the SHA-256 of all that came."""
        self._digest.update(self._rest)
        self._rest = b""
        return self._digest.digest()
