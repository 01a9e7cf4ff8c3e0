"""Files that come before what they belong to: whole, or in parts that can be sent again.

An upload is a row and, until it is whole, a partial file; then its bytes are in `storage` as those
of any other file. A part is written behind what has arrived, and counts once its hash is right and
the row says so; a part that breaks off leaves nothing but bytes to be written over. While a part
is on its way, no database connection is held, but the file is locked.

An upload that isn't written to for ``DATARUN_KEEP_UPLOADS`` seconds is collected; what refers to it
keeps its file. Whoever refers to one must own it: a SHA-256 alone gives nobody a file.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from flask import current_app
from sqlalchemy import delete, func, select, update

from datarun_api.errors import BadInputError, ConflictError, NotFoundError, TooLargeError
from datarun_api.extensions import db, get_storage
from datarun_api.models import StoredFile, Upload
from datarun_api.storage import PartialFile, PartialFileBusyError, hash_range

MAX_UPLOADS = 1000
"""How many uploads an account may have at a time."""


def begin_upload(owner_id: int, size: int, sha256: str | None) -> Upload:
    """Announce a file that will come in parts.

    Parameters
    ----------
    owner_id : int
    size : int
        Bytes.
    sha256 : str, optional
        What the hash of all is to be.

    Raises
    ------
    TooLargeError
        If it is larger than `DATARUN_MAX_UPLOAD`.
    ConflictError
        If the account has too many uploads.
    """
    limit = current_app.config["MAX_UPLOAD"]
    if size > limit:
        text = f"{size} bytes are too many; at most {limit} are taken."
        raise TooLargeError(text, {"size": [text]})
    _check_number(owner_id)
    upload = Upload(owner_id=owner_id, size=size, announced_sha256=sha256)
    db.session.add(upload)
    db.session.commit()
    return upload


def store_upload(owner_id: int, chunks: Iterable[bytes], sha256: str | None) -> Upload:
    """Keep a file that comes in one piece.

    Parameters
    ----------
    owner_id : int
    chunks : iterable of bytes
    sha256 : str, optional
        What their hash is to be.

    Raises
    ------
    BadInputError
        If it is another.
    ConflictError
        If the account has too many uploads.
    """
    _check_number(owner_id)
    # Hold no database connection while the bytes come.
    db.session.rollback()
    staged = get_storage().stage(chunks)
    try:
        check_hash(staged.sha256, sha256)
        get_storage().keep(staged)
    finally:
        staged.drop()
    upload = Upload(owner_id=owner_id, size=staged.size, received=staged.size, sha256=staged.sha256)
    db.session.add(upload)
    db.session.commit()
    return upload


def append_part(
    owner_id: int, upload_id: UUID, offset: int, chunks: Iterable[bytes], sha256: str
) -> Upload:
    """Take a part of a file.

    Parameters
    ----------
    owner_id : int
    upload_id : UUID
    offset : int
        How many bytes of the file lie before it.
    chunks : iterable of bytes
    sha256 : str
        What the part's hash is to be.

    Returns
    -------
    Upload
        Unchanged if the same part has arrived before.

    Raises
    ------
    NotFoundError
        If there is no such upload.
    BadInputError
        If the hash is another, or, with the last part, that of the whole file.
    ConflictError
        If another part has to come first, or is being received, or if it reaches beyond the
        announced size.
    """
    upload = _look_at(owner_id, upload_id)
    if upload.sha256 is None:
        with _open_partial(upload_id) as partial:
            # Nobody else changes it as long as the file is locked.
            upload = _look_at(owner_id, upload_id)
            if upload.sha256 is None and offset >= upload.received:
                _write_part(upload, partial, Part(offset, chunks, sha256))
                return get_upload(owner_id, upload_id)
    if not _has(upload, Part(offset, chunks, sha256)):
        text = f"{upload.received} bytes have arrived, and these are others."
        raise ConflictError("This part has arrived with other bytes.", {"offset": [text]})
    return get_upload(owner_id, upload_id)


def get_upload(owner_id: int, upload_id: UUID) -> Upload:
    """Find an account's upload.

    Raises
    ------
    NotFoundError
        If there is none.
    """
    query = select(Upload).where(Upload.owner_id == owner_id, Upload.id == upload_id)
    upload: Upload | None = db.session.scalar(query)
    if upload is None:
        raise NotFoundError(f"There is no upload {upload_id} in this account.")
    return upload


def list_uploads(owner_id: int) -> list[Upload]:
    """List an account's uploads, the first one first."""
    query = select(Upload).where(Upload.owner_id == owner_id)
    return list(db.session.scalars(query.order_by(Upload.created_at, Upload.id)))


def delete_upload(owner_id: int, upload_id: UUID) -> None:
    """Forget an upload; what refers to its file keeps it.

    Raises
    ------
    NotFoundError
        If there is none.
    ConflictError
        If a part of it is being received.
    """
    upload = get_upload(owner_id, upload_id)
    with _open_partial(upload_id):
        db.session.delete(upload)
        db.session.commit()
        get_storage().delete_partial(upload_id)


