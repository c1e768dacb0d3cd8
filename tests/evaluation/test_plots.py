"""Pictures: which are drawn, and that what they show is what was measured."""

import imagecodecs
import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure

from mammofast.cli import main
from mammofast.evaluation import measure
from mammofast.evaluation.groups import breakdown
from mammofast.evaluation.plots import _areas, _cumulative_dice, _froc, _kinds, _precision_recall, draw


@pytest.fixture
def measured(filled, ledger, tmp_path):
    return measure(ledger.path, tmp_path / "truth", masks=True)


@pytest.fixture
def axes():
    return Figure().add_subplot()


def test_files(measured, tmp_path):
    kinds = {"size": breakdown(measured.images, "size", 10, 0)}
    drawn = draw(tmp_path / "new" / "pictures", {"one": measured, "two": measured}, kinds)
    assert [path.name for path in drawn] == [
        "froc.png", "precision_recall.png", "cumulative_dice.png", "areas.png", "by_size.png",
    ]  # fmt: skip
    for path in drawn:
        pixels = imagecodecs.png_decode(path.read_bytes())[..., :3]
        assert min(pixels.shape[:2]) > 600
        red, _, blue = np.moveaxis(pixels.astype(int), 2, 0)
        assert (blue > red + 80).sum() > 50, path.name


def test_without_a_mass_nothing_is_drawn(record, ledger, tmp_path):
    record(1, [((10, 10, 20, 20), 0.9)], [])
    assert draw(tmp_path / "p", {"one": measure(ledger.path, tmp_path / "truth", masks=True)}) == []


def test_froc_shows_the_curve(measured, axes):
    _froc(axes, {"one": measured})
    line = axes.lines[0]
    curve = measured.detections().froc()
    np.testing.assert_allclose(line.get_xdata()[:-1], curve.fp_per_image)
    np.testing.assert_allclose(line.get_ydata()[:-1], curve.sensitivity)
    assert axes.get_xlim()[1] > curve.fp_per_image[-1]
    assert len(axes.collections) == 1  # the band


def test_precision_and_recall(measured, axes):
    _precision_recall(axes, {"one": measured})
    x, y = axes.lines[0].get_xdata(), axes.lines[0].get_ydata()
    # Confidences .9 (hit), .8 (hit), .7 and .4 (no hit), of four masses.
    np.testing.assert_allclose(x, [0, 0.25, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(y, [1, 1, 1, 2 / 3, 0.5])
    assert "AP 0.500" in axes.get_legend().get_texts()[0].get_text()


def test_cumulative_dice(measured, axes):
    _cumulative_dice(axes, {"one": measured})
    dices = sorted(image.dice for image in measured.images if image.dice is not None)
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [0, *dices, 1])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0, 1 / 3, 2 / 3, 1, 1])


def test_areas_are_in_square_centimetres(measured, axes):
    _areas(axes, measured)
    found, missed = axes.lines[:2]
    # Image 1: 200 pixels for 100; image 2: 100 for 300; 0.01 mm² each. On image 3 nothing was found.
    np.testing.assert_allclose(found.get_ydata(), np.array([100, -200]) * 1e-4)
    np.testing.assert_allclose(found.get_xdata(), np.array([150, 200]) * 1e-4)
    np.testing.assert_allclose(missed.get_ydata(), [-100e-4])


def test_kinds(measured, axes):
    groups = breakdown(measured.images, "size", 50, 0)
    _kinds(axes, "size", groups)
    assert axes.lines[0].get_xdata() == [groups[0]["sensitivity"]]
    assert list(axes.lines[1].get_xdata()) == groups[0]["intervals"]["sensitivity"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["10 mm or less\nn = 4"]


def test_from_the_shell(filled, ledger, tmp_path):
    out = tmp_path / "pictures"
    words = ["evaluate", str(ledger.path), "--truth", str(tmp_path / "truth"), "--plots", str(out), "--quiet"]
    done = CliRunner().invoke(main, [*words, "--against", str(ledger.path)])
    assert (done.exit_code, done.output) == (0, "")
    assert len(list(out.glob("*.png"))) == 4
