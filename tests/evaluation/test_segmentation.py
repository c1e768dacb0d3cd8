"""Measures of masks over images, against sums by hand."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from mammofast.cli import main
from mammofast.evaluation import evaluate
from mammofast.evaluation.papers import REPORTED
from mammofast.evaluation.segmentation import MEASURES, fit, summarize

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


def test_what_the_papers_report_is_named_as_ours():
    for reported in REPORTED:
        assert set(reported.values) <= set(MEASURES)
        assert all(0 < value < 1 for value in reported.values.values())


def test_from_a_ledger_to_a_table(filled, ledger, tmp_path):
    measures = evaluate(ledger.path, tmp_path / "truth", masks=True)
    assert measures["masks"]["n_images"] == 3
    assert measures["masks"]["per_image"]["dice"]["mean"] == pytest.approx(measures["dice_mean"])
    # Image 1: a second finding, 20 px down and right of the mass; image 2: found 10 of 20 rows, missed the other mass.
    distances = [20 * 2**0.5, (30**2 + 30**2) ** 0.5]
    assert measures["masks"]["per_image"]["hausdorff_px"]["mean"] == pytest.approx(np.mean(distances))
    assert measures["masks"]["per_image"]["hausdorff_mm"]["mean"] == pytest.approx(0.1 * np.mean(distances))
    assert "masks" not in evaluate(ledger.path, tmp_path / "truth")
    words = ["evaluate", str(ledger.path), "--truth", str(tmp_path / "truth"), "--table"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    for text in (
        "3 images with a mass",
        "mean over images",
        "P2 AUNet, CBIS-DDSM",
        "0.818",
        "no distance in pixels",
        "are of 2 images",
    ):
        assert text in done.output
