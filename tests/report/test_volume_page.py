"""What the page shows of volumes."""

import base64
import re
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
from pydicom import config

from mammofast import open_archive
from mammofast.archive import ingest
from mammofast.records import VolumeFinding, VolumeResult
from mammofast.report import volume_cards
from mammofast.report.html import write_html
from mammofast.report.tables import write_tables
from mammofast.report.volume_pictures import Subtraction, project
from mammofast.screening import Results
from mammofast.screening.entry import Entry, ImageInfo, Run
from tests.report.dicom.mr import PHASES, SHAPE, SPACING, series

RUN = Run("b" * 64, "c" * 64)
SUMMARY = {
    "name": "demo-mri",
    "method": "volume",
    "notice": "Not for diagnosis.",
    "parameters": {"detection": {"channels": [{"phase": -1, "minus": 0}]}},
}
FINDINGS = (VolumeFinding((4, 5, 12, 11), 2, 5, 0.875, 0.875), VolumeFinding((20, 2, 26, 9), 0, 1, 0.5, 0.5))


def region():
    found = np.zeros(SHAPE, bool)
    found[1:6, 3:18, 2:25] = True
    found[2:4, 6:9, 5:8] = False  # a part of the first candidate
    return found


@pytest.fixture
def archive(tmp_path, request):
    (tmp_path / "dicom").mkdir()
    for number, ds in enumerate(series(getattr(request, "param", "sagittal"))):
        with config.disable_value_validation():
            ds.save_as(tmp_path / "dicom" / f"{number}.dcm", enforce_file_format=True)
    ingest([tmp_path / "dicom"], tmp_path / "archive.zarr", workers=1)
    return open_archive(tmp_path / "archive.zarr")


@pytest.fixture
def ledger(tmp_path, archive):
    results = Results.create_or_open(tmp_path / "results", archive)
    results.start(RUN, SUMMARY)
    return results


@pytest.fixture
def info(archive):
    (volume,) = archive.volumes()
    return ImageInfo.of(volume.record)


@pytest.fixture
def page(ledger, tmp_path):
    return lambda **options: write_html(ledger.path, tmp_path / "report", **options).read_text()


def screened(ledger, info, findings=FINDINGS):
    ledger.record(Entry.of(info, RUN, VolumeResult(SHAPE, findings, region=region())))


def pictures(text):
    """Return every JPEG of a page, decoded, with its description."""
    found = re.findall(r'<img alt="([^"]*)" src="data:image/jpeg;base64,([^"]+)"', text)
    return [(words, imagecodecs.jpeg8_decode(base64.b64decode(content))) for words, content in found]


def test_speed_is_told_in_volumes_an_hour(ledger, info, page):
    timing = {"started": "2026-03-29T22:30:00+02:00", "ended": "2026-03-29T22:40:00+02:00", "seconds": 600.0}
    timing |= {"workers": 2, "images": 18, "stopped": None, "image_ms": {"p50": 60000.0, "p95": 70000.0}}
    ledger.put_timing(RUN, "1", timing)
    screened(ledger, info)
    text = page()
    assert "<b>108</b>volumes/h" in text
    assert "<th>Volumes</th><th>Volumes/h</th><th>A worker's time for a volume: median, 95 %</th>" in text
    assert '<td class="number">18</td><td class="number">108</td>' in text


def test_results_that_are_older_than_positions_in_them_have_letters_from_the_archive(ledger, info, page):
    screened(ledger, replace(info, orientation=None, positions=None))
    assert page().count('<span class="side') == 24


def test_a_card_shows_projections_candidates_and_phases(ledger, info, page):
    screened(ledger, info)
    text = page()
    assert "MR</b> 7 slices of 22 × 27" in text
    assert "3 phases, 0, 60, 120 s after the first. Greatest values of phase 3 − phase 1" in text
    assert f"{region().sum() * np.prod(SPACING) / 1000:.0f} mL" in text
    assert re.findall(
        r"<tr><td>(\d)</td><td class=\"number\">([\d.]+)</td><td class=\"number\">([^<]+)</td>", text
    ) == [
        ("1", "0.88", "3 to 5"),
        ("2", "0.50", "1"),
    ]
    assert "6 × 8 × 8 mm" in text
    assert "4 × 9 × 2 mm" in text
    rectangles = re.findall(r'<rect class="candidate" x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)"', text)
    # Through the slices, and across them.
    assert rectangles[:4] == [("4", "5", "8", "6"), ("20", "2", "6", "7"), ("4", "2", "8", "3"), ("20", "0", "6", "1")]
    shown = pictures(text)
    assert [words for words, _ in shown] == [
        "greatest values through all slices",
        "greatest values across them, slice 1 at the top",
        *(f"finding 1, slice {z}" for z in (3, 4, 5)),
        "finding 2, slice 1",
    ]
    assert [picture.shape for _, picture in shown[:2]] == [(22, 27), (7, 27)]
    assert all("prior" not in words for words, _ in shown)
    # Sagittal: columns to the back, rows to the feet, slices to the right. Cuts are as what is through all slices.
    sides = re.findall(r'<span class="side (\w+)">(\w+)</span>', text)
    through = [("left", "A"), ("right", "P"), ("top", "H"), ("bottom", "F")]
    assert sides == [*through, *through[:2], ("top", "L"), ("bottom", "R"), *through * 4]
    assert "<b>1</b>volumes done" in text
    assert "Series and files that were not used" in text
    assert "None: every file was of a volume, and every volume was screened." in text
    assert "images" not in text
    assert "Not for diagnosis." in text
    assert "PID 0815" not in text
    assert "Müller" not in text


