"""Large bodies of JSON, whose long texts are never in memory as a whole.

Files may come as texts in the JSON, and parsed as usual such a body would be in memory several
times. Here it is scanned on its way in: what is between the quotes of a long text goes to a file
without a name, and a short stand-in takes its place. What is left is parsed as usual. The texts of
files stay where they are until they are decoded, piece by piece; others, such as a fold's rows,
come back as soon as the rest is parsed.

A text with escapes, which base64 doesn't need, comes back too.
"""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import orjson
from flask import request

from datarun_api.errors import BadInputError
from datarun_api.extensions import get_storage

LARGE = 4 << 20
"""Bytes from which on a body is large, and smaller ones are quicker read as a whole."""

LONG = 1 << 16
"""Bytes from which on a text is long."""

FILES = "files"
"""The field, of what is posted, whose texts may be long and stay on disk."""

_CHUNK = 1 << 20
"""Bytes that are scanned and decoded at a time; a multiple of four, for base64."""


@dataclass(frozen=True)
class LongText:
    """A text that lies in a file; as an iterable it gives its bytes, at most a MiB at a time.

    Attributes
    ----------
    file : binary file
    start, size : int
        Where it is, between its quotes.
    has_escapes : bool
        Whether it isn't the text itself yet, as JSON writes some characters otherwise.
    """

    file: IO[bytes]
    start: int
    size: int
    has_escapes: bool

    def __iter__(self) -> Iterator[bytes]:
        end = self.start + self.size
        for place in range(self.start, end, _CHUNK):
            yield os.pread(self.file.fileno(), min(_CHUNK, end - place), place)

    def read(self) -> str:
        """Read it as a whole.

        Raises
        ------
        orjson.JSONDecodeError
            If it is no text.
        """
        text: str = orjson.loads(b'"' + b"".join(self) + b'"')
        return text


@dataclass(frozen=True)
class LargeJson:
    """What a large body says.

    Attributes
    ----------
    document : Any
        With stand-ins for the long texts of files.
    long_texts : dict of str to LongText
        By their stand-ins, which nobody can guess.
    """

    document: Any
    long_texts: dict[str, LongText]


def is_large_json() -> bool:
    """Tell whether the request brings JSON that is large, or doesn't say how large it is."""
    return request.is_json and (request.content_length is None or request.content_length > LARGE)


@contextlib.contextmanager
def read_large_json() -> Iterator[LargeJson]:
    """Read the request's body; its long texts are there as long as the context lasts.

    Raises
    ------
    BadInputError
        If it is no JSON, or if a name in it is long.
    RequestEntityTooLarge
        If it is larger than `DATARUN_MAX_JSON`.
    """
    with tempfile.TemporaryFile(dir=get_storage().incoming) as file:
        scanner = TextScanner(file)
        while chunk := request.stream.read(_CHUNK):
            scanner.feed(chunk)
        file.flush()
        try:
            document = orjson.loads(scanner.document)
            scanner.document.clear()
            _bring_back(document, scanner.long_texts)
        except orjson.JSONDecodeError:
            raise BadInputError("The request is no JSON.") from None
        yield LargeJson(document, scanner.long_texts)


class TextScanner:
    """Takes the long texts out of JSON that comes piece by piece.

    It knows of JSON only where texts begin and end; whether it is any is seen by its parser.

    Parameters
    ----------
    file : binary file
        Where the long texts go.

    Attributes
    ----------
    document : bytearray
        The JSON with stand-ins for them.
    long_texts : dict of str to LongText
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.document = bytearray()
        self.long_texts: dict[str, LongText] = {}
        self._file = file
        self._size = 0
        self._secret = secrets.token_hex(16)
        self._is_in_text = False
        # Of the text that is being read: what isn't in the file, and how much is.
        self._text = bytearray()
        self._n_filed = 0
        self._has_escapes = False
        self._is_escaped = False

    def feed(self, chunk: bytes) -> None:
        """Take the next piece."""
        place = 0
        while place < len(chunk):
            place = self._scan_text(chunk, place) if self._is_in_text else self._skip(chunk, place)

    def _skip(self, chunk: bytes, place: int) -> int:
        """Keep what is outside of texts; give the place where it ends."""
        quote = chunk.find(b'"', place)
        end = len(chunk) if quote < 0 else quote + 1
        self.document += chunk[place:end]
        self._is_in_text = quote >= 0
        return end

    def _scan_text(self, chunk: bytes, place: int) -> int:
        """Take what belongs to a text; give the place where that ends, or might."""
        if self._is_escaped:
            self._is_escaped = False
            return self._add(chunk, place, place + 1)
        quote = chunk.find(b'"', place)
        end = len(chunk) if quote < 0 else quote
        escape = chunk.find(b"\\", place, end)
        if escape >= 0:
            self._is_escaped = self._has_escapes = True
            return self._add(chunk, place, escape + 1)
        self._add(chunk, place, end)
        if quote < 0:
            return end
        self._finish_text()
        return quote + 1

    def _add(self, chunk: bytes, place: int, end: int) -> int:
        self._text += chunk[place:end]
        if len(self._text) > LONG:
            self._file_text()
        return end

    def _file_text(self) -> None:
        self._file.write(self._text)
        self._n_filed += len(self._text)
        self._text.clear()

    def _finish_text(self) -> None:
        if self._n_filed:
            self._file_text()
            stand_in = f"{self._secret}:{len(self.long_texts)}"
            self.long_texts[stand_in] = LongText(
                self._file, self._size, self._n_filed, self._has_escapes
            )
            self._size += self._n_filed
            self.document += stand_in.encode()
        else:
            self.document += self._text
        self.document += b'"'
        self._text.clear()
        self._n_filed = 0
        self._has_escapes = self._is_in_text = False


def _bring_back(document: Any, long_texts: dict[str, LongText]) -> None:
    """Put the long texts that aren't files' back into an object or a list of objects.

    Elsewhere no text is good, so that a stand-in is refused as the text would be.
    """
    for entry in document if isinstance(document, list) else [document]:
        if not isinstance(entry, dict):
            continue
        files = entry.get(FILES)
        for fields in (entry, files if isinstance(files, dict) else {}):
            if long_texts.keys() & fields.keys():
                text = f"A name has more than {LONG} bytes."
                raise BadInputError(text, {"request": [text]})
            for name, value in fields.items():
                found = long_texts.get(value) if isinstance(value, str) else None
                if found is not None and (fields is entry or found.has_escapes):
                    fields[name] = found.read()
