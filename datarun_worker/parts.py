"""The files that hold a data set's parts: `X_train`, `y_train`, `X_test`, `y_test`.

A part is a header of JSON and raw blocks, each at a multiple of 64 bytes, so that a process can
map the file and use the blocks where they lie::

    8 bytes   b"datarun1"
    8 bytes   the header's length, little-endian
    header    {"form": …, "blocks": [[offset, size], …], …}; offsets count from the first block

Features are a pickle whose large buffers are blocks of their own (protocol 5): loading them costs
no parsing and no copy. Only a sandbox may load a pickle, because a data set's own reader may have
made it. A process maps the file for itself alone: it may change what it loaded, nobody else sees
it. Of a DataFrame whose columns have one dtype the header says where its values lie, for
submissions that get nothing but these.

Labels have to be cut to a fold's train rows by the worker, which mustn't unpickle. So they are

- ``array``: numbers, booleans, fixed-width texts or times as raw bytes;
- ``objects``: whole numbers that say which of the pickled values stands in each row, and these
  values, each pickled by itself. Cutting them leaves out the values that no remaining row has;
- ``whole``: a pickle, for a reader that trains submissions by itself. It isn't cut.
"""

import contextlib
import json
import mmap
import os
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from datarun_client.states import FailureKind
from datarun_worker.errors import PartError, ProgramError

MAGIC = b"datarun1"
MAX_HEADER = 1 << 20
"""Bytes that a header may have; ours have some hundreds."""

_ALIGNMENT = 64
_DTYPE = re.compile(r"[<>|][biufcSUMm][1-9]\d{0,8}(\[\w{1,8}\])?")
_MAX_DIMENSIONS = 8

Buffer = bytes | memoryview


def write_part(descriptor: int, header: Mapping[str, Any], blocks: Sequence[Buffer]) -> int:
    """Write a part.

    Parameters
    ----------
    descriptor : int
        An empty file, open for writing.
    header : mapping
        What JSON can say.
    blocks : sequence of bytes-like
        Contiguous buffers.

    Returns
    -------
    int
        Bytes written.
    """
    places = []
    offset = 0
    for block in blocks:
        size = memoryview(block).nbytes
        places.append([offset, size])
        offset += _round_up(size)
    text = json.dumps({**header, "blocks": places}).encode()
    start = _round_up(len(MAGIC) + 8 + len(text))
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(MAGIC + len(text).to_bytes(8, "little") + text)
        for (place, _), block in zip(places, blocks, strict=True):
            file.seek(start + place)
            file.write(block)
        # The last block's padding needn't be there, but the file must reach to its beginning.
        return file.truncate(max(file.tell(), start))


@contextlib.contextmanager
def open_part(descriptor: int) -> Iterator[tuple[dict[str, Any], list[memoryview]]]:
    """Map a part, for as long as the context lasts.

    Parameters
    ----------
    descriptor : int
        The file, open for reading.

    Yields
    ------
    header : dict
    blocks : list of memoryview
        Readable.

    Raises
    ------
    PartError
        If the file isn't such a part.
    """
    size = os.fstat(descriptor).st_size
    if size < len(MAGIC) + 8:
        raise PartError("It is too short to be a part of a data set.")
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as mapping:
        header, places = _read_header(mapping, size)
        view = memoryview(mapping)
        blocks = [view[start:end] for start, end in places]
        try:
            yield header, blocks
        finally:
            for block in blocks:
                block.release()
            view.release()


def dump_features(descriptor: int, features: object) -> int:
    """Write X, whatever it is; returns the bytes written."""
    buffers: list[pickle.PickleBuffer] = []
    stream = _pickle(features, buffers)
    blocks: list[Buffer] = [stream, *(buffer.raw() for buffer in buffers)]
    header = {"form": "pickle", "values": _find_values(features, blocks)}
    return write_part(descriptor, header, blocks)


def load_features(descriptor: int) -> Any:
    """Load X without copying; only in a sandbox.

    Raises
    ------
    PartError
        If the file isn't such a part.
    """
    _, (stream, *buffers) = _map_features(descriptor)
    return pickle.loads(stream, buffers=buffers)  # noqa: S301 - in a sandbox, see above


def load_values(descriptor: int) -> npt.NDArray[Any] | None:
    """Load what ``X.to_numpy()`` gave, without X itself and without copying.

    To make a DataFrame takes a quick fold longer than its training.

    Returns
    -------
    ndarray or None
        None if X is no DataFrame, or has its values in several places.

    Raises
    ------
    PartError
        If the file isn't such a part.
    """
    header, blocks = _map_features(descriptor)
    place = header.get("values")
    if place is None:
        return None
    try:
        array = np.frombuffer(blocks[place["block"]], _check_dtype(place["dtype"]))
        return array.reshape(_check_shape(place["shape"]), order=place["order"])
    except (LookupError, TypeError, ValueError) as error:
        raise PartError(f"It holds no values ({error}).") from error


