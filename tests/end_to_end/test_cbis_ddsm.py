"""A public data set whose objects are Secondary Captures, from training to its table, by commands alone."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from pydicom import dcmread

import mammofast
from mammofast.cli import main

CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SHAPE = (96, 64)
TABLES = {"train": range(4), "test": range(4, 7)}


def invoke(*words):
    done = CliRunner().invoke(main, [*map(str, words)])
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture
def cbis(tmp_path, dicom):
    """Seven scanned films of as many patients, each with a mass, its mask and a crop; one mask is missing."""
    folder, rng, uids = tmp_path / "cbis", np.random.default_rng(0), {}

    def write(place, pixels, description, **stated):
        words = {"ImageLaterality": None, "ViewPosition": None, "PresentationIntentType": None, **stated}
        words |= {"SOPClassUID": CAPTURE, "ConversionType": "WSD", "SeriesDescription": description}
        path = folder / "CBIS-DDSM" / place
        bits = 8 * pixels.dtype.itemsize
        return dicom.write(path, pixels, bits_stored=bits, ImagerPixelSpacing=None, **words).SOPInstanceUID

    for split, numbers in TABLES.items():
        rows = []
        for k in numbers:
            name = f"Mass-{'Training' if split == 'train' else 'Test'}_P_{k:05}_RIGHT_MLO"
            image, mask = rng.integers(0, 4000, SHAPE, dtype=np.uint16), np.zeros(SHAPE, np.uint8)
            image[:, :48] += 20000
            mask[20 + k : 44 + k, 10:36] = 255
            image[mask > 0] += 30000
            # The last one's header says what the others' do not.
            said = {"Laterality": "R", "PatientOrientation": "MLO"} if k == 6 else {}
            uids[k] = write(
                f"{name}/08-29-2017/1.000000-full mammogram images/1-1.dcm", image, "full mammogram images", **said
            )
            write(f"{name}_1/08-29-2017/1.000000-cropped images/1-1.dcm", image[20:44, 10:36], "cropped images")
            if k != 5:
                write(f"{name}_1/08-29-2017/1.000000-ROI mask images/1-2.dcm", mask, "ROI mask images")
            rows.append(
                {
                    "patient_id": f"P_{k:05}", "breast_density": 3, "left or right breast": "RIGHT",
                    "image view": "MLO", "abnormality id": 1, "abnormality type": "mass", "mass shape": "OVAL",
                    "mass margins": "OBSCURED",
                    "assessment": 4, "pathology": "BENIGN", "subtlety": 5,
                    "image file path": f"{name}/1.3/1.4/000000.dcm",
                    "cropped image file path": f"{name}_1/1.3/1.4/000000.dcm",
                    "ROI mask file path": f"{name}_1/1.3/1.4/000001.dcm",
                }
            )  # fmt: skip
        with (folder / f"mass_case_description_{split}_set.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    return SimpleNamespace(folder=folder, uids=uids)


def test_trained_ingested_screened_and_measured(cbis, tmp_path):
    archive, results = tmp_path / "archive.zarr", tmp_path / "results"
    out = tmp_path / "run"
    sizes = ["--epochs", 1, "--width", 0.0625, "--size", "32x32"]
    invoke("train", "p1-aspp-fc-densenet", "--data", f"cbis-ddsm:{cbis.folder}", "--out", out, *sizes)
    done = invoke("ingest", "--layout", "cbis-ddsm", cbis.folder, archive)
    assert "6 files: 6 added" in done.stdout
    assert "CBIS-DDSM: 1 left out" in done.stderr
    records = [image.record for image in mammofast.open_archive(archive).images()]
    assert {record.sop_uid for record in records} == {uid for k, uid in cbis.uids.items() if k != 5}
    assert {(r.laterality, r.view, r.presentation_intent) for r in records} == {("R", "MLO", "FOR PRESENTATION")}

    invoke("screen", archive, results, "--bundle", out / "bundle", "--workers", 1, "--quiet")
    assert mammofast.open_results(results).images()["status"].to_pylist() == ["done"] * 6
    measured = tmp_path / "measured.json"
    words = ("--truth", cbis.folder, "--layout", "cbis-ddsm", "--by", "shape", "--table", "--json", measured)
    assert "P1 (Hai" in invoke("evaluate", results, *words).stdout
    numbers = json.loads(measured.read_text())
    assert (numbers["n_images"], numbers["n_patients"], numbers["n_masses"]) == (6, 6, 6)
    assert numbers["n_without_truth"] == 0
    kinds = ("csv", "cad-sr", "dicom-seg", "tid1500", "gsps", "picture", "parquet", "html")
    report = tmp_path / "report"
    invoke("report", results, *(word for kind in kinds for word in ("--to", kind)), "--out", report)
    assert set(pq.read_table(report / "images.parquet")["view"].to_pylist()) == {"MLO"}
    assert {str(dcmread(path).StudyInstanceUID) for path in report.rglob("*.dcm")} == {r.study_uid for r in records}


def test_without_its_layout_it_is_no_mammography(cbis, tmp_path):
    """Nobody guesses: a hospital's Secondary Capture may be anything. What is refused so is taken when it is stated."""
    archive = tmp_path / "archive.zarr"
    done = invoke("ingest", cbis.folder / "CBIS-DDSM", archive)
    assert "20 skipped" in done.stdout
    assert "Why nothing was added: `mammofast archive list" in done.stderr
    (reason,) = {record.reason for record in mammofast.open_archive(archive).skipped()}
    assert reason.startswith("not-a-mammogram: ")
    assert "films of a public data set are taken with --layout" in reason
    done = invoke("screen", archive, tmp_path / "results", "--bundle", "demo", "--workers", 1)
    assert "0 done, 20 skipped" in done.stdout
    assert "Why nothing was screened: the same command with --verbose" in done.stderr
    assert "6 added" in invoke("ingest", "--layout", "cbis-ddsm", cbis.folder, archive).stdout
    assert len(list(mammofast.open_archive(archive).skipped())) == 14
    assert "0 added, 6 known" in invoke("ingest", "--layout", "cbis-ddsm", cbis.folder, archive).stdout


def test_a_layout_is_of_folders(cbis, tmp_path):
    words = ["ingest", "--layout", "cbis-ddsm", "https://pacs/dicom-web", str(tmp_path / "archive.zarr")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert "expected the folders of a data set" in done.output
    done = CliRunner().invoke(main, ["ingest", "--layout", "inbreast", str(cbis.folder), str(tmp_path / "a.zarr")])
    assert done.exit_code == 1
    assert "INbreast: no image found" in done.output
    assert not (tmp_path / "a.zarr").exists()
