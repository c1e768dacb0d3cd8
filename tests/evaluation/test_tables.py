"""Tables shaped like the papers', and what the papers' own numbers cannot be."""

import json
from types import SimpleNamespace

import imagecodecs
import numpy as np
import pytest
from click.testing import CliRunner

from mammofast.cli import main
from mammofast.evaluation import evaluate
from mammofast.evaluation.papers import P1, P2, P3, P4_AP, P4_DICE, P4_FUSION, TABLES
from mammofast.evaluation.tables import as_text, paper_tables, tables_of
from mammofast.records import ImageResult
from mammofast.screening import Results
from mammofast.screening.entry import Entry
from tests.evaluation.by_hand import RUN, SHAPE, finding, info, truth_of


@pytest.fixture
def measures(filled, ledger, tmp_path):
    return evaluate(ledger.path, tmp_path / "truth", masks=True)


@pytest.mark.parametrize("known", [P1, P2, P3, P4_AP, P4_DICE, P4_FUSION])
def test_every_row_fills_its_columns(known):
    for row in known.rows:
        assert len(row.values) == len(known.columns)
        for value, name in zip(row.values, known.columns, strict=True):
            limit = 10 if name in ("hausdorff_px", "fp_per_image") else 1
            assert value is None or 0 < value < limit
    words = [word for row in known.rows for word in row.names]
    assert len(set(words)) == len(words)


def test_ours_stand_beside_the_papers(measures):
    (table,) = paper_tables("p1", {"mine": measures})
    first, pooled, *_ = table.rows
    dice = first.cells[0]
    assert (first.system, dice.paper) == ("mine", None)
    assert dice.ours == pytest.approx(measures["dice_mean"])
    assert dice.interval == measures["intervals"]["dice_mean"]
    assert pooled.cells[2].ours == measures["masks"]["pooled"]["sensitivity"]
    on = next(row for row in table.rows if row.system == "ASPP-FC-DenseNet")
    assert [cell.paper for cell in on.cells] == [0.7697, 0.6041, 0.7983]
    assert {cell.ours for cell in on.cells} == {None}


@pytest.mark.parametrize(
    "paper, name, row",
    [
        ("p1", "p1-aspp-fc-densenet, fold 3", "ASPP-FC-DenseNet"),
        ("p1", "level-set", "level set"),
        ("p2", "P2-AUNet", "AUNet"),
        ("p2", "aunet-r4", "  reduction ratio 4"),
        ("p2", "unet-p2-res-basic", "Res-Basic"),
        ("p3", "dilation10-context", "Dilation10 context"),
    ],
)
def test_a_bundles_name_says_which_row_it_is(measures, paper, name, row):
    (table,) = paper_tables(paper, {name: measures})
    (on,) = (r for r in table.rows if all(c.ours is not None and c.paper is not None for c in r.cells))
    assert on.system == row
    assert not any(r.system == name for r in table.rows)


def test_p3_counts_all_images(measures):
    (table,) = paper_tables("p3", {"mine": measures})
    assert [cell.ours for cell in table.rows[0].cells] == list(measures["masks"]["classes"].values())
    assert measures["masks"]["n_images_classes"] == measures["n_images"] > measures["masks"]["n_images"]
    # The image without a mass holds 16 pixels of a false finding.
    assert measures["masks"]["classes_per_image"]["pixel_accuracy"]["n"] == 4


def test_p4_has_three_tables_where_boxes_were_kept(measures):
    intervals = {"sensitivity": [0.4, 0.6], "fp_per_image": None}
    cell = {"sensitivity": 0.5, "fp_per_image": 0.25, "intervals": intervals}
    fused = dict.fromkeys(("0.0", "0.5", "0.6", "0.7"), cell)
    ap, dice = paper_tables("p4", {"mine": measures})
    assert ap.rows[0].cells[0].ours == measures["average_precision"]
    assert [row.system for row in dice.rows if row.cells[0].ours is not None] == ["mine"]
    _, sweep, _ = paper_tables("p4", {"mine": measures | {"fusion": fused}})
    assert [row.system for row in sweep.rows] == ["λ = 0", "λ = 0.5", "λ = 0.6", "λ = 0.7"]
    assert [(cell.ours, cell.paper) for cell in sweep.rows[2].cells] == [(0.5, 0.936), (0.25, 0.18)]


def test_text(measures):
    (table,) = paper_tables("p2", {"mine": measures})
    lines = list(as_text(table))
    assert lines[0].startswith("P2 (Sun et al. 2020)")
    assert any(line.split() == ["AUNet", "-", "0.818", "-", "0.849", "-", "0.269", "-", "2.96"] for line in lines)
    text = "\n".join(lines)
    assert "HAU: P2's is no Hausdorff distance" in text
    assert "mine: HAU" in text
    assert "mm, of the 2 images on which anything was found" in text
    assert max(map(len, lines)) <= 130
    json.dumps(table.as_dict(), allow_nan=False)


def test_methods_have_their_papers():
    assert tables_of("two_stage") == ("p4",)
    assert tables_of("whole_image") == ("p1", "p2")
    assert tables_of("tiled") == ("p3",)
    assert tables_of("volume") == ("p5",)
    assert tables_of("another") == tables_of(None) == ("p1", "p2", "p3", "p4")
    assert set(TABLES) == {"p1", "p2", "p3", "p4", "p5"}


