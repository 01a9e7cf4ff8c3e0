"""Predictions as typed arrays: one as an ``.npy`` file, many as an ``.npz`` archive."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, cast

from flask import Response, jsonify, request
from sqlalchemy import select

from datarun_api.errors import NotFoundError
from datarun_api.extensions import db
from datarun_api.folds import is_fold, make_not_found
from datarun_api.listing import Listing, RowReader, look_over
from datarun_api.models import SubmissionFold
from datarun_api.negotiation import NPY, ZIP
from datarun_client.codec import PREDICTION_DTYPE, encode_base64, measure_npy, unpack_npy_chunks

PARTS = ("full_train", "test")
"""The sets that a fold predicts."""


@dataclass(frozen=True)
class Predictions:
    """A fold's predictions of one set.

    Attributes
    ----------
    packed : bytes
        Their zlib stream.
    shape : list of int
    sha256 : str
        Of their raw bytes.
    """

    packed: bytes
    shape: list[int]
    sha256: str


def get_predictions(owner_id: int, databoard_sf_id: int, part: str) -> Predictions:
    """Find a fold's predictions.

    Parameters
    ----------
    owner_id, databoard_sf_id : int
    part : {'full_train', 'test'}

    Raises
    ------
    NotFoundError
        If there is no such fold, or if it has no predictions.
    """
    names = ("state", f"{part}_predictions", f"{part}_shape", f"{part}_sha256")
    columns = [getattr(SubmissionFold, name) for name in names]
    row = db.session.execute(
        select(*columns).where(*is_fold(owner_id, databoard_sf_id))
    ).one_or_none()
    if row is None:
        raise make_not_found(databoard_sf_id)
    state, packed, shape, sha256 = row
    if packed is None:
        raise NotFoundError(f"Fold {databoard_sf_id} has no predictions; it is {state}.")
    return Predictions(packed, shape, sha256)


def send_array(predictions: Predictions) -> Response:
    """Send predictions as text in JSON."""
    return jsonify(
        dtype=PREDICTION_DTYPE.str,
        shape=predictions.shape,
        sha256=predictions.sha256,
        predictions=encode_base64(predictions.packed),
    )


def send_npy(predictions: Predictions) -> Response:
    """Send predictions as an ``.npy`` file, or the part of it that is asked for."""
    shape = predictions.shape
    response = Response(unpack_npy_chunks(predictions.packed, shape), mimetype=NPY)
    response.content_length = measure_npy(shape)
    response.set_etag(f"{predictions.sha256}-{'x'.join(map(str, shape))}")
    response.make_conditional(request, accept_ranges=True, complete_length=response.content_length)
    return response


def send_archive(listing: Listing) -> Response:
    """Send folds' predictions as a zip that NumPy reads as ``.npz``.

    The members are named ``<databoard_sf_id>/<part>.npy``. A fold without predictions has none.
    """
    names = [f"{part}_{kind}" for part in PARTS for kind in ("predictions", "shape")]
    listing = replace(
        listing,
        names=["databoard_sf_id", *names],
        conditions=[*listing.conditions, SubmissionFold.test_shape.is_not(None)],
    )
    rows = RowReader(listing, look_over(listing))
    response = Response(_write_archive(rows), mimetype=ZIP)
    response.headers.set("Content-Disposition", "attachment", filename="predictions.npz")
    return response


class _Outbox:
    """Takes what `zipfile` writes, until it is sent."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def empty(self) -> bytes:
        """Take everything out."""
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def _write_archive(rows: RowReader) -> Iterator[bytes]:
    outbox = _Outbox()
    # Not compressed: float64 hardly gets smaller, and the network is quicker than zlib.
    with zipfile.ZipFile(cast(IO[bytes], outbox), "w") as archive:
        for chunk in rows:
            for number, *arrays in chunk:
                for part, packed, shape in zip(PARTS, arrays[::2], arrays[1::2], strict=True):
                    member = zipfile.ZipInfo(f"{number}/{part}.npy")
                    member.file_size = measure_npy(shape)
                    with archive.open(member, "w") as file:
                        for piece in unpack_npy_chunks(packed, shape):
                            file.write(piece)
                            yield outbox.empty()
    yield outbox.empty()
