"""Reading predictions that a sandbox wrote: whatever it says, nothing is believed."""

import os
import tempfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datarun_client.states import FailureKind
from datarun_worker.errors import ProgramError
from datarun_worker.predictions import (
    check_predictions,
    convert_predictions,
    find_oddities,
    read_predictions,
    write_predictions,
)

LIMIT = 1 << 20
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=5,
)


@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=2, min_side=0)))
def test_predictions_come_back_bit_for_bit(predictions):
    with tempfile.TemporaryFile() as file:
        description = write_predictions(file.fileno(), predictions)
        read = read_predictions(file.fileno(), description, LIMIT)

    assert read.tobytes() == predictions.tobytes()
    assert read.shape == predictions.shape


@given(st.binary(max_size=64), JSON, JSON)
def test_a_forged_description_is_refused_or_fits(content, shape, dtype):
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            read = read_predictions(file.fileno(), {"shape": shape, "dtype": dtype}, LIMIT)
        except ProgramError:
            return
    assert read.tobytes() == content


@pytest.mark.parametrize(
    "shape",
    [
        [3],
        [-1, -2],
        [2**62, 4],
        [True, 2],
        [2.0],
        "2",
        None,
        [1] * 30,
        [0, 2**40],
        [0] + [LIMIT] * 7,
    ],
)
def test_a_shape_that_does_not_fit_the_file_is_refused(shape):
    with tempfile.TemporaryFile() as file:
        os.write(file.fileno(), bytes(16))

        with pytest.raises(ProgramError):
            read_predictions(file.fileno(), {"shape": shape, "dtype": "float64"}, LIMIT)


def test_predictions_that_are_too_large_are_refused_before_they_are_read():
    with tempfile.TemporaryFile() as file:
        file.truncate(2 * LIMIT)
        description = {"shape": [LIMIT // 4], "dtype": "float64"}

        with pytest.raises(ProgramError) as caught:
            read_predictions(file.fileno(), description, LIMIT)

    assert caught.value.kind is FailureKind.OUTPUT_LIMIT


class Hooked(np.ndarray):
    """A subclass with hooks, as row 54 of the hostile submissions."""

    def __array_finalize__(self, other):
        self.seen = True


def test_a_subclass_becomes_a_plain_array():
    converted = convert_predictions(np.ones((2, 2), dtype=np.float32).view(Hooked))

    assert type(converted) is np.ndarray
    assert converted.dtype == np.float64
    assert converted.flags.c_contiguous


def test_one_bad_value_is_told_as_one():
    predictions = np.ones((3, 2))
    predictions[1, 1] = np.nan

    with pytest.raises(ProgramError, match="1 value of them"):
        check_predictions(predictions, 3, is_classifier=True)


def test_probabilities_in_float32_are_no_oddity():
    thirds = np.full((5, 3), 1 / 3, dtype=np.float32).astype(np.float64)

    assert find_oddities(thirds, 3) == []
