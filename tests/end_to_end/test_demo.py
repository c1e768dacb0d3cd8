"""The main job as a user runs it: what is made, that it adds up, and that nothing changes it afterwards."""

import hashlib
import json
import shutil

import imagecodecs
import numpy as np
import pydicom
import pytest
from click.testing import CliRunner

import mammofast
from mammofast.cli import main


def tree(folder):
    """Return every file's bytes and time of change, by name."""
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_everything_is_made_and_every_image_is_done(demo):
    dicoms = list((demo.out / "dicom").rglob("*.dcm"))
    truths = {path.stem for path in (demo.out / "truth").glob("*.png")}
    images = mammofast.open_results(demo.results).images().to_pylist()
    assert len(dicoms) == len(truths) == len(images) == 8
    assert {image["sop_uid"] for image in images} == truths
    assert {image["status"] for image in images} == {"done"}
    assert {(image["laterality"], image["view"]) for image in images} == {(s, v) for s in "LR" for v in ("CC", "MLO")}
    assert demo.page.is_file()
    assert "trying the software only" in demo.output


def test_findings_add_up_to_the_masks(demo):
    results = mammofast.open_results(demo.results)
    table = results.findings().to_pylist()
    assert table
    for entry in results.entries():
        rows = [row for row in table if row["sop_uid"] == entry.image.sop_uid]
        assert len(rows) == len(entry.findings)
        union = np.zeros((entry.image.rows, entry.image.cols), bool)
        for row, stored in zip(rows, entry.findings, strict=True):
            mask = stored.finding().mask
            union[row["y_min"] : row["y_max"], row["x_min"] : row["x_max"]] |= mask
            assert row["area_px"] == np.count_nonzero(mask)
            assert row["area_mm2"] == pytest.approx(row["area_px"] * np.prod(entry.image.pixel_spacing))
        assert np.array_equal(results.mask(entry.image.sop_uid), union)


def test_the_evaluation_printed_is_that_of_the_ledger(demo):
    """Sensitivity and false positives, counted once more from the table and the truth."""
    printed = json.loads((demo.out / "evaluation.json").read_text())
    findings = mammofast.open_results(demo.results).findings().to_pylist()
    hits = masses = false = images = 0
    for path in (demo.out / "truth").glob("*.png"):
        truth = imagecodecs.png_decode(path.read_bytes())
        images += 1
        boxes = []
        for k in range(1, int(truth.max()) + 1):
            rows, cols = np.nonzero(truth == k)
            boxes.append((cols.min(), rows.min(), cols.max() + 1, rows.max() + 1))
        masses += len(boxes)
        mine = sorted((f for f in findings if f["sop_uid"] == path.stem), key=lambda f: -f["confidence"])
        for f in mine:
            overlaps = [iou((f["x_min"], f["y_min"], f["x_max"], f["y_max"]), box) for box in boxes]
            if overlaps and max(overlaps) >= 0.5:
                boxes.pop(int(np.argmax(overlaps)))
                hits += 1
            else:
                false += 1
    assert printed["sensitivity"] == pytest.approx(hits / masses)
    assert printed["fp_per_image"] == pytest.approx(false / images)