@pytest.mark.parametrize("archive", ["axial"], indirect=True)
def test_the_head_is_up(archive, ledger, info, page):
    screened(ledger, info)
    text = page()
    (volume,) = archive.volumes()
    heights = [position[2] for position in volume.record.positions]
    assert heights == sorted(heights), "the last slice is nearest to the head"
    rectangles = re.findall(r'<rect class="candidate" x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)"', text)
    assert rectangles[2:4] == [("4", "2", "8", "3"), ("20", "6", "6", "1")]
    words, across = pictures(text)[1]
    assert words == "greatest values across them, slice 7 at the top"
    over = project(Subtraction(volume, -1, 0)).over
    assert np.corrcoef(across.ravel(), over[::-1].ravel())[0, 1] > 0.9 > np.corrcoef(across.ravel(), over.ravel())[0, 1]


def test_projections_are_the_greatest_differences(archive):
    (volume,) = archive.volumes()
    difference = volume.values(2) - volume.values(0)
    found = project(Subtraction(volume, -1, 0))
    assert np.array_equal(found.through, difference.max(axis=0))
    assert np.array_equal(found.over, difference.max(axis=1))
    low, high = found.window
    assert low < np.median(found.through) < high


def test_uptake_is_the_mean_in_each_phase(ledger, archive, info, page):
    screened(ledger, info)
    (volume,) = archive.volumes()
    x_min, y_min, x_max, y_max = FINDINGS[0].box
    window = slice(2, 5), slice(y_min, y_max), slice(x_min, x_max)
    means = [volume.values(phase)[window][region()[window]].mean() for phase in range(PHASES)]
    said = re.findall(r"mean signal, phase 1 to 3: ([^<]+)</div>", page())
    assert said[0] == ", ".join(f"{mean:.0f}" for mean in means)
    points = re.findall(r'<polyline points="([^"]+)"', page())[0].split()
    assert [float(point.split(",")[0]) for point in points] == [5.0, 50.0, 95.0]


def test_of_very_many_candidates_the_most_confident_are_shown(ledger, info, page, monkeypatch):
    monkeypatch.setattr(volume_cards, "MAX_SHOWN_FINDINGS", 2)
    many = tuple(replace(FINDINGS[0], confidence=value) for value in (0.1, 0.9, 0.2, 0.8))
    screened(ledger, info, many)
    text = page()
    assert re.findall(r"<tr><td>(\d)</td>", text) == ["2", "4"]
    assert "2 more, none of them more confident" in text


def test_without_its_archive_a_card_has_boxes_and_no_pictures(ledger, archive, info, page):
    screened(ledger, info)
    archive.path.rename(archive.path.with_name("away.zarr"))
    text = page()
    assert text.count("volume not available") == 2
    assert text.count('<span class="side') == 8
    assert text.count('<rect class="candidate"') == 4
    assert "No picture" not in text
    assert pictures(text) == []


def test_a_volume_that_cannot_be_read_says_so(ledger, archive, info, page):
    screened(ledger, info)
    (volume,) = archive.volumes()
    (volume.folder / "0" / "zarr.json").write_text("{")
    text = page()
    assert "No picture: read: array 0 cannot be read" in text
    assert text.count('<rect class="candidate"') == 4


def test_a_volume_that_grew_is_no_picture_of_what_was_found_before(ledger, info, page):
    screened(ledger, replace(info, content_sha256="0" * 64))
    text = page()
    assert "No picture: more of the series has come since" in text
    assert text.count('<rect class="candidate"') == 4
    assert pictures(text) == []


def test_a_volume_without_candidates(ledger, info, page):
    screened(ledger, info, ())
    text = page()
    assert "<p>no findings</p>" in text
    assert len(pictures(text)) == 2


def test_a_failed_volume_is_listed_with_its_reason(ledger, info, page):
    ledger.record(Entry.of(info, RUN, VolumeResult(SHAPE, error="read: gone")))
    text = page()
    assert "<td>read: gone</td>" in text
    assert info.sop_uid in text
    assert '<figure class="volume">' not in text
    assert "not on record" not in text


def test_a_volume_that_is_not_on_record_is_counted(ledger, page):
    assert "1 volume of the archive is not on record in this run" in page()


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_tables_say_which_slices(ledger, info, tmp_path, form):
    screened(ledger, info)
    paths = write_tables(ledger.path, tmp_path / "tables", form)
    (path,) = [path for path in paths if path.name == f"findings.{form}"]
    if form == "json":
        import json

        rows = json.loads(path.read_text())
    else:
        import pyarrow.csv
        import pyarrow.parquet

        read = {"csv": pyarrow.csv.read_csv, "parquet": pyarrow.parquet.read_table}[form]
        rows = read(path).to_pylist()
    assert [(row["z_min"], row["z_max"], row["x_min"], row["area_px"]) for row in rows] == [
        (2, 5, 4, None),
        (0, 1, 20, None),
    ]


def test_a_curve_begins_at_nothing():
    one = volume_cards.Candidate(1, FINDINGS[0], (1.0, 1.0, 1.0), [], [100.0, 300.0, 200.0])
    assert one.polyline((0.0, 60.0, 240.0)) == "5.0,25.3 27.5,4.0 95.0,14.7"
    assert one.polyline((0.0, None, None)) == "5.0,25.3 50.0,4.0 95.0,14.7"
