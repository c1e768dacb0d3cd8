"""P1's classic baselines: known answers on drawn images, and the minimum of a cut against all of them."""

from itertools import product

import imagecodecs
import numpy as np
import pytest
from click.testing import CliRunner
from scipy.ndimage import gaussian_filter

from mammofast.cli import main
from mammofast.datasets import Lesion, Sample
from mammofast.datasets.record import BoxRegion
from mammofast.errors import ResultsError
from mammofast.evaluation import dice
from mammofast.evaluation.baselines import BASELINES, threshold
from mammofast.evaluation.baselines.breast import breast, pectoral
from mammofast.evaluation.baselines.graph_cut import _cut
from mammofast.evaluation.baselines.run import measure_baselines

SHAPE = (160, 120)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
BREAST = (X / 90) ** 2 + ((Y - 80) / 70) ** 2 < 1
MASS = (X - 45) ** 2 + (Y - 95) ** 2 < 13**2
MUSCLE = (X / 40 + (Y - 10) / 60 < 1) & BREAST


def mammogram(muscle=False, seed=0):
    """Half an ellipse of noisy fat with a bright disc in it."""
    rng = np.random.default_rng(seed)
    image = 0.3 * BREAST + 0.4 * MASS + (0.45 * MUSCLE if muscle else 0)
    return np.where(BREAST, gaussian_filter(image, 1) + rng.normal(0, 0.02, SHAPE), 0).clip(0, 1).astype(np.float32)


def middle():
    return (X - 45) ** 2 + (Y - 95) ** 2 < 6**2


def test_the_breast_is_told_from_air():
    for image in (mammogram(), mammogram(muscle=True), mammogram()[:, ::-1]):
        truth = BREAST if image[80, 0] > 0 else BREAST[:, ::-1]
        assert dice(breast(image), truth) > 0.98
    assert not breast(np.zeros(SHAPE)).any()


@pytest.mark.parametrize("flipped", [False, True])
def test_the_muscle_is_found_by_place_and_grey(flipped):
    image, truth = mammogram(muscle=True), MUSCLE
    if flipped:
        image, truth = image[:, ::-1], truth[:, ::-1]
    found = pectoral(image, breast(image))
    assert dice(found, truth) > 0.9
    # A mass is as bright, but does not lie in the corner.
    assert not (found & (MASS[:, ::-1] if flipped else MASS)).any()
    assert not pectoral(image, np.zeros(SHAPE, bool)).any()


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("told", [False, True])
def test_a_bright_disc_is_found(name, told):
    found = BASELINES[name](mammogram(), told=middle() if told else None)
    assert found.dtype == bool
    assert found.shape == SHAPE
    # The second threshold is the mean of what the first let pass, and so cuts the mass's blurred rim.
    least = 0.75 if name == "threshold" else 0.85
    assert dice(found, MASS) > least
    view = BASELINES[name](mammogram(muscle=True), view="MLO", told=middle() if told else None)
    assert dice(view, MASS) > least - 0.05


def test_without_the_muscle_taken_out_it_is_taken_for_the_mass():
    """P1's reason for taking it out."""
    image = mammogram(muscle=True)
    assert dice(threshold(image, view="MLO"), MASS) > 2 * dice(threshold(image, view="CC"), MASS)


@pytest.mark.parametrize("name", BASELINES)
def test_of_nothing_nothing_is_found(name):
    for image in (np.zeros(SHAPE), np.where(BREAST, 0.5, 0.0)):
        assert not BASELINES[name](image, view="MLO").any()


def test_what_is_small_and_alone_goes():
    image = mammogram()
    image[60:63, 20:23] = 0.9
    assert not threshold(image)[60:63, 20:23].any()
    assert threshold(image, told=middle())[95, 45]


def energy(labels, grey, mass, other):
    cost = np.where(labels, mass, other).sum()
    for a, b in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        weight = 4.0 * np.exp(-((grey[a] - grey[b]) ** 2) / (2 * 0.1**2))
        cost += (weight * (labels[a] != labels[b])).sum()
    return cost


def test_the_cut_is_the_least_of_all():
    """Against every labelling of 3 x 3 pixels."""
    rng = np.random.default_rng(0)
    everything = [np.array(bits, bool).reshape(3, 3) for bits in product([0, 1], repeat=9)]
    for _ in range(30):
        grey = rng.random((3, 3))
        mass, other = rng.uniform(0, 8, size=(2, 3, 3))
        found = _cut(grey, mass, other, np.ones((3, 3), bool), None)
        least = min(energy(labels, grey, mass, other) for labels in everything)
        assert energy(found, grey, mass, other) == pytest.approx(least, abs=0.02)


