"""The files of a data set or of a submission, whichever way they came.

They may be texts in the JSON, uploads that came before, or parts of the same form; a post may mix
all three. Nothing is kept before all names were checked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self
from uuid import UUID

from marshmallow import Schema, ValidationError

from datarun_api.bodies import Body
from datarun_api.errors import BadInputError, TooLargeError
from datarun_api.extensions import get_storage
from datarun_api.large_json import LongText
from datarun_api.models import StoredFile
from datarun_api.schemas import check_names
from datarun_api.storage import StagedFile, save_files
from datarun_api.uploads import find_files
from datarun_client.errors import CodecError

MISSING = "Missing data for required field."

FilesKey = frozenset[tuple[str, str | LongText]]


def load_post(schema: Schema, body: Body, *, needs_files: bool = False) -> dict[str, Any]:
    """Check the form of a post, and gather its files.

    Parameters
    ----------
    schema : Schema
        With the fields `files` and `uploads`.
    body : Body
    needs_files : bool, optional
        Whether it can't go without.

    Returns
    -------
    dict
        As the schema loads it; `files` is `PostedFiles`, or None if there are none.

    Raises
    ------
    BadInputError
        If a field is bad, or missing.
    """
    problems: dict[str, Any] = {}
    payload: dict[str, Any] = {}
    try:
        payload = schema.load(body.json)
    except ValidationError as error:
        problems = error.normalized_messages()
    fields = body.json if isinstance(body.json, dict) else {}
    if needs_files and not (fields.get("files") or fields.get("uploads") or body.files):
        problems.setdefault("files", [MISSING])
    if problems:
        raise BadInputError("The request has bad fields.", problems)
    return {**payload, "files": PostedFiles.gather(payload, body)}


@dataclass(frozen=True)
class PostedFiles:
    """Files by name.

    Attributes
    ----------
    texts : mapping of str to str or LongText
        Wire text, ``base64(zlib(bytes))``.
    uploads : mapping of str to UUID
    parts : mapping of str to StagedFile
        What came in a form; dropped with its request if it isn't kept.
    """

    texts: Mapping[str, str | LongText] = field(default_factory=dict)
    uploads: Mapping[str, UUID] = field(default_factory=dict)
    parts: Mapping[str, StagedFile] = field(default_factory=dict)

    @classmethod
    def gather(cls, payload: Mapping[str, Any], body: Body) -> Self | None:
        """Gather the files of a post; None if there are none.

        Parameters
        ----------
        payload : mapping
            With the fields `files` and `uploads`, as a schema loads them.
        body : Body
            Where it was loaded from.

        Raises
        ------
        BadInputError
            If the names can't stand beside each other.
        """
        texts = payload["files"] or {}
        found = {name: body.long_texts.get(text, text) for name, text in texts.items()}
        files = cls(found, payload["uploads"] or {}, body.files)
        if not files.names:
            return None
        try:
            check_names(files.names)
        except ValidationError as error:
            raise BadInputError(
                "The files can't have these names.", {"files": error.messages}
            ) from None
        return files

    @property
    def names(self) -> list[str]:
        """All names; one that came twice stands there twice."""
        return [*self.texts, *self.uploads, *self.parts]

    @cached_property
    def key(self) -> FilesKey:
        """The same for the same files that came the same way."""
        return frozenset(
            [
                *self.texts.items(),
                *((name, str(upload_id)) for name, upload_id in self.uploads.items()),
                *((name, part.sha256) for name, part in self.parts.items()),
            ]
        )

    def save(self, owner_id: int, max_bytes: int) -> list[StoredFile]:
        """Keep the files.

        Parameters
        ----------
        owner_id : int
            Whose uploads they may be.
        max_bytes : int
            How many all of them may have together.

        Returns
        -------
        list of StoredFile
            Their manifest, by name.

        Raises
        ------
        BadInputError
            If a text can't be decoded, or an upload isn't there.
        TooLargeError
            If they have more bytes.
        """
        files = find_files(owner_id, self.uploads) if self.uploads else []
        for name, part in self.parts.items():
            files.append({"name": name, "sha256": part.sha256, "size": part.size})
        left = max_bytes - sum(file["size"] for file in files)
        if left < 0:
            text = f"There are {-left} bytes too many; see DATARUN_MAX_UPLOAD."
            raise TooLargeError(text, {"files": [text]})
        try:
            files += save_files(get_storage(), self.texts, left)
        except CodecError as error:
            raise BadInputError(str(error), {"files": [str(error)]}) from None
        for part in self.parts.values():
            get_storage().keep(part)
        return sorted(files, key=lambda file: file["name"])
