import base64
import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datarun_client import codec
from datarun_client.errors import CodecError

MEGABYTE = 1 << 20
floats = hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=20))
indices = hnp.arrays(np.int64, st.integers(0, 50))


@given(st.binary(max_size=5000))
def test_a_file_comes_back_as_it_was(data):
    assert codec.decode_bytes(codec.encode_bytes(data), MEGABYTE) == data


@given(indices)
def test_row_numbers_come_back_as_they_were(rows):
    found = codec.decode_indices(codec.encode_indices(rows))

    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, rows)


@given(floats)
def test_predictions_come_back_bit_for_bit(values):
    found = codec.decode_predictions(codec.encode_predictions(values), values.shape)

    assert found.tobytes() == np.ascontiguousarray(values).tobytes()


def test_what_hardly_gets_smaller_is_not_compressed():
    rng = np.random.default_rng(0)
    share = rng.random(50_000)
    probabilities = np.stack([share, 1 - share], axis=1)

    packed = codec.pack_predictions(probabilities)

    assert probabilities.tobytes()[:1000] in packed
    assert len(packed) < 1.001 * probabilities.nbytes
    np.testing.assert_array_equal(codec.unpack_predictions(packed, (50_000, 2)), probabilities)


def test_what_gets_smaller_is_compressed():
    rng = np.random.default_rng(0)
    votes = rng.integers(0, 11, (50_000, 2)) / 10

    assert len(codec.pack_predictions(votes)) < votes.nbytes / 3


def test_predictions_in_fortran_order_travel_in_c_order():
    values = np.asfortranarray(np.arange(12.0).reshape(3, 4))

    found = codec.decode_predictions(codec.encode_predictions(values), (3, 4))

    np.testing.assert_array_equal(found, values)


def test_a_platform_that_knows_only_the_rows_learns_the_columns():
    text = codec.encode_predictions(np.arange(12.0).reshape(3, 4))

    assert codec.decode_predictions(text, (3, -1)).shape == (3, 4)


def test_the_wire_is_base64_of_zlib_of_little_endian_bytes():
    text = codec.encode_indices([1, 256])

    raw = zlib.decompress(base64.b64decode(text))

    assert raw == bytes([1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0])


@given(st.binary(max_size=2000), st.integers(1, 1000), st.integers(0, 9), st.integers(1, MEGABYTE))
def test_any_zlib_stream_is_read_in_any_pieces(content, times, level, length):
    data = content * times
    stream = zlib.compress(data, level)
    pieces = [stream[start : start + length] for start in range(0, len(stream), length)]

    assert b"".join(codec.unpack_chunks(pieces, 3 * MEGABYTE)) == data


@given(st.binary(max_size=500), st.integers(0, 9), st.data())
def test_a_stream_with_a_wrong_bit_is_never_read_as_something_else(data, level, draw):
    stream = bytearray(zlib.compress(data, level))
    bit = draw.draw(st.integers(0, 8 * len(stream) - 1))
    stream[bit // 8] ^= 1 << bit % 8

    try:
        found = codec.unpack(bytes(stream), MEGABYTE)
    except CodecError:
        return
    # Some bits of its header say nothing of what is in it.
    assert found == data


@given(st.binary(max_size=200))
def test_garbage_is_a_codec_error_and_nothing_else(data):
    for text in (base64.b64encode(data).decode(), data.decode("latin-1")):
        try:
            codec.decode_bytes(text, MEGABYTE)
        except CodecError:
            continue


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("§§§", "not base64"),
        ("QUJD=", "not base64"),
        ("QQ==QQ==", "not base64"),
        ("AAAA", "not a zlib stream"),
        (base64.b64encode(zlib.compress(b"abc")[:-3]).decode(), "cut off"),
        (base64.b64encode(zlib.compress(b"abc") + b"more").decode(), "after the end"),
        (base64.b64encode(zlib.compress(bytes(2 * MEGABYTE))).decode(), "larger than"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(text, message):
    with pytest.raises(CodecError, match=message):
        codec.decode_bytes(text, MEGABYTE)


def test_a_bomb_is_refused_before_it_unfolds():
    bomb = zlib.compress(bytes(64 * MEGABYTE))

    pieces = codec.unpack_chunks(bomb, 3 * MEGABYTE)

    with pytest.raises(CodecError, match="larger"):
        assert sum(len(piece) for piece in pieces) <= 3 * MEGABYTE


def test_indices_of_an_odd_number_of_bytes_are_refused():
    with pytest.raises(CodecError, match="multiple of 8"):
        codec.decode_indices(codec.encode_bytes(b"1234567"))


@pytest.mark.parametrize(
    "rows", [np.array([True, False]), np.zeros((2, 2), int), [0.5], np.array([1], np.uint64)]
)
def test_what_is_no_list_of_row_numbers_is_not_sent(rows):
    with pytest.raises(CodecError):
        codec.encode_indices(rows)


def test_an_empty_list_of_row_numbers_can_be_sent():
    assert codec.decode_indices(codec.encode_indices([])).shape == (0,)


def test_predictions_of_another_shape_are_refused():
    text = codec.encode_predictions(np.zeros((3, 2)))

    for shape in ((2, 2), (4, 2), (4, -1)):
        with pytest.raises(CodecError):
            codec.decode_predictions(text, shape)


def test_a_large_shape_is_no_permission_to_unpack_much():
    bomb = codec.pack(bytes(MEGABYTE))

    with pytest.raises(CodecError, match="becomes larger than 1000 bytes"):
        codec.unpack_predictions(bomb, [2**31, 2**31], max_bytes=1000)


def test_predictions_become_an_npy_file():
    values = np.arange(6.0).reshape(3, 2)

    content = b"".join(codec.unpack_npy_chunks(codec.pack_predictions(values), [3, 2]))

    assert len(content) == codec.measure_npy([3, 2])
    np.testing.assert_array_equal(np.load(io.BytesIO(content)), values)


def test_predictions_are_finite_or_not():
    assert codec.is_finite(np.array([1e308, 1e308]))
    assert not codec.is_finite(np.array([1.0, np.inf]))