def iou(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(w, 0) * max(h, 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def test_pixels_of_the_archive_are_what_pydicom_decodes(demo):
    kept = {image.record.sop_uid: image for image in mammofast.open_archive(demo.archive).images()}
    for path in (demo.out / "dicom").rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        np.testing.assert_array_equal(kept[dataset.SOPInstanceUID].read(), dataset.pixel_array)


def recorded(results, sop_uid):
    return [
        ((f["x_min"], f["y_min"], f["x_max"], f["y_max"]), f["score"], f["confidence"], f["area_px"])
        for f in results.findings().to_pylist()
        if f["sop_uid"] == sop_uid
    ]


def found(result):
    return [(f.box, f.score, f.confidence, f.area_px) for f in result.findings]


def test_embedding_gives_the_ledgers_findings_to_the_bit(demo):
    results = mammofast.open_results(demo.results)
    with mammofast.open_bundle("demo") as screener:
        for image in mammofast.open_archive(demo.archive).images():
            result = screener.screen(image)
            assert found(result) == recorded(results, image.record.sop_uid)
            assert np.array_equal(result.mask, results.mask(image.record.sop_uid))


def test_embedding_an_array_gives_the_ledgers_findings_to_the_bit(demo, tmp_path):
    """Where stored values are presentation values already, pydicom's array and the archive give the same."""
    folder, archive, ledger = tmp_path / "in", tmp_path / "a.zarr", tmp_path / "r"
    folder.mkdir()
    arrays = {}
    for path in sorted((demo.out / "dicom").rglob("*.dcm")):
        dataset = pydicom.dcmread(path)
        if dataset.PhotometricInterpretation != "MONOCHROME2":
            continue
        for keyword in ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "ModalityLUTSequence"):
            if keyword in dataset:
                del dataset[keyword]
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
        arrays[dataset.SOPInstanceUID] = dataset.pixel_array
        dataset.save_as(folder / path.name)
    assert arrays
    for command in (["ingest", str(folder), str(archive)], ["screen", str(archive), str(ledger), "--bundle", "demo"]):
        assert CliRunner().invoke(main, [*command, "--quiet"]).exit_code == 0
    results = mammofast.open_results(ledger)
    assert results.findings().num_rows
    with mammofast.open_bundle("demo") as screener:
        for sop_uid, array in arrays.items():
            for result in (screener.screen(array), screener.screen(array.astype(np.int32))):
                assert found(result) == recorded(results, sop_uid)
                assert np.array_equal(result.mask, results.mask(sop_uid))


def test_running_again_changes_nothing(demo):
    before = tree(demo.archive), tree(demo.results)
    for command in (
        ["ingest", str(demo.out / "dicom"), str(demo.archive), "--quiet"],
        ["screen", str(demo.archive), str(demo.results), "--bundle", "demo", "--quiet"],
    ):
        assert CliRunner().invoke(main, command).exit_code == 0
    assert (tree(demo.archive), tree(demo.results)) == before


def test_results_do_not_depend_on_the_number_of_workers(demo, tmp_path):
    done = CliRunner().invoke(
        main, ["screen", str(demo.archive), str(tmp_path / "r"), "--bundle", "demo", "--workers", "1", "--quiet"]
    )
    assert done.exit_code == 0, done.output

    def contents(folder):
        return {name: digest for name, (digest, _) in tree(folder).items() if name.startswith("images/")}

    assert contents(tmp_path / "r") == contents(demo.results)


def test_what_is_no_mammogram_is_listed_with_its_reason(demo, tmp_path):
    """A night's folder holds other things too; each has a row, and the exit status says when one is damaged."""
    folder, archive, results = tmp_path / "in", tmp_path / "a.zarr", tmp_path / "r"
    folder.mkdir()
    sound, torn = sorted((demo.out / "dicom").rglob("*.dcm"))[:2]
    shutil.copy(sound, folder)
    (folder / "Doe^Jane.dcm").write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    (folder / "notes.txt").write_text("Doe^Jane")
    magnified = pydicom.dcmread(torn)
    modifier = pydicom.Dataset()
    modifier.CodeValue, modifier.CodingSchemeDesignator, modifier.CodeMeaning = "399163009", "SCT", "Magnification"
    magnified.ViewCodeSequence[0].ViewModifierCodeSequence = pydicom.Sequence([modifier])
    magnified.SOPInstanceUID = "1.2.3.4"
    magnified.save_as(folder / "m.dcm")

    ingested = CliRunner().invoke(main, ["ingest", str(folder), str(archive)])
    assert ingested.exit_code == 3
    screened = CliRunner().invoke(main, ["screen", str(archive), str(results), "--bundle", "demo", "--workers", "1"])
    assert screened.exit_code == 3
    assert "Doe" not in ingested.output + screened.output

    rows = mammofast.open_results(results).images().to_pylist()
    outcomes = sorted((row["status"], (row["reason"] or "").partition(":")[0]) for row in rows)
    assert [status for status, _ in outcomes] == ["done", "failed", "skipped", "skipped"]
    assert {reason for status, reason in outcomes if status == "skipped"} == {"not-dicom", "magnification-view"}
    not_dicom = next(row for row in rows if row["reason"] and row["reason"].startswith("not-dicom"))
    assert not_dicom["sop_uid"] is None
    assert not_dicom["content_sha256"] == hashlib.sha256((folder / "notes.txt").read_bytes()).hexdigest()
    assert "Doe" not in json.dumps(rows)
