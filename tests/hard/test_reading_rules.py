"""docs/reading.md: the reasons it names are those there are, and real objects are given each of them."""

import json
import re
import shutil

import numpy as np
import pytest

from mammofast import open_archive, open_results
from mammofast.errors import Reason
from tests.hard.shell import ROOT, mammofast

TEXT = (ROOT / "docs" / "reading.md").read_text()


def codes(heading):
    """The codes in the last column of tables whose header ends like this."""
    tables = re.findall(rf"\| {heading} \|\n\|[-|]+\|\n((?:\|.*\|\n)+)", TEXT)
    assert tables
    return {code for table in tables for row in table.splitlines() for code in re.findall(r"`([a-z-]+)` \|$", row)}


ACCEPTS = json.loads("{" + re.search(r"^\"accepts\": .*$", TEXT, re.MULTILINE)[0] + "}")["accepts"]
CAPTURE, TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.13.1.3"
# One attribute away from a mammogram that is done.
CHANGES = {
    "not-a-mammogram": {"SOPClassUID": CAPTURE},
    "tomosynthesis": {"SOPClassUID": TOMOSYNTHESIS},
    "multi-frame": {"NumberOfFrames": "2"},
    "colour": {"SamplesPerPixel": 3},
    "magnification-view": {"ViewPosition": "MMLO"},
    "spot-compression-view": {"ViewPosition": "SMLO"},
    "implant": {"BreastImplantPresent": "YES"},
    "specimen": {"ViewPosition": "SPECIMEN"},
    "bad-header": {"BitsStored": None},
    "no-pixels": {"PixelData": None},
    "too-large": {"Rows": 65535, "Columns": 65535},
    "presentation-intent": {"PresentationIntentType": "FOR PROCESSING"},
    "laterality": {"ImageLaterality": None},
    "view": {"ViewPosition": "ML"},
    "view-modifier": {"ViewPosition": "MLOID"},
}


def write(folder, dicom):
    """Write an object for every reason; return which SOP Instance UID, or None, should be given which."""
    expected = {code: dicom.write(folder / f"{code}.dcm", **change).SOPInstanceUID for code, change in CHANGES.items()}
    expected[None] = dicom.write(folder / "sound.dcm").SOPInstanceUID
    for number in (1, 2):
        dicom.write(folder / f"retake{number}.dcm", StudyInstanceUID="1.2.9", InstanceNumber=number)
    (folder / "not-dicom.dcm").write_text("Dear colleague,")
    original = dicom.write(folder / "a.dcm", StudyInstanceUID="1.2.3")
    dicom.write(
        folder / "b.dcm", dicom.pixels(seed=1), SOPInstanceUID=original.SOPInstanceUID, StudyInstanceUID="1.2.3"
    )
    expected["transfer-syntax"] = dicom.write(
        folder / "mpeg.dcm", syntax="1.2.840.10008.1.2.4.100", frame=b"abcd"
    ).SOPInstanceUID
    expected["decode"] = dicom.write(
        folder / "decode.dcm", syntax=dicom.lossless["JPEG-LS"], frame=b"\xff\xd8 no codestream \xff\xd9"
    ).SOPInstanceUID
    expected["value-range"] = dicom.write(
        folder / "range.dcm", dicom.pixels(bits=14), syntax=dicom.lossless["JPEG-LS"], bits_stored=14, BitsStored=12,
        HighBit=11,
    ).SOPInstanceUID  # fmt: skip
    black = np.zeros((40, 40), np.uint16)
    expected["constant-pixels"] = dicom.write(folder / "constant.dcm", black).SOPInstanceUID
    expected["conflicting-uid"] = original.SOPInstanceUID
    (folder / "read.zip").write_bytes(b"PK\3\4 and no more")
    missing = dicom.dataset()
    dicom.dicomdir(folder / "DICOMDIR", [(missing, ["NOT", "THERE"])])
    expected["missing-file"] = missing.SOPInstanceUID
    return expected


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_every_reason_is_given_to_a_real_object(tmp_path, dicom, bundle):
    expected = write(tmp_path / "dicom", dicom)
    assert mammofast("ingest", tmp_path / "dicom", tmp_path / "archive.zarr").returncode == 3
    asking = shutil.copytree(bundle, tmp_path / "bundle")
    manifest = json.loads((asking / "manifest.json").read_text())
    (asking / "manifest.json").write_text(json.dumps(manifest | {"accepts": ACCEPTS}))
    results = tmp_path / "results"
    assert mammofast("screen", tmp_path / "archive.zarr", results, "--bundle", asking, "--workers", 1).returncode == 3
    rows = open_results(results).images().to_pylist()
    given = {row["reason"] and row["reason"].partition(":")[0]: row for row in rows if row["status"] != "done"}
    assert set(given) == codes("Reason")
    for code, sop_uid in expected.items():
        if code is not None:
            assert given[code]["sop_uid"] == sop_uid
    done = {row["sop_uid"] for row in rows if row["status"] == "done"}
    assert expected[None] in done
    assert len(done) == 4
    # The table above says "skipped" or "failed" of each.
    for line in TEXT.splitlines():
        if (found := re.search(r"\| (skipped|failed)[^|]*\| `([a-z-]+)` \|$", line)) and found[2] != "bad-header":
            assert given[found[2]]["status"] == found[1]
    # Without what a bundle asks for, all that is in the archive is read.
    plain = tmp_path / "plain"
    assert mammofast("screen", tmp_path / "archive.zarr", plain, "--bundle", bundle, "--workers", 1).returncode == 3
    statuses = {row["sop_uid"]: row["status"] for row in open_results(plain).images().to_pylist()}
    assert all(statuses[expected[code]] == "done" for code in ("laterality", "view", "view-modifier"))
    assert len(list(open_archive(tmp_path / "archive.zarr").images())) == 8
    assert mammofast("report", plain, "--to", "html", "--out", tmp_path).returncode == 0
    page = (tmp_path / "index.html").read_text()
    assert [page.count(f"{number} of 2 of this view") for number in (1, 2, 3)] == [1, 1, 0]


def test_the_page_names_all_reasons_there_are():
    # tests/archive/volumes gives each of a series' reasons to real objects.
    assert codes("Reason") | codes("Code") | codes("Reason of a series") == set(Reason)
    assert not codes("Reason") & codes("Code")
