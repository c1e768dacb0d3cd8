"""Evaluation of a ledger written by hand, against sums done by hand."""

import json

import imagecodecs
import numpy as np
import pytest
from click.testing import CliRunner

from mammofast.cli import main
from mammofast.errors import ResultsError
from mammofast.evaluation import evaluate
from mammofast.evaluation.truth import Known, PngTruth
from mammofast.records import ImageResult
from mammofast.screening.entry import Entry, ImageInfo, Run
from tests.evaluation.by_hand import RUN, SHAPE, finding, info, truth_of


def test_measures_are_those_counted_by_hand(filled, ledger, tmp_path):
    got = evaluate(ledger.path, tmp_path / "truth")
    assert got["sensitivity"] == 2 / 4
    assert got["fp_per_image"] == 2 / 4
    dices = [2 * 100 / (200 + 100), 2 * 100 / (100 + 300), 0.0]
    assert got["dice_mean"] == pytest.approx(sum(dices) / 3)
    assert got["average_precision"] == pytest.approx(1 / 4 + 1 / 4)
    assert got["froc_sensitivity"]["0.125"] == 0.5
    counts = {name: got[name] for name in ("n_images", "n_studies", "n_masses", "n_findings", "n_failed")}
    assert counts == {"n_images": 4, "n_studies": 2, "n_masses": 4, "n_findings": 4, "n_failed": 0}
    assert got["n_without_truth"] == 1
    assert got["notices"] == ["For tests."]
    json.dumps(got, allow_nan=False)


def test_intervals_are_those_of_studies_drawn_with_replacement(filled, ledger, tmp_path):
    got = evaluate(ledger.path, tmp_path / "truth", samples=4000)
    # Of two studies a draw has both, the first twice or the second twice, with chances 1/2, 1/4, 1/4.
    assert got["intervals"]["sensitivity"] == [0.0, pytest.approx(2 / 3)]
    assert got["intervals"]["fp_per_image"] == [0.5, 0.5]
    assert got["intervals"]["dice_mean"] == [0.0, pytest.approx((2 / 3 + 0.5) / 2)]
    assert evaluate(ledger.path, tmp_path / "truth", samples=50) == evaluate(
        ledger.path, tmp_path / "truth", samples=50
    )


def test_masses_of_one_study_have_no_interval(record, ledger, tmp_path):
    """Else it would be of width 0, and look as if it were known exactly."""
    record(1, [((10, 10, 20, 20), 0.9)], [(10, 10, 20, 20)], study=1)
    record(2, [((1, 1, 5, 5), 0.7)], [], study=2)
    record(3, [], [], study=3)
    got = evaluate(ledger.path, tmp_path / "truth", masks=True, by=["size"])
    low, high = got["intervals"].pop("fp_per_image")
    assert low < high
    at = got["intervals"].pop("froc_sensitivity")
    assert {*got["intervals"].values(), *at.values()} == {None}
    assert got["masks"]["per_image"]["dice"]["interval"] is None
    assert set(got["masks"]["pooled_intervals"].values()) == {None}
    assert got["by"]["size"][0]["intervals"] == {"sensitivity": None, "dice_mean": None}
    done = CliRunner().invoke(main, ["evaluate", str(ledger.path), "--truth", str(tmp_path / "truth")])
    assert "Sensitivity                      1.000   -\n" in done.output


def test_patients_are_drawn_where_they_are_known(filled, ledger, tmp_path):
    """Both studies are one patient's: nothing can be said of the spread over patients."""

    class OnePatient(PngTruth):
        def known(self, sop_uid):
            return Known("p")

    got = evaluate(ledger.path, OnePatient(tmp_path / "truth"))
    assert (got["n_studies"], got["n_patients"]) == (2, 1)
    assert got["intervals"]["sensitivity"] is got["intervals"]["fp_per_image"] is None
    assert got["sensitivity"] == 0.5


def test_fused_boxes_at_other_thresholds(ledger, tmp_path):
    """P4's table 2, from the boxes of five scales that results keep."""
    (tmp_path / "truth").mkdir()
    run = Run("e" * 64, "f" * 64)
    ledger.start(run, {"method": "two_stage", "parameters": {"scales": [[1, 1]] * 5}})
    mass, stray = (10, 10, 20, 20), (30, 30, 40, 40)
    rows = [[scale, *mass, 0.8] for scale in range(5)] + [[scale, *stray, 0.8] for scale in range(2)]
    result = ImageResult(SHAPE, (finding(mass, 0.8),), None, np.array(rows, np.float32))
    ledger.record(Entry.of(info(1), run, result))
    (tmp_path / "truth" / "1.2.1.png").write_bytes(imagecodecs.png_encode(truth_of(mass)))
    got = evaluate(ledger.path, tmp_path / "truth", masks=True)["fusion"]
    assert {at: (cell["sensitivity"], cell["fp_per_image"]) for at, cell in got.items()} == {
        "0.0": (1.0, 1.0), "0.5": (1.0, 0.0), "0.6": (1.0, 0.0), "0.7": (1.0, 0.0),
    }  # fmt: skip


