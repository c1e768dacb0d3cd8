import numpy as np
import pytest

from mammofast.training.cropping import Cropping


def truth_with(shape, **boxes):
    truth = np.zeros(shape, np.uint8)
    for value, (rows, cols) in enumerate(boxes.values(), start=1):
        truth[rows, cols] = value
    return truth


@pytest.mark.parametrize("shape", [(40, 50), (16, 50), (9, 7), (16, 16)])
@pytest.mark.parametrize("size, margin", [((16, 16), 0), ((12, 20), 0), ((24, 24), 5)])
@pytest.mark.parametrize("balanced", [False, True])
def test_a_crop_is_of_the_image_and_its_truth(shape, size, margin, balanced):
    rng = np.random.default_rng(0)
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    truth = truth_with(shape, mass=(slice(2, 5), slice(1, 4)))
    cropping = Cropping(size, margin)
    for _ in range(50):
        row, col = cropping.draw(truth, balanced, rng)
        part, classes = cropping.cut(image, truth, (row, col))
        assert part.shape == (1, *size)
        assert classes.shape == cropping.inner == (size[0] - 2 * margin, size[1] - 2 * margin)
        # As NumPy pads by reflection, however far it must reach.
        padded = np.pad(image[0], 64, mode="reflect")
        window = padded[64 + row - margin :, 64 + col - margin :][: size[0], : size[1]]
        assert np.array_equal(part[0], window)
        assert np.array_equal(
            classes, np.pad(truth, 64, mode="reflect")[64 + row :, 64 + col :][: classes.shape[0], : classes.shape[1]]
        )
        for start, inner, whole in zip((row, col), cropping.inner, shape, strict=True):
            assert 0 <= start <= max(whole - inner, 0), "within the image where it fits"


def test_balanced_crops_show_each_class_as_often():
    """P3: of the classes but the background one is drawn, large or small, and one of its pixels is the centre."""
    truth = truth_with((200, 200), large=(slice(20, 90), slice(20, 90)), small=(slice(150, 153), slice(150, 153)))
    cropping, rng = Cropping((9, 9)), np.random.default_rng(1)
    origins = [cropping.draw(truth, True, rng) for _ in range(400)]
    centres = [int(truth[row + 4, col + 4]) for row, col in origins]
    assert min(centres) > 0
    assert 150 < centres.count(2) < 250
    plain = [cropping.draw(truth, False, rng) for _ in range(400)]
    assert np.mean([truth[row + 4, col + 4] > 0 for row, col in plain]) < 0.3


def test_without_a_class_every_place_is_drawn():
    truth = np.zeros((6, 5), np.uint8)
    truth[0, 0] = 255  # does not count
    cropping, rng = Cropping((3, 3)), np.random.default_rng(0)
    assert {cropping.draw(truth, True, rng) for _ in range(300)} == {(r, c) for r in range(4) for c in range(3)}


def test_a_whole_image_is_continued_to_what_the_network_takes():
    image = np.random.default_rng(0).random((1, 21, 40), dtype=np.float32)
    whole = Cropping((32, 32), margin=4, stride=8).whole(image)
    # 24 of 32 rows get values: enough for 21; 40 columns need 24 + 2 · 8.
    assert whole.shape == (1, 32, 48)
    assert np.array_equal(whole[0], np.pad(image[0], ((4, 7), (4, 4)), mode="reflect"))
