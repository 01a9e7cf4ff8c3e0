"""The only place that knows how files, indices and predictions look on the wire.

Files and arrays travel as ``base64(zlib(bytes))`` text. Indices are int64, predictions float64,
both little-endian raw bytes in C order. Where base64 isn't needed (in the database), the zlib
stream alone is kept: `pack` makes it, `unpack` reads it. Reading is bounded everywhere: a small
text must not become a large array.
"""

import binascii
import hashlib
import io
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pybase64

from datarun_client.errors import CodecError

fast_zlib: Any
try:
    from isal import isal_zlib as fast_zlib
except ImportError:
    # There is none for every machine.
    fast_zlib = zlib

INDEX_DTYPE = np.dtype("<i8")
PREDICTION_DTYPE = np.dtype("<f8")
COMPRESSION_LEVEL = 1
"""The fastest level. That of ISA-L writes the same format, which any zlib reads, ten times faster
than zlib's and no larger."""

_STORED = 0
"""The level at which bytes are only put into a stream as they are."""

_SAMPLE = 1 << 16
"""Bytes by which it is seen whether the others get smaller."""

_WORTHWHILE = 0.9
"""How small a sample must get, as a part of what it was: probabilities of full precision lose
6 %, and to pack and unpack them takes longer than all else that is done with their fold."""

MAX_INDICES_BYTES = 40_000_000
"""Five million indices; a fold with more rows than that is a mistake or an attack."""

MAX_PREDICTIONS_BYTES = 1 << 30
"""A gibibyte: 134 million values, where the shape doesn't say how many there must be."""

_CHUNK = 1 << 20

_NO_BASE64 = "is not base64 text; send base64(zlib(bytes))."
_TOO_LONG = "has bytes after the end of its zlib stream; send base64(zlib(bytes))."


def pack(data: bytes | memoryview) -> bytes:
    """Compress bytes into a zlib stream; many that hardly get smaller stay as they are in it."""
    if len(data) > 2 * _SAMPLE:
        middle = len(data) // 2
        sample = data[middle : middle + _SAMPLE]
        if len(fast_zlib.compress(sample, COMPRESSION_LEVEL)) > _WORTHWHILE * _SAMPLE:
            return zlib.compress(data, _STORED)
    packed: bytes = fast_zlib.compress(data, COMPRESSION_LEVEL)
    return packed


