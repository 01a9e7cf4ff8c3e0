"""Awkward CSV files: a fold sees what reading the whole file would give it, dtype for dtype."""

import io
import os
import zlib

import numpy as np
import pandas as pd
import pytest
from fold_runs import split_csv
from sklearn.model_selection import train_test_split

from datarun_client.states import FailureKind, WorkflowElement
from datarun_worker.parts import load_features, load_values
from datarun_worker.sandbox import SubmissionFailure
from datarun_worker.workflow import choose_form

ROWS = 10
CATEGORIES = ["red", "green", "blue", "green", "red", "red", "blue", "red", "green", "red"]
TEXTS = ["", "naïve", "日本", "a,b", '"q"', "line\nbreak", "NA", "null", "🙂", "x" * 300]

AWKWARD = {
    "missing": [1, None, 3, 4, None, 6, 7, 8, 9, 10],
    "missing_in_the_test_part_alone": [1, None, 3, 4, 5, 6, 7, 8, 9, 10],
    "mixed": [1, "two", 3.5, "four", 5, "", 7, "eight", 9, 10],
    "booleans": [True, False] * 5,
    "booleans_with_missing": [True, None, False, True, None] * 2,
    "dates": [f"2020-01-{day:02d}" for day in range(1, 11)],
    "categories": CATEGORIES,
    "unicode": TEXTS,
    "beyond_2_53": [2**53 + row for row in range(10)],
    "beyond_2_63": [2**63 + row for row in range(10)],
    "beyond_2_64": [2**64 + row for row in range(10)],
    "negative_and_beyond": [-1, *[2**63 + row for row in range(9)]],
    "small_floats": [0.1 * row for row in range(10)],
    "infinite": [float("inf"), float("-inf"), *range(8)],
    "empty": [None] * 10,
    "spaces": [f" {row} " for row in range(10)],
}


def read_part(folder, name, load=load_features):
    descriptor = os.open(folder / name, os.O_RDONLY)
    try:
        return load(descriptor)
    finally:
        os.close(descriptor)


def split_directly(content: str, target: str):
    data = pd.read_csv(io.StringIO(content))
    parts = train_test_split(data, test_size=0.3, random_state=42)
    return [part.reset_index(drop=True) for part in parts]


def assert_same_split(parts, content: str, target: str) -> None:
    for name, expected in zip(("train", "test"), split_directly(content, target), strict=True):
        X = read_part(parts.folder, f"X_{name}")
        pd.testing.assert_frame_equal(X, expected.drop(columns=target), check_exact=True)
        y = parts.labels(f"y_{name}").load()
        expected_y = expected[target].to_numpy()
        assert y.dtype == expected_y.dtype
        # The representations tell 1 from True, and let a NaN equal a NaN.
        assert list(map(repr, y)) == list(map(repr, expected_y))


@pytest.mark.parametrize("name", AWKWARD)
def test_an_awkward_column_keeps_its_dtype(program_engine, tmp_path, name):
    frame = pd.DataFrame({"a": range(ROWS), name: pd.Series(AWKWARD[name], dtype=object), "y": 1})
    content = frame.to_csv(index=False)

    parts = split_csv(program_engine, tmp_path, content, "y")

    assert_same_split(parts, content, "y")


@pytest.mark.parametrize("name", AWKWARD)
def test_an_awkward_column_may_be_the_target(program_engine, tmp_path, name):
    frame = pd.DataFrame({"a": range(ROWS), name: pd.Series(AWKWARD[name], dtype=object)})
    content = frame.to_csv(index=False)

    parts = split_csv(program_engine, tmp_path, content, name)

    assert_same_split(parts, content, name)


def test_all_awkward_columns_together_keep_their_order(program_engine, tmp_path):
    columns = {name: pd.Series(values, dtype=object) for name, values in AWKWARD.items()}
    content = pd.DataFrame({"z": 1.5, **columns, "a": range(ROWS)}).to_csv(index=False)

    parts = split_csv(program_engine, tmp_path, content, "booleans")

    assert_same_split(parts, content, "booleans")


def test_an_index_written_into_the_file_is_a_column(program_engine, tmp_path):
    content = pd.DataFrame({"a": range(5, 15), "y": 1}).to_csv()

    parts = split_csv(program_engine, tmp_path, content, "y")

    assert_same_split(parts, content, "y")
    assert list(read_part(tmp_path, "X_train").columns) == ["Unnamed: 0", "a"]


def test_a_compressed_file_is_read_as_its_name_says(program_engine, tmp_path):
    content = pd.DataFrame({"a": range(ROWS), "y": 1}).to_csv(index=False)
    packed = zlib.compress(content.encode(), wbits=31)

    parts = split_csv(program_engine, tmp_path, packed, "y", name="Data.CSV.GZ")

    assert_same_split(parts, content, "y")


def test_numbers_are_mapped_and_not_copied(program_engine, tmp_path):
    content = pd.DataFrame(np.ones((1000, 5)), columns=list("abcdy")).to_csv(index=False)
    split_csv(program_engine, tmp_path, content, "y")

    X = choose_form(read_part(tmp_path, "X_train"), [WorkflowElement.CLASSIFIER])
    values = read_part(tmp_path, "X_train", load_values)

    for array in (X, values):
        base = array
        while isinstance(base.base, np.ndarray):
            base = base.base
        assert isinstance(base.base, memoryview)
    np.testing.assert_array_equal(X, values)
    assert X.flags == values.flags


def test_changing_a_loaded_part_changes_nothing_on_disk(program_engine, tmp_path):
    content = pd.DataFrame(np.ones((100, 3)), columns=list("aby")).to_csv(index=False)
    split_csv(program_engine, tmp_path, content, "y")
    X = read_part(tmp_path, "X_train")

    X.iloc[:, :] = 7.0

    assert read_part(tmp_path, "X_train").to_numpy().sum() == X.size


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "No columns to parse"),
        (b"a,b\n1,2\n", "no column 'y'; the columns are a, b"),
        (b"y\n1\n2\n3\n", "no column but the target"),
        (b"a,y\n1,2\n3,4,5,6\n", "can't be read as CSV"),
        (b"a,y\n1,2\n", "The 1 rows can't be split"),
        (b"a,y\n\xff\xfe,2\n1,2\n", "can't be read as CSV"),
        (b"\x00\x01\x02", "no column 'y'"),
    ],
)
def test_a_broken_file_is_a_data_error(program_engine, tmp_path, content, words):
    with pytest.raises(SubmissionFailure) as caught:
        split_csv(program_engine, tmp_path, content, "y")

    assert caught.value.kind is FailureKind.DATA_ERROR
    assert words in caught.value.message