def test_a_cut_holds_what_is_certain():
    grey = np.full((4, 4), 0.5)
    certain = np.zeros((4, 4), bool)
    certain[1, 1] = True
    inside = np.ones((4, 4), bool)
    inside[:, 3] = False
    found = _cut(grey, np.full((4, 4), 9.0), np.zeros((4, 4)), inside, certain)
    assert found[1, 1]
    assert not found[:, 3].any()


def test_what_is_told_is_where_it_looks(tmp_path):
    """Beside a larger, brighter disc that is no mass, only those that are told find the mass."""
    decoy = (X - 30) ** 2 + (Y - 55) ** 2 < 16**2
    path = tmp_path / "one.png"
    image = np.where(decoy, 0.95, mammogram())
    path.write_bytes(imagecodecs.png_encode((image * 255).astype(np.uint8)))
    sample = Sample("one", "p", path, view="CC", lesions=(Lesion("mass", BoxRegion((32, 82, 59, 109))),))
    for told in (True, False):
        for measures in measure_baselines(["level-set", "graph-cut"], [sample], told=told, resamples=2).values():
            assert (measures["masks"]["per_image"]["dice"]["mean"] > 0.75) == told


@pytest.fixture
def samples(tmp_path):
    """Two images of two patients with the disc's box as their truth, and one without a mass."""
    made = []
    for number in range(3):
        path = tmp_path / f"{number}.png"
        path.write_bytes(imagecodecs.png_encode((mammogram(seed=number) * 255).astype(np.uint8)))
        lesions = (Lesion("mass", BoxRegion((32, 82, 59, 109))),) if number < 2 else ()
        made.append(Sample(str(number), f"p{number}", path, view="CC", lesions=lesions))
    return made


def test_over_a_data_set(samples):
    steps = []
    got = measure_baselines(
        tuple(BASELINES), samples, shape=(80, 60), resamples=50, progress=lambda *a: steps.append(a)
    )
    assert steps == [(1, 3)] * 3
    assert list(got) == ["threshold", "level-set", "graph-cut"]
    for measures in got.values():
        assert measures["masks"]["n_images"] == 2
        cell = measures["masks"]["per_image"]["dice"]
        # A disc covers pi / 4 of its box: Dice of the two is 0.88.
        assert 0.65 < cell["mean"] < 0.95
        assert cell["interval"] is not None
    unaided = measure_baselines(["level-set", "threshold"], samples[:1], told=False, shape=(80, 60), resamples=10)
    assert list(unaided) == ["unaided level set", "threshold"]
    with pytest.raises(ResultsError, match="no image of the data set holds a mass"):
        measure_baselines(["threshold"], samples[2:])


def test_from_the_shell(tmp_path, dicom):
    (tmp_path / "dicom").mkdir()
    (tmp_path / "truth").mkdir()
    header = dicom.dataset((mammogram() * 4095).astype(np.uint16), ViewPosition="CC")
    header.save_as(tmp_path / "dicom" / "1.dcm", enforce_file_format=True)
    picture = imagecodecs.png_encode(MASS.astype(np.uint8))
    (tmp_path / "truth" / f"{header.SOPInstanceUID}.png").write_bytes(picture)
    words = ["evaluate", "--truth", str(tmp_path), "--layout", "phantoms", "--baseline", "threshold"]
    done = CliRunner().invoke(main, [*words, "--table"])
    assert done.exit_code == 0, done.output
    row = next(line for line in done.output.splitlines() if line.startswith("threshold "))
    assert row.split()[1] != "-"
    assert "P1 (Hai" in done.output
    assert "P4" not in done.output
    plain = CliRunner().invoke(main, words)
    assert plain.exit_code == 0, plain.output
    assert "Dice" in plain.output


@pytest.mark.parametrize(
    "words, said",
    [
        ([], "Missing argument 'RESULTS'"),
        (["--baseline", "threshold"], "--baseline segments a data set's images"),
        (["--baseline", "all", "--layout", "phantoms", "--by", "size"], "RESULTS, which is missing"),
        (["r", "--unaided"], "--unaided is of --baseline"),
    ],
)
def test_what_does_not_go_together(tmp_path, words, said):
    done = CliRunner().invoke(main, ["evaluate", "--truth", str(tmp_path), *words])
    assert done.exit_code == 2
    assert said in done.output
