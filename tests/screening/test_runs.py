import contextlib
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mammofast.screening.runs import decode_mask, encode_mask

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=40))


def plain_encode(mask):
    """The definition, pixel by pixel."""
    lengths, value, run = [], False, 0
    for pixel in mask.ravel().tolist():
        if pixel != value:
            lengths.append(run)
            value, run = pixel, 0
        run += 1
    if mask.size:
        lengths.append(run)
    out = bytearray()
    for length in lengths:
        while length >= 128:
            out.append(length % 128 + 128)
            length //= 128
        out.append(length)
    return bytes(out)


@settings(max_examples=500, deadline=None)
@given(masks)
def test_round_trip_and_definition(mask):
    encoded = encode_mask(mask)
    assert encoded == plain_encode(mask)
    decoded = decode_mask(encoded, mask.shape)
    assert decoded.dtype == bool
    assert np.array_equal(decoded, mask)


@pytest.mark.parametrize("shape", [(1, 127), (1, 128), (1, 16383), (1, 16384), (1, 2**21 - 1), (4096, 3328)])
@pytest.mark.parametrize("value", [False, True])
def test_lengths_at_the_edges_of_their_bytes(shape, value):
    mask = np.full(shape, value)
    assert np.array_equal(decode_mask(encode_mask(mask), shape), mask)
    mask[-1, -1] ^= True
    assert np.array_equal(decode_mask(encode_mask(mask), shape), mask)


def test_known_bytes():
    assert encode_mask(np.zeros((0, 7), bool)) == b""
    assert encode_mask(np.zeros((2, 3), bool)) == b"\x06"
    assert encode_mask(np.ones((2, 3), bool)) == b"\x00\x06"
    assert encode_mask(np.ones((10, 30), bool)) == b"\x00\xac\x02"


def test_a_view_gives_the_bytes_of_its_copy():
    mask = np.random.default_rng(0).random((40, 60)) > 0.5
    assert encode_mask(mask.T[::-2, ::3]) == encode_mask(mask.T[::-2, ::3].copy())


def test_a_checkerboard_and_a_disc_stay_small():
    y, x = np.ogrid[:800, :800]
    disc = (x - 400) ** 2 + (y - 400) ** 2 < 390**2
    assert len(encode_mask(disc)) < 4 * 800


@pytest.mark.parametrize(
    ("encoded", "shape", "words"),
    [
        (b"\x05", (2, 3), "2 x 3"),
        (b"\x07", (2, 3), "2 x 3"),
        (b"", (2, 3), "2 x 3"),
        (b"\x06\x00\x01", (2, 3), "2 x 3"),
        (b"\x86", (2, 3), "end within"),
        (b"\x06\x80", (2, 3), "end within"),
        (b"\xff" * 9 + b"\x01", (2, 3), "more than 9"),
        # Two lengths whose sum is 6 modulo 2**64.
        (b"\xff" * 8 + b"\x7f" + b"\xff" * 8 + b"\x7f" + b"\x08", (2, 3), "2 x 3"),
    ],
)
def test_forged_bytes_are_refused(encoded, shape, words):
    with pytest.raises(ValueError, match=words):
        decode_mask(encoded, shape)


@pytest.mark.parametrize("mask", [np.zeros((2, 3), np.uint8), np.zeros(6, bool), np.zeros((1, 2, 3), bool)])
def test_what_is_no_mask_is_refused(mask):
    with pytest.raises(ValueError, match=re.escape(str(mask.shape))):
        encode_mask(mask)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=12), st.tuples(st.integers(0, 30), st.integers(0, 30)))
def test_any_bytes_give_a_mask_or_a_value_error(encoded, shape):
    with contextlib.suppress(ValueError):
        assert decode_mask(encoded, shape).shape == shape
