"""Measures of masks over images, against sums by hand."""

import json

import numpy as np
import pytest

from mammofast.evaluation import (
    confusion_matrix,
    dice,
    evaluate,
    iou,
    mean_class_accuracy,
    mean_iou,
    pixel_accuracy,
    relative_area_difference,
    sensitivity,
)
from mammofast.evaluation.segmentation import fit, summarize

SPACING = (0.1, 0.2)


def square(x, y, side, shape=(40, 40)):
    mask = np.zeros(shape, bool)
    mask[y : y + side, x : x + side] = True
    return mask


@pytest.fixture
def fits():
    return [
        fit("1", square(0, 0, 10), square(0, 0, 10), SPACING),
        fit("1", square(5, 0, 10), square(0, 0, 10), SPACING),
        fit("2", square(0, 0, 0), square(0, 0, 20), SPACING),
        fit("3", square(0, 0, 20), square(0, 0, 10), None),
    ]


def test_means_by_hand(fits):
    found = summarize(fits, samples=200, seed=0)
    assert found["n_images"] == 4
    # perfect; half of each; nothing found; four times too large, and 10 px away from it at the far corner
    expected = {
        "dice": [1, 0.5, 0, 2 * 100 / 500],
        "iou": [1, 50 / 150, 0, 100 / 400],
        "sensitivity": [1, 0.5, 0, 1],
        "relative_area_difference": [0, 0, 1, 3],
        "hausdorff_px": [0, 5, 10 * 2**0.5],
        "hausdorff_mm": [0, 5 * 0.2],
    }
    for name, values in expected.items():
        got = found["per_image"][name]
        assert got["mean"] == pytest.approx(np.mean(values)), name
        assert got["n"] == len(values), name
    assert found["per_image"]["hausdorff_mm"]["interval"] is None  # of one study
    low, high = found["per_image"]["dice"]["interval"]
    assert 0 <= low < np.mean(expected["dice"]) < high <= 1


def test_pooled_by_hand(fits):
    both, predicted, true = 100 + 50 + 0 + 100, 100 + 100 + 0 + 400, 100 + 100 + 400 + 100
    assert summarize(fits, 10, 0)["pooled"] == {
        "dice": 2 * both / (predicted + true),
        "iou": both / (predicted + true - both),
        "sensitivity": both / true,
        "relative_area_difference": abs(predicted - true) / true,
    }


def test_no_image_with_a_mass():
    found = summarize([], 10, 0)
    assert found["pooled"] is None
    assert {cell["mean"] for cell in found["per_image"].values()} == {None}
    json.dumps(found, allow_nan=False)


def test_a_thousand_sets_of_masks_are_those_of_confusion_matrices():
    """P3's measures, pooled and image by image, and pooled Dice and IoU, by the public functions of one array."""
    rng = np.random.default_rng(0)
    for case in range(1000):
        sizes = rng.integers(1, 6, size=(rng.integers(1, 5), 2))
        pairs = [[rng.random(size) < rng.choice([0, 0.2, 0.7, 1]) for _ in range(2)] for size in sizes]
        found = summarize([fit(str(i), p, t, None) for i, (p, t) in enumerate(pairs)], samples=5, seed=case)
        matrices = [confusion_matrix(p.astype(int), t.astype(int), 2) for p, t in pairs]
        public = {"pixel_accuracy": pixel_accuracy, "mean_iou": mean_iou, "mean_class_accuracy": mean_class_accuracy}
        for name, measure in public.items():
            assert found["classes"][name] == pytest.approx(measure(sum(matrices)), abs=1e-6)
            mean = np.mean([measure(matrix) for matrix in matrices])
            assert found["classes_per_image"][name]["mean"] == pytest.approx(mean, abs=1e-6)
        diseased = [(p.ravel(), t.ravel()) for p, t in pairs if t.any()]
        assert found["n_images"] == len(diseased)
        if not diseased:
            assert found["pooled"] is None
            continue
        p, t = (np.concatenate(side) for side in zip(*diseased, strict=True))
        for name, measure in (
            ("dice", dice), ("iou", iou), ("sensitivity", sensitivity),
            ("relative_area_difference", relative_area_difference),
        ):  # fmt: skip
            assert found["pooled"][name] == pytest.approx(measure(p, t), abs=1e-6)
            each = [measure(*pair) for pair in diseased]
            assert found["per_image"][name]["mean"] == pytest.approx(np.mean(each), abs=1e-6)


def test_intervals_of_all_pixels_together(fits):
    """Each of four patients' images as often as it was drawn, all pixels in one array."""
    found = summarize(fits, samples=40, seed=3)
    sums = {"1": (150, 200, 200), "2": (0, 0, 400), "3": (100, 400, 100)}
    drawn = []
    for counts in np.random.default_rng(3).multinomial(3, [1 / 3] * 3, size=40):
        both, predicted, true = (sum(n * s[i] for n, s in zip(counts, sums.values(), strict=True)) for i in range(3))
        drawn.append([2 * both / (predicted + true), abs(predicted - true) / true])
    expected = np.percentile(drawn, [2.5, 97.5], axis=0).T
    assert found["pooled_intervals"]["dice"] == pytest.approx(expected[0].tolist(), abs=1e-6)
    assert found["pooled_intervals"]["relative_area_difference"] == pytest.approx(expected[1].tolist(), abs=1e-6)


def test_from_a_ledger(filled, ledger, tmp_path):
    measures = evaluate(ledger.path, tmp_path / "truth", masks=True)
    assert measures["masks"]["n_images"] == 3
    assert measures["masks"]["per_image"]["dice"]["mean"] == pytest.approx(measures["dice_mean"])
    # Image 1: a second finding, 20 px down and right of the mass; image 2: found 10 of 20 rows, missed the other mass.
    distances = [20 * 2**0.5, (30**2 + 30**2) ** 0.5]
    assert measures["masks"]["per_image"]["hausdorff_px"]["mean"] == pytest.approx(np.mean(distances))
    assert measures["masks"]["per_image"]["hausdorff_mm"]["mean"] == pytest.approx(0.1 * np.mean(distances))
    assert "masks" not in evaluate(ledger.path, tmp_path / "truth")
