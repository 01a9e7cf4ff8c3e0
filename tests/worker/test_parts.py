import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datarun_client.states import FailureKind
from datarun_worker.errors import PartError, ProgramError
from datarun_worker.parts import (
    MAGIC,
    Labels,
    dump_features,
    load_features,
    load_values,
    open_part,
    write_part,
)

DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(),
    hnp.unsigned_integer_dtypes(),
    hnp.floating_dtypes(),
    hnp.unicode_string_dtypes(max_len=5),
    hnp.byte_string_dtypes(max_len=5),
    hnp.datetime64_dtypes(),
)
OBJECTS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.tuples(st.text())
)


def write_labels(labels: Labels) -> Labels:
    with tempfile.TemporaryFile() as file:
        labels.write(file.fileno())
        return Labels.read(file.fileno())


@given(st.data())
def test_arrays_of_labels_come_back_and_are_cut(data):
    shape = data.draw(hnp.array_shapes(max_dims=3, max_side=6))
    labels = data.draw(hnp.arrays(data.draw(DTYPES), shape))
    rows = np.array(data.draw(st.lists(st.integers(0, shape[0] - 1))), dtype=np.int64)

    read = write_labels(Labels.from_values(labels))

    np.testing.assert_array_equal(read.load(), labels, strict=True)
    np.testing.assert_array_equal(write_labels(read.take(rows)).load(), labels[rows], strict=True)


@given(st.lists(OBJECTS, min_size=1), st.booleans(), st.data())
def test_objects_come_back_and_are_cut(values, as_list, data):
    labels = values
    if not as_list:
        labels = np.empty(len(values), dtype=object)
        labels[:] = values
    rows = data.draw(st.lists(st.integers(0, len(values) - 1)))

    read = write_labels(Labels.from_values(labels))
    cut = write_labels(read.take(np.array(rows, dtype=np.int64)))

    assert type(read.load()) is type(labels)
    assert repr(list(read.load())) == repr(values)
    assert repr(list(cut.load())) == repr([values[row] for row in rows])
    assert len(cut.pickles) <= len(set(rows))


@given(st.binary(max_size=300), st.booleans())
def test_a_broken_file_is_refused_and_nothing_else(content, has_magic):
    with tempfile.TemporaryFile() as file:
        file.write((MAGIC if has_magic else b"") + content)
        file.flush()

        with pytest.raises(PartError):
            Labels.read(file.fileno())


HEADER = {"form": "array", "shape": [2], "dtype": "<i8", "n_classes": 2, "is_list": False}


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "|O"},
        {"dtype": "<i8,O"},
        {"dtype": "object"},
        {"dtype": 3},
        {"dtype": "<U0", "shape": [2**40], "blocks": [b""]},
        {"shape": [3]},
        {"shape": [-2, -1]},
        {"shape": [2**62, 4]},
        {"shape": []},
        {"shape": "22"},
        {"shape": None},
        {"n_classes": "2"},
        {"form": "objects"},
        {"form": "whole", "blocks": []},
    ],
)
def test_a_forged_header_is_refused(change):
    with tempfile.TemporaryFile() as file:
        blocks = change.get("blocks", [bytes(16)])
        write_part(file.fileno(), {**HEADER, **change}, blocks)

        with pytest.raises(PartError):
            Labels.read(file.fileno())


def test_a_block_outside_the_file_is_refused(tmp_path):
    path = tmp_path / "part"
    with path.open("w+b") as file:
        write_part(file.fileno(), HEADER, [bytes(16)])
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)

        with pytest.raises(PartError, match="cut off"), open_part(file.fileno()):
            pass


def test_codes_that_name_no_value_are_refused():
    labels = Labels("objects", (2,), np.array([0, 5]), (b"N.",))

    with pytest.raises(PartError, match="name no values"):
        write_labels(labels)