def test_a_failed_image_counts_as_one_on_which_nothing_was_found(record, ledger, tmp_path):
    record(1, [((10, 10, 20, 20), 0.9)], [(10, 10, 20, 20)])
    record(2, [], [(10, 10, 20, 20)], study=2, error="read: gone")
    got = evaluate(ledger.path, tmp_path / "truth")
    assert (got["sensitivity"], got["dice_mean"], got["n_failed"]) == (0.5, 0.5, 1)


def test_an_image_whose_result_is_damaged_counts_as_failed(record, ledger, tmp_path):
    for number in (1, 2, 3):
        record(number, [((10, 10, 20, 20), 0.9)], [(10, 10, 20, 20)], study=number)
    for number in (2, 3):
        next(ledger.path.glob(f"images/*/1.2.{number}-*")).write_bytes(b"torn")
    got = evaluate(ledger.path, tmp_path / "truth")
    assert (got["n_images"], got["n_studies"], got["n_masses"], got["n_failed"]) == (3, 3, 3, 2)
    assert (got["sensitivity"], got["dice_mean"]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))


def test_a_skipped_image_does_not_count_nor_a_second_file_of_one_uid(record, ledger, tmp_path):
    record(1, [((10, 10, 20, 20), 0.9)], [(10, 10, 20, 20)])
    record(2, [], [(10, 10, 20, 20)])
    for path in ledger.path.glob("images/*/1.2.2-*"):
        path.unlink()
    ledger.record(Entry(info(2), RUN, "skipped", "presentation-intent: no"))
    twin = ImageInfo("1.1", "1.9", "1.2.1", None, None, *SHAPE, None, "9" * 64, file_key="9" * 64)
    ledger.record(Entry(twin, RUN, "failed", "conflicting-uid: other pixels"))
    got = evaluate(ledger.path, tmp_path / "truth")
    assert (got["n_images"], got["n_findings"], got["n_failed"], got["sensitivity"]) == (1, 1, 0, 1.0)


def test_without_a_mass_only_false_positives_can_be_told(record, ledger, tmp_path):
    record(1, [((10, 10, 20, 20), 0.9)], [])
    got = evaluate(ledger.path, tmp_path / "truth")
    assert (got["sensitivity"], got["dice_mean"], got["average_precision"]) == (None, None, None)
    assert got["fp_per_image"] == 1.0
    assert set(got["intervals"].values()) == {None}


def test_several_runs_must_be_told_apart(filled, record, ledger, tmp_path):
    other = Run("d" * 64, "c" * 64)
    ledger.start(other, {"name": "other"})
    record(1, [], [(10, 10, 20, 20)], run=other)
    with pytest.raises(ResultsError, match=r"2 runs, say which: .*bundle_id d{64} \(other\)"):
        evaluate(ledger.path, tmp_path / "truth")
    assert evaluate(ledger.path, tmp_path / "truth", bundle_id="d" * 64)["sensitivity"] == 0
    assert evaluate(ledger.path, tmp_path / "truth", bundle_id="bb", settings_id="c")["sensitivity"] == 0.5


def test_truth_that_is_none_is_said(filled, ledger, tmp_path):
    with pytest.raises(ResultsError, match="no truth"):
        evaluate(ledger.path, tmp_path / "elsewhere")
    with pytest.raises(ResultsError, match="no results of images"):
        evaluate(ledger.path, tmp_path / "truth", bundle_id="f" * 64)
    path = tmp_path / "truth" / "1.2.1.png"
    for content, words in (
        (imagecodecs.png_encode(np.zeros((50, 60), np.uint8)), r"shape \(50, 60\)"),
        (imagecodecs.png_encode(np.zeros((*SHAPE, 3), np.uint8)), "shape"),
        (imagecodecs.png_encode(np.zeros(SHAPE, np.uint16)), "uint16"),
        (b"not a picture", "PNG"),
    ):
        path.write_bytes(content)
        with pytest.raises(ResultsError, match=words):
            evaluate(ledger.path, tmp_path / "truth")


def test_the_command_prints_a_table_and_writes_json(filled, ledger, tmp_path):
    out = tmp_path / "measures.json"
    arguments = ["evaluate", str(ledger.path), "--truth", str(tmp_path / "truth"), "--json", str(out), "--verbose"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(out.read_text())["sensitivity"] == 0.5
    for words in ("Sensitivity ", "0.500", "4 masses", "For tests.", "Sensitivity at 1.0 FP/image"):
        assert words in done.output
    quiet = CliRunner().invoke(main, [*arguments[:4], "--quiet"])
    assert (quiet.exit_code, quiet.output) == (0, "")
    missing = CliRunner().invoke(main, ["evaluate", str(tmp_path), "--truth", str(tmp_path / "truth")])
    assert missing.exit_code == 1
    assert CliRunner().invoke(main, ["evaluate", str(ledger.path)]).exit_code == 2