def _map_features(descriptor: int) -> tuple[dict[str, Any], list[memoryview]]:
    size = os.fstat(descriptor).st_size
    if size < len(MAGIC) + 8:
        raise PartError("It is too short to be a part of a data set.")
    # The arrays keep the mapping alive. Changes stay in this process.
    mapping = mmap.mmap(
        descriptor, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE
    )
    header, places = _read_header(mapping, size)
    if header.get("form") != "pickle" or not places:
        raise PartError("It holds no features.")
    view = memoryview(mapping)
    return header, [view[start:end] for start, end in places]


def _find_values(features: Any, blocks: Sequence[Buffer]) -> dict[str, Any] | None:
    """Say where all values of a DataFrame lie, if that is in one block."""
    # Here, as a worker, which only cuts labels, does without it.
    import pandas as pd

    if type(features) is not pd.DataFrame:
        return None
    values = features.to_numpy()
    if not values.size or not _DTYPE.fullmatch(values.dtype.str):
        return None
    for number, block in enumerate(blocks):
        memory = np.frombuffer(block, np.uint8)
        if memory.ctypes.data == values.ctypes.data and memory.nbytes == values.nbytes:
            order = "F" if values.flags.f_contiguous else "C"
            shape = list(values.shape)
            return {"block": number, "dtype": values.dtype.str, "shape": shape, "order": order}
    return None