def test_a_system_of_one_of_them_stands_in_that_papers_tables_alone():
    assert tables_of("whole_image", "p2-aunet 3") == ("p2",)
    assert tables_of("whole_image", "p1-unet") == ("p1",)
    assert tables_of("whole_image", "fc-densenet56 and fc-densenet103") == ("p1", "p2")
    assert tables_of("whole_image", "ours") == ("p1", "p2")
    assert tables_of("tiled", "p2-aunet") == ("p3",)


def test_p1s_iou_cannot_be():
    """IoU = D / (2 - D) is convex in Dice: the mean over images is at least that of the mean Dice; pooled equal."""
    for row in P1.rows:
        dice, iou, _ = row.values
        if dice is not None:
            assert (iou >= dice / (2 - dice)) == (row.system != "ASPP-FC-DenseNet"), row.system
    assert 0.7697 / (2 - 0.7697) > 0.6256


def test_p4s_means_are_those_of_its_splits():
    tpr = {0: (0.91, 0.97, 0.89, 0.91, 1.0), 1: (0.97, 0.94, 0.91, 0.92, 0.97), 2: (0.94, 0.94, 0.91, 0.92, 0.97),
           3: (0.94, 0.89, 0.91, 0.89, 0.97)}  # fmt: skip
    false = {0: (1.58, 1.39, 1.30, 1.55, 0.87), 1: (0.18, 0.27, 0.18, 0.36, 0.12), 2: (0.12, 0.24, 0.18, 0.30, 0.06),
             3: (0.09, 0.27, 0.15, 0.18, 0.06)}  # fmt: skip
    for k, row in enumerate(P4_FUSION.rows):
        assert row.values == pytest.approx((np.mean(tpr[k]), np.mean(false[k])), abs=1e-9)
    assert [a < b for a, b in zip(tpr[0], tpr[1], strict=True)] == [True, False, True, True, False]
    splits = {"B: cascaded U-Net": (70.89, 67.78, 70.01, 73.35, 65.02), "B: U-Net": (70.59, 68.46, 70.56, 74.66, 66.06)}
    values = {row.system: row.values[0] for row in P4_DICE.rows}
    for system, dices in splits.items():
        assert values[system] == pytest.approx(np.mean(dices) / 100, abs=5e-5)
    group = [values[name] for name in values if name.startswith("B")]
    assert np.mean(group) == pytest.approx(0.6991, abs=1e-4)
    assert P4_AP.rows[0].values[0] == pytest.approx(np.mean([78.64, 70.24, 76.11, 79.05, 73.28]) / 100, abs=5e-5)


def test_from_the_shell(filled, ledger, tmp_path):
    words = ["evaluate", str(ledger.path), "--truth", str(tmp_path / "truth")]
    out = tmp_path / "m.json"
    done = CliRunner().invoke(main, [*words, "--table", "--json", str(out)])
    assert done.exit_code == 0, done.output
    for text in ("P1 (Hai", "P2 (Sun", "P3 (FCN", "P4 (Yan", "impossible beside its DI", "of the 2 images"):
        assert text in done.output
    assert set(json.loads(out.read_text())["tables"]) == {"p1", "p2", "p3", "p4"}
    one = CliRunner().invoke(main, [*words, "--table", "p3", "--by", "size", "--by", "view"])
    assert one.exit_code == 0, one.output
    assert "P3 (FCN" in one.output
    assert "P1 (Hai" not in one.output
    assert "By size" in one.output
    assert "By view" in one.output
    assert CliRunner().invoke(main, [*words, "--table", "p9"]).exit_code == 2
    of_volumes = CliRunner().invoke(main, [*words, "--table", "p5"])
    assert of_volumes.exit_code == 2
    assert "--table p5 is of volumes; of images there are p1, p2, p3 and p4." in of_volumes.stderr
    unknown = CliRunner().invoke(main, [*words, "--by", "margin"])
    assert unknown.exit_code == 1
    assert "which the truth says of no mass" in unknown.output


def test_nothing_found_has_no_distance(record, ledger, tmp_path):
    record(1, [], [(10, 10, 20, 20)])
    (table,) = paper_tables("p2", {"ours": evaluate(ledger.path, tmp_path / "truth", masks=True)})
    assert table.notes[0] == "ours: no HAU, for nothing was found on any image with a mass."


def test_a_bundle_of_a_paper_is_beside_that_paper_from_the_shell(tmp_path):
    results = Results.create_or_open(tmp_path / "results", SimpleNamespace(archive_id="a" * 32, path=tmp_path / "a"))
    results.start(RUN, {"notice": "For tests.", "method": "whole_image", "name": "p2-aunet"})
    results.record(Entry.of(info(1), RUN, ImageResult(SHAPE, (finding((10, 10, 20, 20), 0.9),))))
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "1.2.1.png").write_bytes(imagecodecs.png_encode(truth_of((10, 10, 20, 20))))
    done = CliRunner().invoke(main, ["evaluate", str(results.path), "--truth", str(tmp_path / "truth"), "--table"])
    assert done.exit_code == 0, done.output
    assert "P2 (Sun" in done.output
    assert "P1 (Hai" not in done.output
