"""Two systems on the same images, against differences by hand."""

import json

import imagecodecs
import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from mammofast.cli import main
from mammofast.errors import ResultsError
from mammofast.evaluation import average_precision, compare, measure
from mammofast.evaluation.measuring import Measured, MeasuredImage, MeasuredMass
from mammofast.evaluation.segmentation import MEASURES, Fit
from mammofast.records import ImageResult
from mammofast.screening.entry import Entry, Run
from tests.evaluation.by_hand import RUN, SHAPE, exact_wilcoxon, finding, info, truth_of

OTHER = Run("d" * 64, "c" * 64)
MASS = (10, 10, 30, 30)


@pytest.fixture
def two_runs(ledger, tmp_path):
    """Ten images of five patients; ours is off by 0 to 4 pixels, the other by twice that and misses the last."""
    (tmp_path / "truth").mkdir()
    ledger.start(OTHER, {})
    for number in range(10):
        study, shift = number // 2 + 1, number % 5
        shifted = (10 + shift, 10, 30 + shift, 30)
        twice = (10 + 2 * shift, 10, 30 + 2 * shift, 30)
        ours, theirs = [(shifted, 0.9)], [] if number == 9 else [(twice, 0.5), ((40, 40, 50, 50), 0.7)]
        for run, found in ((RUN, ours), (OTHER, theirs)):
            ledger.record(Entry.of(info(number, study), run, ImageResult(SHAPE, tuple(finding(*f) for f in found))))
        (tmp_path / "truth" / f"1.2.{number}.png").write_bytes(imagecodecs.png_encode(truth_of(MASS)))
    return [measure(ledger.path, tmp_path / "truth", bundle_id=run.bundle_id, masks=True) for run in (RUN, OTHER)]


def dice_by_hand(shift):
    return (20 - shift) / 20


def test_differences_by_hand(two_runs):
    got = compare(*two_runs, samples=300)
    assert (got["n_images"], got["n_patients"]) == (10, 5)
    ours = np.array([dice_by_hand(n % 5) for n in range(10)])
    square, stray = 400, 100
    theirs = np.array(
        [0 if n == 9 else 2 * square * dice_by_hand(2 * (n % 5)) / (2 * square + stray) for n in range(10)]
    )
    row = got["masks"]["dice"]
    assert row["ours"] == pytest.approx(ours.mean())
    assert row["other"] == pytest.approx(theirs.mean())
    assert row["difference"] == pytest.approx((ours - theirs).mean())
    low, high = row["interval"]
    assert low < row["difference"] < high
    assert row["n"] == 10
    assert row["p_images"] == pytest.approx(stats.wilcoxon(ours, theirs).pvalue, abs=1e-6)
    by_patient = [values.reshape(5, 2).mean(axis=1) for values in (ours, theirs)]
    assert row["p_patients"] == pytest.approx(stats.wilcoxon(*by_patient).pvalue, abs=1e-6)
    # Nothing was found on the last image by the other: it has no distance.
    assert got["masks"]["hausdorff_px"]["n"] == 9


def test_detection_by_hand(two_runs):
    got = compare(*two_runs, samples=300)["detection"]
    # Shifted by 2 x 4 pixels the box's IoU is 12 / 28; image 9 has none at all: images 4 and 9 are missed.
    assert (got["sensitivity"]["ours"], got["sensitivity"]["other"]) == (1.0, 0.8)
    assert got["sensitivity"]["difference"] == pytest.approx(0.2)
    assert got["sensitivity"]["interval"] == pytest.approx([0, 0.5], abs=0.11)
    assert got["fp_per_image"]["ours"] == 0
    assert got["fp_per_image"]["other"] == pytest.approx((9 + 1) / 10)
    assert got["average_precision"]["ours"] == 1.0
    # Nine strays pass before the first hit; then 8 hits and a miss pass together.
    assert got["average_precision"]["other"] == pytest.approx(0.8 * 8 / 18)
    low, high = got["average_precision"]["interval"]
    assert low <= got["average_precision"]["difference"] <= high


def some_system(rng, patients, masses):
    """Return one system's images; few different values, so that pairs tie, and of some images no distance."""
    images = []
    for number, (patient, count) in enumerate(zip(patients, masses, strict=True)):
        hits = rng.permutation(np.arange(rng.integers(count, count + 3)) < rng.integers(0, count + 1))
        values = (*rng.choice([0, 0.25, 0.5, 1], size=4), *rng.choice([1, 2.5, np.nan], size=2))
        true = tuple(MeasuredMass(False, 0.0, None, {}) for _ in range(count))
        confidences = rng.choice([0.2, 0.5, 0.9], size=len(hits))
        fit = Fit(patient, tuple(map(float, values)), 0, 0, count, 1)
        images.append(MeasuredImage(str(number), "s", patient, False, confidences, hits, true, None, fit))
    return Measured(tuple(images), {}, (), 0)


