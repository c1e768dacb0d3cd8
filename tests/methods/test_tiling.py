"""Tiles along an axis: every pixel once, with all the context it needs, for every geometry there is."""

import itertools
import math

import numpy as np
import pytest

from mammofast.methods.tiling import extended_size, lay_tiles, mirrored

GEOMETRIES = [
    # tile, stride, halo, margin
    (8, 1, 2, 0),
    (8, 1, 0, 0),
    (64, 16, 20, 0),
    (64, 8, 24, 0),
    (60, 16, 0, 12),
    (60, 16, 12, 12),
    (60, 8, 15, 12),
    (5, 1, 2, 2),
]


@pytest.mark.parametrize(("tile", "stride", "halo", "margin"), GEOMETRIES)
def test_every_pixel_is_kept_once_with_its_context(tile, stride, halo, margin):
    inner = tile - 2 * margin
    for size in range(1, 5 * tile):
        pieces = lay_tiles(size, tile, stride, halo, margin)
        extended = extended_size(size, tile, stride, margin)
        assert extended >= max(size, inner)
        assert extended - stride < size or extended == inner
        assert (extended - inner) % stride == 0
        kept = list(itertools.chain.from_iterable(range(piece.start, piece.stop) for piece in pieces))
        assert kept == list(range(size))
        for piece in pieces:
            assert piece.origin % stride == 0
            assert 0 <= piece.origin <= extended - inner
            assert piece.start < piece.stop
            # What the network reads of this tile and of the whole extended image with its margins.
            first, last = piece.origin - margin, piece.origin - margin + tile
            at_start, at_stop = piece.origin == 0, piece.origin + inner == extended
            assert at_start or piece.start >= first + max(halo, margin)
            assert at_stop or piece.stop <= last - max(halo, margin)


@pytest.mark.parametrize(("tile", "stride", "halo", "margin"), GEOMETRIES)
def test_tiles_are_the_fewest(tile, stride, halo, margin):
    inner = tile - 2 * margin
    widest = (inner - 2 * max(halo - margin, 0)) // stride * stride
    for size in range(1, 5 * tile):
        pieces = lay_tiles(size, tile, stride, halo, margin)
        last = extended_size(size, tile, stride, margin) - inner
        assert len(pieces) == math.ceil(last / widest) + 1


def test_tiles_share_the_context_evenly():
    pieces = lay_tiles(300, 128, 16, 24)
    assert [piece.origin for piece in pieces] == [0, 48, 112, 176]
    assert [piece.start for piece in pieces] == [0, 88, 144, 208]


def test_a_tile_without_room_for_its_halo_serves_small_images_only():
    assert len(lay_tiles(64, 64, 8, 32)) == 1
    with pytest.raises(ValueError, match="expected tiles of at least 65 pixels"):
        lay_tiles(65, 64, 8, 32)
    with pytest.raises(ValueError, match="expected tiles of at least 72 pixels"):
        lay_tiles(500, 64, 8, 32)
    with pytest.raises(ValueError, match="expected tiles of at least 104 pixels"):
        lay_tiles(500, 64, 8, 48, margin=24)


def test_a_network_that_sees_the_whole_image_has_it_in_one_tile():
    assert len(lay_tiles(64, 64, 8, None)) == 1
    with pytest.raises(ValueError, match=r"halo of the whole image.*at least 500 pixels"):
        lay_tiles(500, 64, 8, None)


@pytest.mark.parametrize("size", [1, 2, 3, 10])
@pytest.mark.parametrize(("before", "after"), [(0, 0), (3, 0), (0, 25), (40, 17)])
def test_mirroring_is_numpys_reflection(size, before, after):
    values = np.arange(size) * 7
    expected = np.pad(values, (before, after), mode="reflect")
    np.testing.assert_array_equal(values[mirrored(-before, size + after, size)], expected)