@dataclass(frozen=True)
class Labels:
    """y in a form that can be cut to rows without unpickling.

    Attributes
    ----------
    form : {"array", "objects", "whole"}
    shape : tuple of int
        Rows first.
    values : ndarray of shape `shape`, or None
        The labels themselves (``array``) or which of `pickles` stands where (``objects``).
    pickles : tuple of bytes
        The distinct values (``objects``), or the one pickle (``whole``).
    is_list : bool
        Whether y was a list.
    n_classes : int or None
        How many distinct values y has, where it has one dimension.
    """

    form: str
    shape: tuple[int, ...]
    values: npt.NDArray[Any] | None
    pickles: tuple[bytes, ...] = field(default=())
    is_list: bool = False
    n_classes: int | None = None

    @classmethod
    def from_values(cls, labels: Any, trains_itself: bool = False) -> Self:
        """Take y as a data set or its reader gives it; only in a sandbox.

        Parameters
        ----------
        labels : ndarray, list or Series; anything that has a length if `trains_itself`
        trains_itself : bool, optional
            Whether the data set's reader trains the submissions: then y is passed on unchanged
            and whole, and needn't be cut to rows.

        Raises
        ------
        ProgramError
            `data_error`, if y is something else.
        """
        if trains_itself and hasattr(labels, "__len__"):
            return cls("whole", (len(labels),), None, (_pickle(labels),))
        is_list = type(labels) is list
        array = _as_object_array(labels) if is_list else np.asarray(labels)
        if array.ndim == 0:
            raise ProgramError(FailureKind.DATA_ERROR, "y is a single value, not one per row.")
        if array.dtype == object:
            codes, pickles = _code_objects(array)
            n_classes = len(pickles) if array.ndim == 1 else None
            return cls("objects", array.shape, codes, pickles, is_list, n_classes)
        if not _DTYPE.fullmatch(array.dtype.str):
            raise ProgramError(
                FailureKind.DATA_ERROR,
                f"y is of dtype {array.dtype}; use numbers, booleans, texts or objects.",
            )
        n_classes = len(np.unique(array)) if array.ndim == 1 else None
        return cls("array", array.shape, array, is_list=False, n_classes=n_classes)

    @classmethod
    def read(cls, descriptor: int) -> Self:
        """Read labels; nothing is unpickled.

        Raises
        ------
        PartError
            If the file holds no labels.
        """
        with open_part(descriptor) as (header, blocks):
            try:
                return cls._read(header, blocks)
            except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
                raise PartError(f"It holds no labels ({error}).") from error

    @classmethod
    def _read(cls, header: Mapping[str, Any], blocks: Sequence[memoryview]) -> Self:
        shape = _check_shape(header["shape"])
        n_classes = header["n_classes"]
        if n_classes is not None and type(n_classes) is not int:
            raise ValueError("n_classes is no whole number")
        if header["form"] == "whole":
            return cls("whole", shape, None, (bytes(blocks[0]),))
        values = _read_array(blocks[0], header["dtype"], shape)
        if header["form"] == "array":
            return cls("array", shape, values, n_classes=n_classes)
        ends = _read_array(blocks[1], "<i8", (blocks[1].nbytes // 8,))
        pickles = tuple(_cut(blocks[2], ends.tolist()))
        if values.dtype != np.int64 or (
            values.size and not 0 <= values.min() <= values.max() < len(pickles)
        ):
            raise ValueError("its codes name no values")
        return cls("objects", shape, values, pickles, header["is_list"] is True, n_classes)

    def write(self, descriptor: int) -> int:
        """Write the labels into an empty file; returns the bytes written."""
        header: dict[str, Any] = {
            "form": self.form,
            "shape": list(self.shape),
            "is_list": self.is_list,
            "n_classes": self.n_classes,
        }
        if self.values is None:
            return write_part(descriptor, header, list(self.pickles))
        header["dtype"] = self.values.dtype.str
        # Neither texts nor times can be exported as buffers of their own type.
        raw = np.ascontiguousarray(self.values).reshape(-1).view(np.uint8).data
        blocks: list[Buffer] = [raw]
        if self.form == "objects":
            ends = np.cumsum([len(stream) for stream in self.pickles], dtype="<i8")
            blocks += [ends.tobytes(), b"".join(self.pickles)]
        return write_part(descriptor, header, blocks)

    def take(self, rows: npt.NDArray[np.int64]) -> "Labels":
        """Cut the labels to some rows; a row may be taken more than once.

        Raises
        ------
        PartError
            If they can't be cut, or there is no such row.
        """
        if self.values is None:
            raise PartError("These labels can only be had whole.")
        if rows.size and not 0 <= rows.min() <= rows.max() < self.n_rows:
            raise PartError(f"A train row is outside the {self.n_rows} rows of the train set.")
        values = self.values[rows]
        if self.form == "array":
            return Labels("array", values.shape, values, n_classes=self.n_classes)
        used, codes = np.unique(values, return_inverse=True)
        return Labels(
            "objects",
            values.shape,
            codes.reshape(values.shape).astype(np.int64),
            tuple(self.pickles[code] for code in used),
            self.is_list,
            self.n_classes,
        )

    def load(self) -> Any:
        """Give y as it was; only in a sandbox.

        Returns
        -------
        ndarray or list; what the reader gave, if it trains by itself
        """
        if self.values is None:
            return pickle.loads(self.pickles[0])  # noqa: S301 - in a sandbox
        if self.form == "array":
            return self.values
        values = np.empty(len(self.pickles), dtype=object)
        for code, stream in enumerate(self.pickles):
            values[code] = pickle.loads(stream)  # noqa: S301 - in a sandbox
        objects = values[self.values]
        return list(objects) if self.is_list else objects

    @property
    def n_rows(self) -> int:
        """How many rows have labels."""
        return self.shape[0]

    @property
    def is_whole(self) -> bool:
        """Whether the labels can't be cut to rows, because the reader trains by itself."""
        return self.form == "whole"


def dump_labels(descriptor: int, labels: Any, trains_itself: bool = False) -> int:
    """Write y; parameters and errors as in `Labels.from_values`. Returns its number of rows."""
    checked = Labels.from_values(labels, trains_itself)
    checked.write(descriptor)
    return checked.n_rows


def _read_header(mapping: mmap.mmap, size: int) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    length = int.from_bytes(mapping[8:16], "little")
    if mapping[:8] != MAGIC or length > min(size, MAX_HEADER):
        raise PartError("It is no part of a data set.")
    try:
        header = json.loads(mapping[16 : 16 + length])
        places = [_check_place(place) for place in header["blocks"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise PartError(f"Its header can't be read ({error}).") from error
    start = _round_up(16 + length)
    if any(start + offset + n_bytes > size for offset, n_bytes in places):
        raise PartError("It was cut off.")
    return header, [(start + offset, start + offset + n_bytes) for offset, n_bytes in places]


def _check_place(place: Any) -> tuple[int, int]:
    offset, size = place
    if type(offset) is not int or type(size) is not int or min(offset, size) < 0:
        raise ValueError("a block has no place")
    return offset, size


def _check_shape(shape: Any) -> tuple[int, ...]:
    if not 1 <= len(shape) <= _MAX_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("its shape is none")
    return tuple(shape)


def _check_dtype(dtype: str) -> np.dtype[Any]:
    """Give a dtype that can hold no objects."""
    if not _DTYPE.fullmatch(dtype):
        raise ValueError(f"dtype {dtype[:20]!r} is none of ours")
    return np.dtype(dtype)


def _read_array(block: memoryview, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Copy an array out of a block."""
    kind = _check_dtype(dtype)
    if prod(shape) * kind.itemsize != block.nbytes:
        raise ValueError(f"{block.nbytes} bytes are not {shape} of {dtype}")
    return np.frombuffer(block, kind).reshape(shape).copy()


def _cut(block: memoryview, ends: Sequence[int]) -> Iterator[bytes]:
    start = 0
    for end in ends:
        if not start <= end <= block.nbytes:
            raise ValueError("its values have no places")
        yield bytes(block[start:end])
        start = end


def _as_object_array(values: list[Any]) -> npt.NDArray[Any]:
    array = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        array[row] = value
    return array


def _code_objects(array: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], tuple[bytes, ...]]:
    numbers: dict[bytes, int] = {}
    by_text: dict[str, int] = {}
    codes = np.empty(array.size, dtype=np.int64)
    for place, value in enumerate(array.ravel()):
        code = by_text.get(value) if type(value) is str else None
        if code is None:
            code = numbers.setdefault(_pickle(value), len(numbers))
            if type(value) is str:
                by_text[value] = code
        codes[place] = code
    return codes.reshape(array.shape), tuple(numbers)


def _pickle(value: object, buffers: list[pickle.PickleBuffer] | None = None) -> bytes:
    try:
        if buffers is None:
            return pickle.dumps(value, protocol=5)
        return pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise ProgramError(
            FailureKind.DATA_ERROR, f"X or y holds something that can't be stored: {error}."
        ) from error


def _round_up(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