def test_hundreds_of_pairs_of_systems():
    """Differences, their intervals and tests, from lists of what each draw of patients holds."""
    rng = np.random.default_rng(0)
    for case in range(300):
        n = int(rng.integers(1, 7))
        patients, masses = [f"p{k}" for k in rng.integers(3, size=n)], rng.integers(0, 3, size=n).tolist()
        a, b = (some_system(rng, patients, masses) for _ in range(2))
        got = compare(a, b, samples=3, seed=case)

        def drawn(names, seed=case):
            names = sorted(set(names))
            for counts in np.random.default_rng(seed).multinomial(len(names), [1 / len(names)] * len(names), size=3):
                yield [name for name, count in zip(names, counts, strict=True) for _ in range(count)]

        pairs = [*zip(a.images, b.images, strict=True)]
        listed = [[pair for name in draw for pair in pairs if pair[0].patient == name] for draw in drawn(patients)]
        several = len({patient for patient, count in zip(patients, masses, strict=True) if count}) > 1
        for name, of in {
            "sensitivity": lambda side: sum(i.hits.sum() for i in side) / sum(len(i.masses) for i in side),
            "average_precision": lambda side: average_precision(
                *(np.concatenate(x) for x in zip(*((i.confidences, i.hits) for i in side), strict=True)),
                sum(len(i.masses) for i in side),
            ),
            "fp_per_image": lambda side: sum((~i.hits).sum() for i in side) / len(side),
        }.items():
            counted = name == "fp_per_image"
            row = got["detection"][name]
            if not counted and not sum(masses):
                assert (row["difference"], row["interval"]) == (None, None)
                continue
            sides = [of([pair[k] for pair in pairs]) for k in range(2)]
            assert (row["ours"], row["other"]) == pytest.approx(sides, abs=1e-6)
            assert row["difference"] == pytest.approx(sides[0] - sides[1], abs=1e-6)
            draws = [draw for draw in listed if counted or sum(len(i.masses) for i, _ in draw)]
            differences = [of([i for i, _ in draw]) - of([j for _, j in draw]) for draw in draws]
            if len(set(patients)) > 1 if counted else several:
                assert row["interval"] == pytest.approx(np.percentile(differences, [2.5, 97.5]).tolist(), abs=1e-6)
            else:
                assert row["interval"] is None

        for index, name in enumerate(MEASURES):
            values = [
                (i.patient, i.fit.values[index], j.fit.values[index])
                for i, j in pairs
                if i.masses and not np.isnan([i.fit.values[index], j.fit.values[index]]).any()
            ]
            row = got["masks"][name]
            assert row["n"] == len(values)
            if not values:
                assert row["difference"] is row["interval"] is row["p_images"] is row["p_patients"] is None
                continue
            names, ours, other = zip(*values, strict=True)
            assert row["difference"] == pytest.approx(np.mean(ours) - np.mean(other), abs=1e-6)
            means = [[np.mean([v[k] for v in values if v[0] == name]) for name in sorted(set(names))] for k in (1, 2)]
            assert row["p_images"] == pytest.approx(exact_wilcoxon(ours, other), abs=1e-6)
            assert row["p_patients"] == pytest.approx(exact_wilcoxon(*means), abs=1e-6)
            if len(set(names)) < 2:
                assert row["interval"] is None
                continue
            differences = [
                np.mean([v[1] - v[2] for name in draw for v in values if v[0] == name]) for draw in drawn(names)
            ]
            assert row["interval"] == pytest.approx(np.percentile(differences, [2.5, 97.5]).tolist(), abs=1e-6)


def test_two_bundles_of_one_results_folder(two_runs, ledger, tmp_path):
    words = ["evaluate", str(ledger.path), "--truth", str(tmp_path / "truth"), "--bundle-id", RUN.bundle_id]
    words += ["--against", str(ledger.path)]
    assert "2 runs, say which" in CliRunner().invoke(main, words).output
    out = tmp_path / "m.json"
    done = CliRunner().invoke(main, [*words, "--against-bundle-id", OTHER.bundle_id, "--json", str(out)])
    assert done.exit_code == 0, done.output
    assert "10 images of 5 patients" in done.output
    assert json.loads(out.read_text())["against"] == compare(*two_runs)


def test_a_system_against_itself(two_runs):
    got = compare(two_runs[0], two_runs[0], samples=50)
    for row in (*got["detection"].values(), *got["masks"].values()):
        assert row["difference"] == 0
        assert row["interval"] == [0, 0]
    assert {row["p_images"] for row in got["masks"].values()} == {1.0}


def test_other_images_cannot_be_compared(two_runs):
    from dataclasses import replace

    with pytest.raises(ResultsError, match="no image with truth in common"):
        compare(two_runs[0], replace(two_runs[1], images=()))
    fewer = compare(two_runs[0], replace(two_runs[1], images=two_runs[1].images[:2]))
    assert fewer["n_images"] == 2
    assert fewer["masks"]["dice"]["interval"] is None  # of one patient
    assert fewer["detection"]["average_precision"]["interval"] is None