def find_files(owner_id: int, uploads: Mapping[str, UUID]) -> list[StoredFile]:
    """Find the files of uploads, and hold those until the transaction ends.

    Parameters
    ----------
    owner_id : int
    uploads : mapping of str to UUID
        By the name that each file has in what refers to it.

    Raises
    ------
    BadInputError
        If one isn't there, or isn't whole.
    """
    query = select(Upload).where(Upload.owner_id == owner_id, Upload.id.in_(uploads.values()))
    # Not collected before it is referred to; a shared lock, as many may refer to one.
    rows = db.session.scalars(query.with_for_update(read=True, key_share=True))
    found = {upload.id: upload for upload in rows}
    files: list[StoredFile] = []
    problems = []
    for name, upload_id in uploads.items():
        upload = found.get(upload_id)
        if upload is None:
            problems.append(f"{name!r}: there is no upload {upload_id} in this account.")
        elif upload.sha256 is None:
            problems.append(f"{name!r}: {upload.received} of {upload.size} bytes have arrived.")
        else:
            files.append({"name": name, "sha256": upload.sha256, "size": upload.size})
    if problems:
        raise BadInputError("A file hasn't arrived.", {"uploads": problems})
    return files


def forget_uploads() -> None:
    """Forget the uploads that nobody has written to for `DATARUN_KEEP_UPLOADS` seconds."""
    life = timedelta(seconds=current_app.config["KEEP_UPLOADS"])
    statement = delete(Upload).where(Upload.used_at < func.now() - life).returning(Upload.id)
    forgotten = db.session.scalars(statement).all()
    db.session.commit()
    for upload_id in forgotten:
        get_storage().delete_partial(upload_id)


@dataclass(frozen=True)
class Part:
    """A part of a file, as it comes: where it begins, its bytes, and what their hash is to be."""

    offset: int
    chunks: Iterable[bytes]
    sha256: str


def _write_part(upload: Upload, partial: PartialFile, part: Part) -> None:
    """Write a part behind what has arrived, and keep the file if it is whole then."""
    arrived = upload.received
    if partial.size < arrived:
        # A crash came between the whole file's new name and its row: it has to come again.
        arrived = 0
        _note(upload, arrived)
    if part.offset > arrived:
        text = f"{arrived} bytes have arrived; send what follows them."
        raise ConflictError("An earlier part is missing.", {"offset": [text]})
    written = partial.write(part.offset, _bound(part.chunks, upload.size - part.offset))
    check_hash(written.sha256, part.sha256)
    received = part.offset + written.size
    if received < upload.size:
        _note(upload, received)
        return
    sha256 = hash_range(partial.path, 0, upload.size) if part.offset else written.sha256
    if upload.announced_sha256 not in (None, sha256):
        _note(upload, 0)
    check_hash(sha256, upload.announced_sha256)
    get_storage().keep(partial.as_staged(sha256))
    _note(upload, received, sha256)


def _has(upload: Upload, part: Part) -> bool:
    """Tell whether a part that comes again is what has arrived.

    Raises
    ------
    BadInputError
        If it isn't even what it is to be.
    """
    digest = hashlib.sha256()
    size = 0
    for chunk in _bound(part.chunks, upload.size - part.offset):
        digest.update(chunk)
        size += len(chunk)
    check_hash(digest.hexdigest(), part.sha256)
    if part.offset + size > upload.received:
        return False
    storage = get_storage()
    path = storage.find(upload.sha256) if upload.sha256 else storage.find_partial(upload.id)
    return hash_range(path, part.offset, size) == part.sha256


def _look_at(owner_id: int, upload_id: UUID) -> Upload:
    """Find an upload, and hold no database connection while its bytes come."""
    upload = get_upload(owner_id, upload_id)
    db.session.expunge(upload)
    db.session.rollback()
    return upload


def _open_partial(upload_id: UUID) -> PartialFile:
    try:
        return get_storage().open_partial(upload_id)
    except PartialFileBusyError:
        raise ConflictError("A part of this upload is being received.") from None


def _note(upload: Upload, received: int, sha256: str | None = None) -> None:
    """Note how much of an upload has arrived, and, if it is whole, where it is."""
    statement = update(Upload).where(Upload.id == upload.id)
    db.session.execute(statement.values(received=received, sha256=sha256))
    db.session.commit()


def _bound(chunks: Iterable[bytes], left: int) -> Iterator[bytes]:
    """Pass chunks on, as long as they aren't more than the upload has."""
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            text = "The part reaches beyond the size that was announced."
            raise ConflictError(text, {"offset": [text]})
        yield chunk


def check_hash(sha256: str, announced: str | None) -> None:
    """Refuse bytes that aren't what they are to be.

    Raises
    ------
    BadInputError
        If they aren't.
    """
    if announced not in (None, sha256):
        text = f"The bytes have SHA-256 {sha256}, not {announced}; send them again."
        raise BadInputError(text, {"sha256": [text]})


def _check_number(owner_id: int) -> None:
    """Refuse an account that has too many uploads.

    Raises
    ------
    ConflictError
        If it has.
    """
    query = select(func.count()).select_from(Upload).where(Upload.owner_id == owner_id)
    if db.session.execute(query).scalar_one() >= MAX_UPLOADS:
        raise ConflictError(f"This account has {MAX_UPLOADS} uploads; delete some.")
