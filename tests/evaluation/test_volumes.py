"""Results of volumes against truth, counted by hand and voxel by voxel."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.ndimage import find_objects
from scipy.stats import wilcoxon

from mammofast.cli import main
from mammofast.datasets import Split, folds, write_splits
from mammofast.errors import DatasetError, ResultsError
from mammofast.evaluation.comparison import compare_volumes
from mammofast.evaluation.volume_truth import VolumeTruth, mass_boxes
from mammofast.evaluation.volumes import as_columns, average, evaluate_volumes, measure_volume, measure_volumes
from mammofast.records import VolumeFinding, VolumeResult
from mammofast.screening import Results
from mammofast.screening.entry import Entry, ImageInfo, Run

RUN = Run("b" * 64, "c" * 64)
SHAPE = (8, 20, 24)


def info(number, study):
    where = (f"1.{study}", "1.9", f"1.2.{number}", None, None)
    return ImageInfo(*where, *SHAPE[1:], (1.0, 1.0), f"{number:064x}", slices=SHAPE[0], slice_spacing=2.0)


def cut(box):
    x_min, y_min, z_min, x_max, y_max, z_max = box
    return slice(z_min, z_max), slice(y_min, y_max), slice(x_min, x_max)


def filled(*boxes):
    found = np.zeros(SHAPE, bool)
    for box in boxes:
        found[cut(box)] = True
    return found


def labels_of(breast, *masses):
    labels = filled(breast).astype(np.uint8)
    for k, box in enumerate(masses, start=1):
        labels[cut(box)] = 1 + k
    return labels


def finding(box, confidence):
    x_min, y_min, z_min, x_max, y_max, z_max = box
    return VolumeFinding((x_min, y_min, x_max, y_max), z_min, z_max, confidence, confidence)


@pytest.fixture
def ledger(tmp_path):
    results = Results.create_or_open(tmp_path / "results", SimpleNamespace(archive_id="a" * 32, path=tmp_path / "a"))
    results.start(RUN, {"notice": "For tests.", "method": "volume"})
    return results


@pytest.fixture
def record(ledger, tmp_path):
    (tmp_path / "truth").mkdir()

    def record(number, study, found, region, labels, error=None):
        result = VolumeResult(SHAPE, tuple(finding(*each) for each in found), error, region)
        ledger.record(Entry.of(info(number, study), RUN, result))
        if labels is not None:
            np.save(tmp_path / "truth" / f"1.2.{number}.npy", labels)

    return record


BREAST = (2, 2, 1, 22, 18, 7)
A, B = (4, 4, 2, 8, 8, 4), (12, 10, 3, 18, 16, 6)
HALF_OF_A = (4, 4, 2, 8, 8, 3)
MORE_THAN_HALF_OF_A = (4, 4, 2, 8, 7, 4)


@pytest.fixture
def five(record):
    whole = filled(BREAST)
    # Found, and one false.
    record(1, 1, [(MORE_THAN_HALF_OF_A, 0.9), ((20, 0, 0, 22, 2, 2), 0.4)], whole, labels_of(BREAST, A))
    # One of two: exactly one half is not enough.
    record(2, 1, [(HALF_OF_A, 0.8), (B, 0.7)], filled((2, 2, 1, 12, 18, 7)), labels_of(BREAST, A, B))
    # No mass; one false.
    record(3, 2, [((0, 0, 0, 3, 3, 3), 0.6)], whole, labels_of(BREAST))
    # Failed: one missed, no region.
    record(4, 3, [], np.zeros((0, 0, 0), bool), labels_of(BREAST, A), error="read: gone")
    # No truth.
    record(5, 4, [(A, 0.99)], whole, None)


def test_measures_are_those_counted_by_hand(five, ledger, tmp_path):
    got = evaluate_volumes(ledger.path, VolumeTruth(tmp_path / "truth"), samples=200)
    assert got["kind"] == "volumes"
    assert got["sensitivity"] == 2 / 4
    assert got["fp_per_image"] == 3 / 4
    # The second region is one half of the breast: Dice 2/3, Jaccard 1/2, sensitivity 1/2; the failed one's are 0.
    assert got["region"]["dice"]["mean"] == got["dice_mean"] == pytest.approx((1 + 2 / 3 + 1 + 0) / 4)
    assert got["region"]["iou"]["mean"] == pytest.approx((1 + 1 / 2 + 1 + 0) / 4)
    assert got["region"]["sensitivity"]["mean"] == pytest.approx((1 + 1 / 2 + 1 + 0) / 4)
    # Six slices hold the breast, in each region the same part of it.
    assert got["region"]["dice"]["mean_over_slices"] == pytest.approx((1 + 2 / 3 + 1 + 0) / 4)
    counts = {"n_images": 4, "n_studies": 3, "n_patients": 3, "n_masses": 4, "n_findings": 5, "n_failed": 1}
    assert {name: got[name] for name in counts} == counts
    assert got["n_without_truth"] == 1
    assert (got["bundle_id"], got["settings_id"], got["notices"]) == ("b" * 64, "c" * 64, ["For tests."])
    # By falling confidence: hit, miss, hit, miss, miss; the first two false ones are at .8 and .6.
    assert got["froc_sensitivity"] == {"0.5": 0.5, "1.0": 0.5, "2.0": 0.5, "3.4": 0.5, "4.0": 0.5, "8.0": 0.5}
    assert got["average_precision"] == pytest.approx(1 / 4 * 1 + 1 / 4 * 2 / 3)
    low, high = got["intervals"]["sensitivity"]
    assert 0 <= low <= 0.5 <= high <= 1
    assert json.loads(json.dumps(got)) == got


def ratio(part, whole, empty):
    return part / whole if whole else empty


def by_counting(p, t):
    """Return Dice, IoU and sensitivity of two sets of voxels."""
    both = len(p & t)
    return ratio(2 * both, len(p) + len(t), 1), ratio(both, len(p | t), 1), ratio(both, len(t), np.nan)


def test_the_region_s_measures_are_those_of_voxels_counted_one_by_one():
    """A thousand regions; slices and volumes with nothing in one or in both among them."""
    rng = np.random.default_rng(0)
    for _ in range(1000):
        shape = tuple(rng.integers(1, 4, size=3))
        region = rng.random(shape) < rng.choice([0, 0.2, 0.9])
        labels = np.where(rng.random(shape) < rng.choice([0, 0.2, 0.9]), rng.integers(1, 4, shape), 0)
        got = measure_volume("p", [], [], region, labels)
        predicted, true = ({tuple(at) for at in np.argwhere(mask)} for mask in (region, labels))
        names = ("dice", "iou", "sensitivity")
        np.testing.assert_allclose([got.region[name] for name in names], by_counting(predicted, true), atol=1e-12)
        sides = [[{at for at in of if at[0] == z} for of in (predicted, true)] for z in range(shape[0])]
        # A slice with nothing in either does not count.
        slices = np.reshape([by_counting(p, t) for p, t in sides if p or t], (-1, 3))
        np.testing.assert_allclose(np.transpose([got.slices[name] for name in names]), slices, atol=1e-12)


def test_boxes_of_a_thousand_volumes():
    rng = np.random.default_rng(1)
    for _ in range(1000):
        shape = tuple(rng.integers(1, 6, size=3))
        labels = np.where(rng.random(shape) < rng.choice([0, 0.1, 0.6]), rng.integers(1, 6, shape), 0).astype(np.uint8)
        found = [at for label, at in enumerate(find_objects(labels), start=1) if label > 1 and at is not None]
        theirs = [[*(axis.start for axis in at[::-1]), *(axis.stop for axis in at[::-1])] for at in found]
        assert mass_boxes(labels).tolist() == theirs


def test_masses_boxes_hold_all_their_voxels_and_no_more():
    labels = np.random.default_rng(4).choice([0, 1, 2, 5], p=[0.9, 0.08, 0.01, 0.01], size=(9, 11, 13))
    boxes = mass_boxes(labels)
    assert len(boxes) == 2
    for label, box in zip((2, 5), boxes.tolist(), strict=True):
        at = np.argwhere(labels == label)[:, ::-1]
        assert box == [*at.min(axis=0), *(at.max(axis=0) + 1)]
    assert mass_boxes(np.ones((2, 3, 4), np.uint8)).shape == (0, 6)


def test_volumes_without_masses_have_no_sensitivity(record, ledger, tmp_path):
    record(1, 1, [((0, 0, 0, 3, 3, 3), 0.6)], filled(BREAST), labels_of(BREAST))
    got = evaluate_volumes(ledger.path, VolumeTruth(tmp_path / "truth"))
    assert (got["sensitivity"], got["average_precision"], got["froc_sensitivity"]) == (None, None, None)
    assert (got["fp_per_image"], got["dice_mean"]) == (1.0, 1.0)
    assert set(got["intervals"].values()) == {None}, "of one patient nothing is known of the spread"
    assert as_columns(got)["sensitivity_at_3.4"] is None


def test_patients_are_drawn_with_all_their_volumes(record, ledger, tmp_path):
    for number in range(1, 9):
        found = [(A, 0.9)] if number <= 4 else []
        record(number, number, found, filled(BREAST), labels_of(BREAST, A))
        said = {"patient": "one" if number <= 4 else "other", "study_uid": f"1.{number}"}
        (tmp_path / "truth" / f"1.2.{number}.json").write_text(json.dumps(said))
    got = evaluate_volumes(ledger.path, VolumeTruth(tmp_path / "truth"))
    assert (got["n_patients"], got["n_studies"]) == (2, 8)
    assert got["intervals"]["sensitivity"] == [0.0, 1.0]


def test_five_folds_by_patients_average_as_p5_does(record, ledger, tmp_path):
    for number in range(1, 11):
        record(number, number, [(A, 0.9)] if number % 2 else [], filled(BREAST), labels_of(BREAST, A))
    truth = VolumeTruth(tmp_path / "truth")
    write_splits(tmp_path / "folds.json", truth.data, folds(truth.data, 5))
    parts = [VolumeTruth(tmp_path / "truth", f"{tmp_path / 'folds.json'}#{k}") for k in range(1, 6)]
    uids = [f"1.2.{number}" for number in range(1, 11)]
    assert [sum(uid in part for part in parts) for uid in uids] == [1] * 10
    found = [evaluate_volumes(ledger.path, part) for part in parts]
    assert [fold["n_images"] for fold in found] == [2] * 5
    means = average(found)
    assert means["sensitivity"] == pytest.approx(np.mean([fold["sensitivity"] for fold in found])) == 0.5
    assert means["sensitivity_at_3.4"] == pytest.approx(0.5)
    assert means["region_dice"] == 1.0
    with pytest.raises(DatasetError, match="FILE#1 to FILE#5"):
        VolumeTruth(tmp_path / "truth", f"{tmp_path / 'folds.json'}#6")


@pytest.mark.parametrize(
    "content, words",
    [
        (b"torn", "cannot be read as NPY"),
        (np.zeros((8, 20, 23), np.uint8), "expected uint8 of the volume's"),
        (np.zeros(SHAPE, np.int16), "got int16"),
        (np.zeros((20, 24), np.uint8), "expected uint8 of the volume's"),
        (np.array([{}], dtype=object), "cannot be read as NPY"),
    ],
)
def test_truth_that_cannot_be_it_is_refused(record, ledger, tmp_path, content, words):
    record(1, 1, [], filled(BREAST), None)
    path = tmp_path / "truth" / "1.2.1.npy"
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content, allow_pickle=True)
    with pytest.raises(ResultsError, match=words):
        evaluate_volumes(ledger.path, VolumeTruth(tmp_path / "truth"))


def test_without_truth_or_results_it_says_what_is_expected(record, ledger, tmp_path):
    with pytest.raises(ResultsError, match="run `mammofast screen` first"):
        evaluate_volumes(ledger.path, VolumeTruth(tmp_path / "truth"))
    record(1, 1, [], filled(BREAST), None)
    with pytest.raises(ResultsError, match=r"no truth for any screened volume; expected SOP_INSTANCE_UID\.npy"):
        evaluate_volumes(ledger.path, VolumeTruth(tmp_path / "truth"))


OTHER = Run("d" * 64, "c" * 64)


def test_two_detectors_are_compared_on_the_volumes_that_both_have(record, ledger, tmp_path):
    """Differences are those of the two summaries; p is SciPy's of what each volume's region measures."""
    ledger.start(OTHER, {"name": "other", "method": "volume"})
    smaller = (2, 2, 1, 22, 12, 7)
    for number in range(1, 8):
        labels = labels_of(BREAST, A, B)
        found = [(A, 0.9), *([(B, 0.8)] if number % 2 else [])]
        record(number, number // 2, found, filled(BREAST if number % 3 else smaller), labels)
        # The other one finds B never, has a candidate that is none, and a region that misses a column more each time.
        candidates = (finding(A, 0.7), finding((20, 2, 2, 24, 5, 4), 0.3))
        region = filled((2 + number, *BREAST[1:]))
        if number > 1:
            ledger.record(Entry.of(info(number, number // 2), OTHER, VolumeResult(SHAPE, candidates, None, region)))
    truth = VolumeTruth(tmp_path / "truth")
    ours = measure_volumes(ledger.path, truth, bundle_id="b" * 64)
    other = measure_volumes(ledger.path, truth, bundle_id="d" * 64)
    assert (len(ours.volumes), len(other.volumes)) == (7, 6)
    got = compare_volumes(ours.volumes, other.volumes, samples=300)
    assert (got["n_images"], got["n_patients"]) == (6, 3)
    assert got["detection"]["sensitivity"] == {**got["detection"]["sensitivity"], "ours": 9 / 12, "other": 6 / 12}
    assert got["detection"]["fp_per_image"] == {**got["detection"]["fp_per_image"], "ours": 0, "other": 1}
    both = [ours.volumes[uid] for uid in other.volumes]
    theirs = list(other.volumes.values())
    for name, row in got["masks"].items():
        a, b = (np.array([v.region[name] for v in side]) for side in (both, theirs))
        assert row["difference"] == pytest.approx(a.mean() - b.mean())
        assert row["p_images"] == pytest.approx(wilcoxon(a, b).pvalue)
        whose = [v.patient for v in both]
        means = [[side[np.array(whose) == p].mean() for p in sorted(set(whose))] for side in (a, b)]
        assert row["p_patients"] == pytest.approx(wilcoxon(*means).pvalue)
        assert row["interval"][0] <= row["difference"] <= row["interval"][1]
    command = ["evaluate", str(ledger.path), "--truth", str(tmp_path / "truth"), "--bundle-id", "b" * 64]
    against = ["--against", str(ledger.path), "--against-bundle-id", "d" * 64]
    said = CliRunner().invoke(main, [*command, *against, "--json", str(tmp_path / "out.json")])
    assert said.exit_code == 0, said.output
    assert "bundle bbbbbbbb against other, 6 volumes of 3 patients" in said.stdout
    assert "False positives per case     0.000   1.000      -1.000" in said.stdout
    assert f"Region's DSC{got['masks']['dice']['ours']:22.3f}" in said.stdout
    assert "Dice of" not in said.stdout
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["against"]["masks"]["dice"]["difference"] == pytest.approx(got["masks"]["dice"]["difference"])
    with pytest.raises(ResultsError, match="no volume with truth in common"):
        compare_volumes({}, other.volumes)


def test_the_command_tells_volumes_from_images(five, ledger, tmp_path):
    command = ["evaluate", str(ledger.path), "--truth", str(tmp_path / "truth")]
    said = CliRunner().invoke(main, [*command, "--table", "--json", str(tmp_path / "out.json"), "--verbose"])
    assert said.exit_code == 0, said.stderr
    lines = said.stdout.splitlines()
    assert lines[0].split() == ["Sensitivity", "0.500", *lines[0].split()[2:]]
    assert "False positives per case                   0.750" in said.stdout
    assert "Breast region: Jaccard                     0.625" in said.stdout
    assert "Sensitivity at 3.4 FP/case                 0.500" in said.stdout
    assert "4 volumes of 3 patients, 4 masses, 5 candidates; volumes that failed: 1, without truth: 1" in said.stdout
    assert "U-Net++" in said.stdout
    assert "0.951" in said.stdout
    assert "0.874" in said.stdout
    written = json.loads((tmp_path / "out.json").read_text())
    assert (written["sensitivity"], written["fp_per_image"], written["kind"]) == (0.5, 0.75, "volumes")
    (ours, theirs, _) = written["tables"]["p5"][0]["rows"]
    assert ours["DSC"]["ours"] == pytest.approx(written["dice_mean"])
    assert (theirs["system"], theirs["DSC"]["paper"]) == ("U-Net++", 0.951)
    refused = CliRunner().invoke(main, [*command, "--by", "size"])
    assert refused.exit_code == 2
    assert "are of images, RESULTS of volumes" in refused.stderr
    assert CliRunner().invoke(main, [*command, "--quiet"]).stdout == ""


def test_what_trains_is_outside_the_split_and_not_without_truth(five, ledger, tmp_path):
    truth = VolumeTruth(tmp_path / "truth")
    write_splits(tmp_path / "s.json", truth.data, [Split(("1.2.2", "1.2.4"), ("1.2.1", "1.2.3")), Split((), ())])
    words = ["evaluate", str(ledger.path), "--truth", str(tmp_path / "truth"), "--split"]
    done = CliRunner().invoke(main, [*words, f"{tmp_path}/s.json#1", "--json", str(tmp_path / "m.json")])
    assert done.exit_code == 0, done.output
    assert "2 volumes of 2 patients" in done.stdout
    assert "volumes that failed: 0, without truth: 1, outside the split: 2\n" in done.stdout
    counts = json.loads((tmp_path / "m.json").read_text())
    assert (counts["n_without_truth"], counts["n_outside_split"]) == (1, 2)
    nothing = CliRunner().invoke(main, [*words, f"{tmp_path}/s.json#2"])
    assert nothing.exit_code == 1
    assert "none of the 4 screened volumes with truth tests in this split" in nothing.stderr


def test_the_first_digits_of_ids_will_do(five, ledger, tmp_path):
    words = [
        "evaluate",
        str(ledger.path),
        "--truth",
        str(tmp_path / "truth"),
        "--bundle-id",
        "bbb",
        "--settings-id",
        "c",
    ]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "4 volumes of 3 patients" in done.stdout


def test_one_is_one(record, ledger, tmp_path):
    record(1, 1, [(A, 0.9)], filled(BREAST), labels_of(BREAST, A))
    words = ["evaluate", str(ledger.path), "--truth", str(tmp_path / "truth"), "--against", str(ledger.path)]
    lines = CliRunner().invoke(main, words).stdout.splitlines()
    assert "1 volume of 1 patient, 1 mass, 1 candidate; volumes that failed: 0, without truth: 0" in lines
    assert any(line.endswith(" against bundle bbbbbbbb, the other, 1 volume of 1 patient") for line in lines)


@pytest.mark.parametrize("table, prints", [("p1", False), ("p4", False), ("auto", True), ("p5", True), ("all", True)])
def test_volumes_have_p5_s_tables_alone(five, ledger, tmp_path, table, prints):
    words = ["evaluate", str(ledger.path), "--truth", str(tmp_path / "truth"), "--table", table]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == (0 if prints else 2)
    assert ("U-Net++" in done.stdout) == prints
    if not prints:
        assert f"--table {table} is of images; of volumes there is p5." in done.stderr