def unpack_chunks(data: bytes | Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    """Decompress a zlib stream piece by piece.

    Parameters
    ----------
    data : bytes or iterable of bytes
        The zlib stream, or the pieces of it.
    max_bytes : int
        How many bytes it may become.

    Yields
    ------
    bytes
        At most one MiB at a time.

    Raises
    ------
    CodecError
        If the stream is broken, cut off, followed by something else, or becomes larger.
    """
    decompressor = fast_zlib.decompressobj()
    n_bytes = 0
    for piece in [data] if isinstance(data, bytes) else data:
        if decompressor.eof and piece:
            raise CodecError(_TOO_LONG)
        rest, is_full = piece, True
        # Some of what a piece becomes may be left in the decompressor when all of it went in.
        while (rest or is_full) and not decompressor.eof:
            try:
                chunk = decompressor.decompress(rest, _CHUNK)
            except fast_zlib.error:
                raise CodecError("is not a zlib stream; send base64(zlib(bytes)).") from None
            rest, is_full = decompressor.unconsumed_tail, len(chunk) == _CHUNK
            n_bytes += len(chunk)
            if n_bytes > max_bytes:
                raise CodecError(f"becomes larger than {max_bytes} bytes when decompressed.")
            if chunk:
                yield chunk
        if decompressor.unused_data:
            raise CodecError(_TOO_LONG)
    if not decompressor.eof:
        raise CodecError("is a zlib stream that was cut off; send all of it.")


def unpack(data: bytes, max_bytes: int) -> bytes:
    """Decompress a zlib stream; parameters and errors as in `unpack_chunks`."""
    return bytes(_unpack_into_buffer(data, max_bytes))


def _unpack_into_buffer(data: bytes, max_bytes: int) -> bytearray:
    """Decompress without a second copy of what comes out."""
    buffer = bytearray()
    for chunk in unpack_chunks(data, max_bytes):
        buffer += chunk
    return buffer


def encode_base64(data: bytes) -> str:
    """Write bytes as base64 text."""
    return pybase64.b64encode_as_string(data)


def decode_base64(text: str) -> bytes:
    """Read base64 text.

    Raises
    ------
    CodecError
        If the text is not base64; line breaks are allowed, other garbage isn't.
    """
    try:
        return pybase64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        raise CodecError(_NO_BASE64) from None


def decode_base64_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Read base64 text piece by piece.

    Parameters
    ----------
    pieces : iterable of bytes
        The text's; the length of each but the last is a multiple of four.

    Yields
    ------
    bytes
        What each piece says.

    Raises
    ------
    CodecError
        If the text is not base64; here line breaks aren't allowed.
    """
    is_over = False
    for piece in pieces:
        if is_over:
            raise CodecError(_NO_BASE64)
        is_over = piece.endswith(b"=")
        try:
            yield pybase64.b64decode(piece, validate=True)
        except binascii.Error:
            raise CodecError(_NO_BASE64) from None


def encode_bytes(data: bytes) -> str:
    """Write a file's bytes as wire text."""
    return encode_base64(pack(data))


def decode_bytes(text: str, max_bytes: int) -> bytes:
    """Read a file's bytes from wire text.

    Raises
    ------
    CodecError
        If the text is not ``base64(zlib(bytes))`` or becomes larger than `max_bytes`.
    """
    return unpack(decode_base64(text), max_bytes)


def pack_indices(indices: npt.ArrayLike) -> bytes:
    """Compress row numbers.

    Parameters
    ----------
    indices : array-like of int of shape (n_samples,)
        Row numbers, from 0.

    Raises
    ------
    CodecError
        If they are not one-dimensional whole numbers.
    """
    array = np.asarray(indices)
    if array.dtype == bool:
        raise CodecError("Indices are row numbers, not a mask; send numpy.flatnonzero(mask).")
    if array.size == 0:
        array = array.astype(INDEX_DTYPE)
    if array.ndim != 1 or not np.can_cast(array.dtype, INDEX_DTYPE, "safe"):
        raise CodecError(
            "Indices are a one-dimensional array of whole numbers, "
            f"not {array.dtype} of shape {array.shape}."
        )
    return pack(array.astype(INDEX_DTYPE).tobytes())


def unpack_indices(data: bytes, max_bytes: int = MAX_INDICES_BYTES) -> npt.NDArray[np.int64]:
    """Read row numbers from a zlib stream.

    Returns
    -------
    ndarray of int64 of shape (n_samples,)

    Raises
    ------
    CodecError
        If the stream is broken, too large, or no whole number of int64.
    """
    raw = _unpack_into_buffer(data, max_bytes)
    if len(raw) % INDEX_DTYPE.itemsize:
        raise CodecError(
            f"holds {len(raw)} bytes, not a multiple of 8; send int64, little-endian, raw."
        )
    return np.frombuffer(raw, dtype=INDEX_DTYPE).astype(np.int64, copy=False)


def encode_indices(indices: npt.ArrayLike) -> str:
    """Write row numbers as wire text; parameters and errors as in `pack_indices`."""
    return encode_base64(pack_indices(indices))


def decode_indices(text: str, max_bytes: int = MAX_INDICES_BYTES) -> npt.NDArray[np.int64]:
    """Read row numbers from wire text; errors as in `decode_base64` and `unpack_indices`."""
    return unpack_indices(decode_base64(text), max_bytes)


def pack_predictions(predictions: npt.NDArray[np.float64]) -> bytes:
    """Compress predictions.

    Parameters
    ----------
    predictions : ndarray of float64 of shape (n_samples,) or (n_samples, n_columns)
    """
    values = np.ascontiguousarray(predictions, dtype=PREDICTION_DTYPE)
    return pack(values.reshape(-1).view(np.uint8).data)


def unpack_predictions(
    data: bytes, shape: Sequence[int], max_bytes: int = MAX_PREDICTIONS_BYTES
) -> npt.NDArray[np.float64]:
    """Read predictions from a zlib stream.

    Parameters
    ----------
    data : bytes
        The zlib stream.
    shape : sequence of int
        ``(n_samples,)`` or ``(n_samples, n_columns)``; ``-1`` stands for a number of columns that
        isn't known.
    max_bytes : int, optional
        How many bytes the stream may become.

    Raises
    ------
    CodecError
        If the stream is broken, too large, or holds another number of values.
    """
    if -1 not in shape:
        max_bytes = min(max_bytes, math.prod(shape) * PREDICTION_DTYPE.itemsize)
    raw = _unpack_into_buffer(data, max_bytes)
    try:
        values = np.frombuffer(raw, dtype=PREDICTION_DTYPE).reshape(tuple(shape))
    except ValueError:
        raise CodecError(
            f"holds {len(raw)} bytes, which is not float64 of shape {tuple(shape)}."
        ) from None
    return values.astype(np.float64, copy=False)


def encode_predictions(predictions: npt.NDArray[np.float64]) -> str:
    """Write predictions as wire text; parameters as in `pack_predictions`."""
    return encode_base64(pack_predictions(predictions))


def decode_predictions(
    text: str, shape: Sequence[int], max_bytes: int = MAX_PREDICTIONS_BYTES
) -> npt.NDArray[np.float64]:
    """Read predictions from wire text; parameters and errors as in `unpack_predictions`."""
    return unpack_predictions(decode_base64(text), shape, max_bytes)


def hash_predictions(predictions: npt.NDArray[np.float64]) -> str:
    """Give the SHA-256 of predictions' raw bytes, in hexadecimal digits.

    Parameters
    ----------
    predictions : ndarray of float64 of shape (n_samples,) or (n_samples, n_columns)
    """
    values = np.ascontiguousarray(predictions, dtype=PREDICTION_DTYPE)
    return hashlib.sha256(values.reshape(-1).view(np.uint8).data).hexdigest()


def measure_npy(shape: Sequence[int]) -> int:
    """Say how many bytes predictions of a shape have as an ``.npy`` file."""
    return len(_make_npy_header(shape)) + math.prod(shape) * PREDICTION_DTYPE.itemsize


def unpack_npy_chunks(data: bytes, shape: Sequence[int]) -> Iterator[bytes]:
    """Turn predictions' zlib stream into an ``.npy`` file, piece by piece.

    Parameters
    ----------
    data : bytes
        The zlib stream.
    shape : sequence of int
        ``(n_samples,)`` or ``(n_samples, n_columns)``.

    Yields
    ------
    bytes
        At most one MiB at a time.

    Raises
    ------
    CodecError
        If the stream is broken or too large.
    """
    yield _make_npy_header(shape)
    yield from unpack_chunks(data, math.prod(shape) * PREDICTION_DTYPE.itemsize)


def _make_npy_header(shape: Sequence[int]) -> bytes:
    header = io.BytesIO()
    description = {"descr": PREDICTION_DTYPE.str, "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(header, description)
    return header.getvalue()


def is_finite(predictions: npt.NDArray[np.float64]) -> bool:
    """Tell whether predictions hold neither NaN nor infinity."""
    return bool(np.isfinite(predictions).all())