@pytest.mark.parametrize("labels", [3, np.array([(1, 2)], dtype="i4,i4"), np.array([1j])])
def test_labels_of_another_kind_are_the_data_sets_fault(labels):
    if isinstance(labels, np.ndarray) and labels.dtype.kind == "c":
        assert Labels.from_values(labels).n_classes == 1
        return

    with pytest.raises(ProgramError) as caught:
        Labels.from_values(labels)

    assert caught.value.kind is FailureKind.DATA_ERROR


def test_labels_that_are_whole_cannot_be_cut():
    labels = write_labels(Labels.from_values({"a": 1}, trains_itself=True))

    assert labels.load() == {"a": 1}
    with pytest.raises(PartError):
        labels.take(np.array([0]))


def test_a_row_that_is_not_there_is_refused():
    labels = Labels.from_values(np.arange(3))

    for row in (-1, 3):
        with pytest.raises(PartError):
            labels.take(np.array([row]))


@given(
    st.one_of(
        hnp.arrays(np.float64, hnp.array_shapes(max_dims=2)),
        st.lists(st.integers()),
        st.dictionaries(st.text(), st.floats(allow_nan=False)),
    )
)
def test_features_come_back(features):
    with tempfile.TemporaryFile() as file:
        dump_features(file.fileno(), features)
        loaded = load_features(file.fileno())

    assert type(loaded) is type(features)
    np.testing.assert_equal(loaded, features)


@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.int64, np.bool_]),
        hnp.array_shapes(min_dims=2, max_dims=2),
    ),
    st.sampled_from("CF"),
)
def test_the_values_of_a_frame_come_without_it(array, order):
    # Given a frame of one dtype, however its values lie
    frame = pd.DataFrame(np.array(array, order=order), copy=False)

    # When its values are loaded by themselves
    with tempfile.TemporaryFile() as file:
        dump_features(file.fileno(), frame)
        values = load_values(file.fileno())

    # Then they are what the frame would give, and may be written to
    expected = frame.to_numpy()
    assert values.dtype == expected.dtype
    np.testing.assert_equal(values, expected)
    assert values.flags.f_contiguous == expected.flags.f_contiguous
    values[0] = 0


@pytest.mark.parametrize(
    "features",
    [
        np.eye(2),
        [1, 2],
        pd.DataFrame(),
        pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]}),
        pd.DataFrame({"a": ["x", "y"]}),
        pd.DataFrame({"a": pd.array([1, None], dtype="Int64")}),
        pd.DataFrame({"a": [object(), None]}).map(str).astype(object),
    ],
)
def test_other_features_have_no_values_by_themselves(features):
    with tempfile.TemporaryFile() as file:
        dump_features(file.fileno(), features)

        assert load_values(file.fileno()) is None


@pytest.mark.parametrize(
    "change",
    [
        {"block": 9},
        {"dtype": "|O8"},
        {"shape": [9, 9]},
        {"order": "Z"},
        {"shape": "2"},
        {"block": -9},
    ],
)
def test_values_in_a_forged_place_are_refused(change):
    place = {"block": 1, "dtype": "<f8", "shape": [2, 2], "order": "C", **change}
    with tempfile.TemporaryFile() as file:
        write_part(file.fileno(), {"form": "pickle", "values": place}, [b"", np.eye(2).tobytes()])

        with pytest.raises(PartError):
            load_values(file.fileno())


def test_features_that_cannot_be_stored_are_the_data_sets_fault(tmp_path):
    with (tmp_path / "part").open("w+b") as file, pytest.raises(ProgramError) as caught:
        dump_features(file.fileno(), [lambda row: row])

    assert caught.value.kind is FailureKind.DATA_ERROR


def test_an_empty_file_is_no_part(tmp_path: Path):
    (tmp_path / "part").touch()
    descriptor = os.open(tmp_path / "part", os.O_RDONLY)
    with pytest.raises(PartError):
        load_features(descriptor)
    os.close(descriptor)


def test_a_frame_of_several_dtypes_comes_back(tmp_path):
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.Categorical(["u", "v"])})
    with (tmp_path / "part").open("w+b") as file:
        dump_features(file.fileno(), frame)

        pd.testing.assert_frame_equal(load_features(file.fileno()), frame)
