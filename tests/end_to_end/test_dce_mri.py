"""Breast DCE-MRI from phantoms to measures, as the README has it, with small networks that can be read."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from pydicom import dcmread

import mammofast
from mammofast.cli import main
from tests.methods.volume_bundle import write_bundle
from tests.report.dicom.validators import dciodvfy


def run(*arguments, code=0):
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.stderr
    return done


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dce-mri")
    run("phantom", folder / "phantoms", "--kind", "dce-mri", "--studies", 2, "--seed", 3, "--workers", 1, "--quiet")
    run("ingest", folder / "phantoms" / "dicom", folder / "archive.zarr", "--quiet")
    one = {"shape": [80, 80], "contrast": "minmax", "over": "volume"}
    write_bundle(
        folder / "bundle",
        region={**one, "channels": [{"phase": 0}]},
        detection={**one, "channels": [{"phase": 1, "minus": 0}]},
    )
    command = ["screen", folder / "archive.zarr", folder / "results", "--bundle", folder / "bundle", "--workers", 1]
    run(*command, "--quiet")
    return folder


def test_every_volume_is_screened_and_has_its_row(night):
    truths = {path.stem for path in (night / "phantoms" / "truth").glob("*.npy")}
    rows = mammofast.open_results(night / "results").images().to_pylist()
    assert {row["sop_uid"] for row in rows} == truths
    assert {row["status"] for row in rows} == {"done"}
    assert {row["rows"] for row in rows} <= {160, 176}


def test_what_is_written_lies_on_the_source_s_slices(night):
    run("report", night / "results", "--to", "dicom-seg", "--to", "tid1500", "--out", night / "dicom", "--quiet")
    results = mammofast.open_results(night / "results")
    sources = {ds.SOPInstanceUID: ds for ds in map(dcmread, (night / "phantoms" / "dicom").rglob("*.dcm"))}
    paths = sorted((night / "dicom").rglob("*.dcm"))
    segmentations = 0
    for path in paths:
        assert dciodvfy(path) == []  # PixelMed's takes minutes for so many frames
        seg = dcmread(path)
        if seg.Modality != "SEG":
            continue
        segmentations += 1
        (volume,) = [
            v
            for v in mammofast.open_archive(night / "archive.zarr").volumes()
            if v.record.study_uid == seg.StudyInstanceUID
        ]
        region = results.region(volume.record.sop_uid)
        bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
        frames = bits[: seg.NumberOfFrames * seg.Rows * seg.Columns].reshape(-1, seg.Rows, seg.Columns).astype(bool)
        heights = [p[2] for p in volume.record.positions]
        seen = np.zeros_like(region)
        for frame, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
            where = group.PlanePositionSequence[0].ImagePositionPatient
            (reference,) = group.DerivationImageSequence[0].SourceImageSequence
            source = sources[reference.ReferencedSOPInstanceUID]
            if "ReferencedFrameNumber" in reference:
                source = source.PerFrameFunctionalGroupsSequence[
                    reference.ReferencedFrameNumber - 1
                ].PlanePositionSequence[0]
            assert list(map(float, source.ImagePositionPatient)) == list(map(float, where))
            if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1:
                seen[int(np.argmin(np.abs(np.array(heights) - float(where[2]))))] = frame
        assert np.array_equal(seen, region)
    assert segmentations == 2


def test_page_and_tables(night):
    run("report", night / "results", "--to", "html", "--to", "json", "--out", night / "report", "--quiet")
    page = (night / "report" / "index.html").read_text()
    assert page.count('<figure class="volume">') == 2
    findings = json.loads((night / "report" / "findings.json").read_text())
    assert all(0 <= row["z_min"] < row["z_max"] <= 40 for row in findings)


def test_measures_beside_p5_s(night):
    command = ["evaluate", night / "results", "--truth", night / "phantoms" / "truth", "--json", night / "out.json"]
    said = run(*command, "--table")
    measures = json.loads((night / "out.json").read_text())
    assert measures["n_images"] == 2
    assert 0 < measures["dice_mean"] < 1
    assert "U-Net++" in said.stdout


def test_mammograms_objects_are_refused_by_a_word(night):
    said = run("report", night / "results", "--to", "cad-sr", "--to", "gsps", "--out", night / "none")
    assert "cad-sr, gsps: of mammograms only" in said.stderr
    assert not list((night / "none").rglob("*.dcm"))
