"""Requests that bring bytes: a raw body, or a form of parts; neither is ever in memory as a whole.

JSON whose files are texts is read by `large_json`, if it is large.

A form (``multipart/form-data``) has one part named `json`, which is what a plain post would send,
and a part named `files` for each file, with its name.
"""

import base64
import binascii
import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, cast

from flask import current_app, request
from marshmallow import Schema, ValidationError
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import MultiPartParser

from datarun_api.errors import BadInputError, TooLargeError
from datarun_api.extensions import get_storage
from datarun_api.large_json import LongText, is_large_json, read_large_json
from datarun_api.negotiation import BINARY, JSON
from datarun_api.storage import CHUNK, StagedFile, StagingWriter

FORM = "multipart/form-data"
BYTES = "application/octet-stream"

JSON_PART = "json"
FILES_PART = "files"

DIGEST_HEADER = "Content-Digest"

_BUFFER = 1 << 18
"""Bytes of a form that are looked at a time; werkzeug's own 64 KiB take a little longer."""

_SHA256 = re.compile(r"sha-256=:([A-Za-z0-9+/=]+):")


def describe_body(schema: Any) -> dict[str, Any]:
    """Describe a post that may be JSON or a form, for `/openapi.json`.

    Parameters
    ----------
    schema : Schema class or dict
        Of the JSON.
    """
    form = {
        "type": "object",
        "required": [JSON_PART],
        "properties": {JSON_PART: schema, FILES_PART: {"type": "array", "items": BINARY}},
        "additionalProperties": False,
    }
    encoding = {JSON_PART: {"contentType": JSON}}
    return {
        "required": True,
        "content": {
            JSON: {"schema": schema},
            FORM: {"schema": form, "encoding": encoding},
        },
    }


@dataclass(frozen=True)
class Body:
    """What a post brought.

    Attributes
    ----------
    json : Any
    files : mapping of str to StagedFile
        The files that came as parts of a form, by name; dropped when the request ends, if they
        aren't kept.
    long_texts : mapping of str to LongText
        Texts of files that stayed on disk, by what stands for them in the JSON.
    """

    json: Any
    files: Mapping[str, StagedFile] = field(default_factory=dict)
    long_texts: Mapping[str, LongText] = field(default_factory=dict)


def load_json(schema: Schema) -> Any:
    """Read a body of JSON, and check its form.

    Raises
    ------
    BadInputError
        If it is none, or if a field is bad.
    """
    try:
        return schema.load(request.get_json())
    except ValidationError as error:
        raise BadInputError("The request has bad fields.", error.normalized_messages()) from None


@contextlib.contextmanager
def read_body() -> Iterator[Body]:
    """Read a post that may be JSON or a form.

    Raises
    ------
    BadInputError
        If it is neither.
    TooLargeError
        If it is larger than `DATARUN_MAX_JSON` and `DATARUN_MAX_UPLOAD` say.
    """
    with contextlib.ExitStack() as stack:
        if request.mimetype == FORM:
            yield _read_form(stack)
        elif is_large_json():
            large = stack.enter_context(read_large_json())
            yield Body(large.document, long_texts=large.long_texts)
        else:
            yield Body(request.get_json())


def read_bytes(max_bytes: int) -> Iterator[bytes]:
    """Read a raw body piece by piece.

    Raises
    ------
    TooLargeError
        If it is larger.
    """
    request.max_content_length = max_bytes
    try:
        while chunk := request.stream.read(CHUNK):
            yield chunk
    except RequestEntityTooLarge:
        raise make_too_large(max_bytes) from None


def get_digest() -> str | None:
    """Say what SHA-256 the request's body is to have, in hexadecimal digits; None if it doesn't.

    Raises
    ------
    BadInputError
        If the header `Content-Digest` (RFC 9530) isn't one of a SHA-256.
    """
    header = request.headers.get(DIGEST_HEADER)
    if header is None:
        return None
    found = _SHA256.search(header)
    try:
        digest = base64.b64decode(found[1], validate=True) if found else b""
    except binascii.Error:
        digest = b""
    if len(digest) != 32:
        text = "Must be sha-256=:<base64 of the body's SHA-256>: (RFC 9530)."
        raise BadInputError(f"The {DIGEST_HEADER} header can't be used.", {DIGEST_HEADER: [text]})
    return digest.hex()


def _read_form(stack: contextlib.ExitStack) -> Body:
    """Read a form; its files are dropped when `stack` ends."""
    config = current_app.config
    limit = config["MAX_UPLOAD"] + config["MAX_JSON"]
    storage = get_storage()

    def open_file(
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        writer = storage.open_staging()
        stack.callback(writer.drop)
        return cast(IO[bytes], _FormFile(writer))

    parser = MultiPartParser(
        open_file,
        max_form_memory_size=config["MAX_JSON"],
        buffer_size=_BUFFER,
        max_form_parts=config["MAX_FILES"] + 1,
    )
    boundary = request.mimetype_params.get("boundary", "").encode()
    request.max_content_length = limit
    try:
        form, files = parser.parse(request.stream, boundary, request.content_length)
    except RequestEntityTooLarge:
        raise make_too_large(limit) from None
    except ValueError as error:
        raise BadInputError(f"The form can't be read: {error}.") from None
    texts: list[str | bytes] = [*form.getlist(JSON_PART)]
    # Some clients give every part a file name, the JSON's too.
    texts += [_read_staged(part, config["MAX_JSON"]) for part in files.getlist(JSON_PART)]
    if len(texts) != 1 or {*form, *files} - {JSON_PART, FILES_PART} or FILES_PART in form:
        text = f"Send one part named {JSON_PART}, and the files as parts named {FILES_PART}."
        raise BadInputError(text, {JSON_PART: [text]})
    parts = files.getlist(FILES_PART)
    names = [part.filename or "" for part in parts]
    if len({*names}) < len(names):
        raise BadInputError("Two files have one name.", {FILES_PART: ["Two have one name."]})
    staged = [_finish(part) for part in parts]
    return Body(_load_json(texts[0]), dict(zip(names, staged, strict=True)))


def _finish(part: FileStorage) -> StagedFile:
    return cast(_FormFile, part.stream).writer.finish()


def _read_staged(part: FileStorage, max_bytes: int) -> bytes:
    """Read a part back that was taken for a file.

    Raises
    ------
    TooLargeError
        If it is larger.
    """
    staged = _finish(part)
    if staged.size > max_bytes:
        raise make_too_large(max_bytes)
    return staged.path.read_bytes()


class _FormFile:
    """A file of a form, as werkzeug writes it."""

    def __init__(self, writer: StagingWriter) -> None:
        self.writer = writer
        self.write = writer.write

    def seek(self, position: int) -> None:
        """Do nothing: what was written isn't read here."""


def _load_json(text: str | bytes) -> Any:
    try:
        return current_app.json.loads(text)
    except ValueError:
        raise BadInputError(
            f"The part {JSON_PART} is no JSON.", {JSON_PART: ["Not valid JSON."]}
        ) from None


def make_too_large(limit: int) -> TooLargeError:
    """Make the refusal of a body that is larger than `limit` bytes."""
    return TooLargeError(
        f"The request is larger than {limit} bytes, or has more than "
        f"{current_app.config['MAX_FILES']} files."
    )
