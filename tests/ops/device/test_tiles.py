"""Tiles against NumPy's own padding by reflection, and maps against slices."""

import numpy as np
import pytest

from mammofast.ops import device


def cut_by_numpy(image, origin, shape, mean, std):
    """A tile of an image that NumPy has mirrored as far as the tile reaches."""
    reach = max(*(abs(place) for place in origin), *(place + side for place, side in zip(origin, shape, strict=True)))
    for axis in range(2):
        before, width = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
        width[axis] = (reach, reach)
        before[axis] = width[axis]
        image = np.pad(image, width, mode="edge" if image.shape[axis] == 1 else "reflect")
    top, left = (place + reach for place in origin)
    tile = image[top : top + shape[0], left : left + shape[1]]
    scales = zip(np.float32(mean), np.float32(std), strict=True)
    return np.stack([(tile - m) / s for m, s in scales])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_tiles_equal_numpys_reflection(device_backend, dtype):
    rng = np.random.default_rng(1)
    cut = device_backend(device.cut_tiles)
    for shape, channels in [((7, 9), 1), ((16, 33), 3), ((1, 1), 8)]:
        sizes = [(1, 1), (1, 40), (30, 2), (50, 61), (3, 5)]
        images = [rng.random(size).astype(np.float32) for size in sizes]
        images += images[3:] * 30  # more tiles than a launch takes
        origins = [tuple(int(v) for v in rng.integers(-30, 70, 2)) for _ in images]
        mean, std = rng.random(channels).tolist(), (rng.random(channels) + 0.5).tolist()
        got = cut(images, origins, shape, mean, std, dtype=dtype)
        expected = np.stack(
            [cut_by_numpy(image, origin, shape, mean, std) for image, origin in zip(images, origins, strict=True)]
        )
        assert got.dtype == dtype
        assert got.tobytes() == expected.astype(dtype).tobytes()


def test_one_tile_that_is_the_image_is_the_image(device_backend):
    image = np.random.default_rng(2).random((40, 24)).astype(np.float32)
    got = device_backend(device.cut_tiles)([image], [(0, 0)], image.shape, dtype=np.float32)
    assert got.tobytes() == image.tobytes()


def test_writes_where_it_is_told(device_backend):
    image = np.ones((4, 4), np.float32)
    cut = device_backend(device.cut_tiles)
    got = cut([image], [(1, 2)], (3, 3), dtype=np.float32, out=np.full((1, 1, 3, 3), 9, np.float32))
    assert (got == 1).all()
    with pytest.raises(ValueError, match=r"out: got float32 of shape \(1, 3, 3\), expected float32 of shape"):
        cut([image], [(1, 2)], (3, 3), dtype=np.float32, out=np.zeros((1, 3, 3), np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": [np.zeros((0, 3), np.float32)]}, r"images\[0\]: got float32 of shape \(0, 3\), expected at least"),
        ({"images": [np.zeros((3, 3))]}, r"images\[0\]: got float64 .*expected float32"),
        ({"origins": [(0, 0), (1, 1)]}, "origins: got .*expected 2 integers for each of 1 tiles"),
        ({"origins": [(0, 0, 0)]}, "origins: got .*expected 2 integers for each of 1 tiles"),
        ({"shape": (0, 3)}, "shape"),
        ({"mean": [0.0] * 9, "std": [1.0] * 9}, "mean, std: got 9 and 9 of them, expected one for each of 1 to 8"),
        ({"mean": [0.0, 1.0]}, "mean, std: got 2 and 1"),
        ({"dtype": np.float64}, "dtype: got float64, expected float16 or float32"),
    ],
)
def test_bad_tiles(device_backend, change, message):
    good = {"images": [np.zeros((3, 3), np.float32)], "origins": [(0, 0)], "shape": (2, 2)}
    with pytest.raises(ValueError, match=message):
        device_backend(device.cut_tiles)(**{**good, **change})


def stitched(tiles, maps, *arguments, **keywords):
    """The status, and the maps with what was written."""
    return device.stitch_tiles(tiles, maps, *arguments, **keywords), maps


stitched.__module__ = device.stitch_tiles.__module__  # waits for nothing


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_maps_hold_what_is_kept_of_each_tile(device_backend, dtype):
    rng = np.random.default_rng(3)
    k, rows, cols = 150, 12, 17
    tiles = rng.random((k, rows, cols)).astype(dtype)
    maps, origins, kept, expected = [], [], [], []
    for i in range(k):
        shape = tuple(rng.integers(20, 60, 2))
        top, left = (int(rng.integers(-5, size)) for size in shape)
        y = np.sort(rng.integers(max(top, 0), min(top + rows, shape[0]) + 1, 2))
        x = np.sort(rng.integers(max(left, 0), min(left + cols, shape[1]) + 1, 2))
        maps.append(np.full(shape, -1, np.float32))
        origins.append((top, left))
        kept.append((*map(int, y), *map(int, x)))
        wanted = maps[-1].copy()
        wanted[y[0] : y[1], x[0] : x[1]] = tiles[i, y[0] - top : y[1] - top, x[0] - left : x[1] - left]
        expected.append(wanted)
    status, got = device_backend(stitched)(tiles, maps, origins, kept)
    assert not status.any()
    for one, other in zip(got, expected, strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_values_that_are_not_as_they_should_be_show_kept_or_not(device_backend, dtype):
    tiles = np.full((7, 20, 30), 0.5, dtype)
    low, high = -0.25, 1.25
    tiles[1, 19, 29], tiles[2, 0, 0], tiles[3, 4, 4] = np.nan, -np.inf, high
    tiles[4, 7, 7], tiles[5, 0, 1] = np.nextafter(dtype(high), dtype(2)), np.nextafter(dtype(low), dtype(-1))
    tiles[6, 3, 3], tiles[6, 4, 3], tiles[0, 1, 1] = np.nan, 7, low
    maps = [np.zeros((20, 30), np.float32)] * 7
    status, _ = device_backend(stitched)(tiles, maps, [(0, 0)] * 7, [(5, 6, 5, 6)] * 7, (low, high))
    both = device.NOT_FINITE | device.UNSOUND
    assert status.tolist() == [0, device.NOT_FINITE, device.NOT_FINITE, 0, device.UNSOUND, device.UNSOUND, both]


@pytest.mark.parametrize(
    "kept", [(0, 3, 0, 1), (-1, 2, 0, 1), (0, 1, 0, 3), (0, 1, -1, 1), (3, 5, 0, 1)], ids=lambda kept: str(kept)
)
def test_what_is_kept_lies_in_the_tile_and_in_the_map(device_backend, kept):
    with pytest.raises(ValueError, match=r"kept\[0\]: got rows .* expected what both the tile at \(0, 0\) and"):
        device_backend(device.stitch_tiles)(
            np.zeros((1, 2, 2), np.float32), [np.zeros((4, 4), np.float32)], [(0, 0)], [kept]
        )


def test_no_tiles(device_backend):
    status = device_backend(device.stitch_tiles)(np.zeros((0, 2, 2), np.float32), [], [], [])
    assert status.shape == (0,)
