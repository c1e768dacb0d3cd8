"""What the page says of nights on which not everything went well."""

import re
from dataclasses import replace

import numpy as np
import pytest

from mammofast import open_archive
from mammofast.archive import ingest
from mammofast.errors import ResultsError
from mammofast.records import Finding, ImageResult
from mammofast.report import html
from mammofast.report.html import write_html
from mammofast.report.words import duration
from mammofast.screening import Results
from mammofast.screening.entry import Entry, ImageInfo, Run

RUN, OTHER_RUN = Run("b" * 64, "c" * 64), Run("d" * 64, "c" * 64)
FINDING = Finding((10, 20, 40, 50), 1.0, 0.75, np.ones((30, 30), bool))


@pytest.fixture
def archive(tmp_path, dicom):
    """Three images of three studies."""
    for number in range(3):
        dicom.write(tmp_path / "dicom" / f"{number}.dcm", dicom.pixels(seed=number), ViewPosition="CC")
    ingest([tmp_path / "dicom"], tmp_path / "archive.zarr", workers=1)
    return open_archive(tmp_path / "archive.zarr")


@pytest.fixture
def ledger(tmp_path, archive):
    results = Results.create_or_open(tmp_path / "results", archive)
    results.start(RUN, {"name": "first", "method": "two_stage", "notice": "For tests."})
    return results


@pytest.fixture
def infos(archive):
    return [ImageInfo.of(image.record) for image in archive.images()]


@pytest.fixture
def page(ledger, tmp_path):
    def page(**options):
        return write_html(ledger.path, tmp_path / "report", **options).read_text()

    return page


def damage(archive, sop_uid, arrays):
    """Make some arrays of an image unreadable."""
    (image,) = [image for image in archive.images() if image.record.sop_uid == sop_uid]
    for array in arrays:
        (image.folder / array / "zarr.json").write_text("{")


def figure(page, sop_uid):
    (found,) = [part for part in re.findall(r"<figure>.*?</figure>", page, re.DOTALL) if sop_uid in part]
    return found


def sections(page):
    return re.findall(r'<section class="run">.*?(?=<section class="run">|</body>)', page, re.DOTALL)


def counts(section):
    return {name: int(n) for n, name in re.findall(r"<li><b>(\d+)</b>([a-z ]+)</li>", section)}


def test_an_image_that_cannot_be_read_is_shown_without_a_picture_and_says_so(ledger, archive, infos, page):
    for info in infos:
        ledger.record(Entry.of(info, RUN, ImageResult((96, 80), (FINDING,))))
    damage(archive, infos[1].sop_uid, ["0"])
    text = page()
    for number, info in enumerate(infos):
        one = figure(text, info.sop_uid)
        assert '<g class="finding">' in one
        assert '<path d="M' in one
        assert "<rect" in one
        assert ("image/jpeg" in one) == (number != 1)
        assert ("<details>" in one) == (number != 1)
        assert ("No picture: read: array 0 cannot be read" in one) == (number == 1)


def test_of_very_many_findings_the_most_confident_are_shown_and_the_rest_counted(ledger, infos, page):
    n = html.MAX_SHOWN_FINDINGS + 7
    order = np.random.default_rng(0).permutation(n)
    confidences = 0.1 + 0.8 * order / n
    findings = tuple(replace(FINDING, confidence=float(confidence)) for confidence in confidences)
    ledger.record(Entry.of(infos[0], RUN, ImageResult((96, 80), findings)))
    ledger.record(Entry.of(infos[1], RUN, ImageResult((96, 80), findings[:-7])))
    text = page()
    one, other = (figure(text, info.sop_uid) for info in infos[:2])
    numbers = [int(number) for number in re.findall(r"<title>Finding (\d+):", one)]
    assert numbers == [number + 1 for number in range(n) if order[number] >= 7]
    assert one.count("<details>") == html.MAX_SHOWN_FINDINGS
    assert re.findall(r"<tr><td>(\d+)</td>", one) == [str(number) for number in numbers]
    assert "7 more, none of them more confident" in one
    assert "--to csv" in one
    assert len(re.findall(r"<title>Finding \d+:", other)) == html.MAX_SHOWN_FINDINGS
    assert "more, none" not in other
    assert f"{n} findings, highest confidence" in text
    assert counts(text)["findings"] == n + html.MAX_SHOWN_FINDINGS


def test_a_header_or_a_record_that_cannot_be_read_is_said_too(ledger, archive, infos, page):
    for info in infos:
        ledger.record(Entry.of(info, RUN, ImageResult((96, 80), (FINDING,))))
    damage(archive, infos[0].sop_uid, ["header"])
    damage(archive, infos[2].sop_uid, ["."])
    text = page()
    assert "No picture: read: array header cannot be read" in figure(text, infos[0].sop_uid)
    assert "No picture" not in figure(text, infos[1].sop_uid)
    assert "No picture: a zarr.json of the archive is damaged" in figure(text, infos[2].sop_uid)


def test_images_that_are_not_on_record_are_counted(ledger, infos, page):
    all_well = "None: every file was an image, and every image was screened."
    words = ("3 images of the archive are", "2 images of the archive are", "1 image of the archive is")
    for info, counted in zip(infos, words, strict=True):
        text = page()
        assert f"{counted} not on record in this run" in text
        assert all_well not in text
        ledger.record(Entry.of(info, RUN, ImageResult((96, 80))))
    assert all_well in page()
    assert "not on record" not in page()


def test_a_file_of_the_same_uid_is_not_the_image(ledger, infos, page):
    for info in infos[1:]:
        ledger.record(Entry.of(info, RUN, ImageResult((96, 80))))
    ledger.record(Entry(replace(infos[0], file_key="9" * 64), RUN, "skipped", "conflicting-uid: other pixels"))
    assert "1 image of the archive is not on record" in page()


def test_without_its_archive_the_page_claims_nothing_of_it(ledger, archive, infos, page):
    ledger.record(Entry.of(infos[0], RUN, ImageResult((96, 80), (FINDING,))))
    archive.path.rename(archive.path.with_name("away.zarr"))
    text = page()
    assert "The archive is not where it was screened" in text
    assert "every image was screened" not in text
    assert "No picture" not in text
    assert '<path d="M' in text
    assert "2 images of the archive are not on record" in page(archive=archive.path.with_name("away.zarr"))


def test_views_without_a_picture_say_so_and_the_others_do_not(ledger, archive, infos, page):
    for info in infos:
        ledger.record(Entry.of(info, RUN, ImageResult((96, 80), (FINDING,))))
    damage(archive, infos[1].sop_uid, ["0"])
    text = page()
    assert ["image not available" in figure(text, info.sop_uid) for info in infos] == [False, True, False]
    archive.path.rename(archive.path.with_name("away.zarr"))
    assert page().count("image not available") == 3


def test_the_page_says_when_and_how_fast(ledger, infos, page):
    ledger.record(Entry.of(infos[0], RUN, ImageResult((96, 80))))
    assert "images/s" not in page()
    assert 'class="timings"' not in page()
    shared = {"workers": 2, "image_ms": {"p50": 300.4, "p90": 400.0, "p95": 512.6, "p99": 600.0}, "stopped": None}
    first = {"started": "2026-03-28T22:30:00+01:00", "ended": "2026-03-29T03:10:00+02:00", "seconds": 13200.0}
    second = {"started": "2026-03-30T22:30:00+02:00", "ended": "2026-03-30T22:30:08+02:00", "seconds": 8.0}
    killed = {"started": "2026-03-31T22:30:00+02:00", "ended": None, "seconds": None}
    ledger.put_timing(RUN, "3", {**shared, **killed, "images": 0, "image_ms": None, "workers": None})
    ledger.put_timing(RUN, "1", {**shared, **first, "images": 26410})
    ledger.put_timing(RUN, "2", {**shared, **second, "images": 6, "stopped": "interrupted"})
    text = page()
    assert "<b>2.00</b>images/s" in text
    rows = [
        re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", row)).strip() for row in re.findall(r"<tr>(.*?)</tr>", text, re.S)
    ]
    assert rows[1:4] == [
        "2026-03-28 22:30:00 +0100 2026-03-29 03:10:00 +0200 3 h 40 min 2 26410 2.00 300 ms, 513 ms",
        "2026-03-30 22:30:00 +0200 2026-03-30 22:30:08 +0200, interrupted 8.0 s 2 6 0.75 300 ms, 513 ms",
        "2026-03-31 22:30:00 +0200 not yet, or killed of a cluster",
    ]


def test_two_damaged_copies_of_one_image_are_told_apart(ledger, infos, page):
    for number in "67":
        copy = replace(infos[0], content_sha256=number * 64, file_key="a" * 63 + number)
        ledger.record_file(Entry(copy, RUN, "failed", "decode: cut off"))
    text = page()
    assert text.count(infos[0].sop_uid) == 2
    for number in "67":
        assert text.count(number * 64) == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 0 s"), (3599.4, "59 min 59 s"), (3600, "1 h 0 min")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_progress_counts_the_studies_that_are_drawn(ledger, infos, tmp_path, monkeypatch):
    monkeypatch.setattr(html, "MAX_PICTURED_STUDIES", 2)
    for info in infos:
        ledger.record(Entry.of(info, RUN, ImageResult((96, 80), (FINDING,))))
    seen = []
    write_html(ledger.path, tmp_path / "report", progress=lambda n, total: seen.append((n, total)))
    assert seen == [(1, 2), (1, 2)]


def test_another_archive_is_refused(ledger, infos, page, tmp_path):
    ingest([tmp_path / "dicom"], tmp_path / "other.zarr", workers=1)
    with pytest.raises(ResultsError, match=r"results are of archive \w{32}, got archive \w{32}"):
        page(archive=tmp_path / "other.zarr")


def test_runs_are_shown_apart_each_with_its_own_counts(ledger, infos, page):
    ledger.start(OTHER_RUN, {"name": "second", "method": "two_stage", "notice": ""})
    ledger.add_versions(OTHER_RUN, {"numpy": "2.9.9", "mammofast": "0.0.1"})
    for info in infos:
        ledger.record(Entry.of(info, RUN, ImageResult((96, 80), (FINDING, FINDING))))
    ledger.record(Entry.of(infos[0], OTHER_RUN, ImageResult((96, 80), (FINDING,))))
    ledger.record(Entry.of(infos[1], OTHER_RUN, ImageResult((96, 80), error="read: gone")))
    first, second = sections(page())
    assert ("first, two_stage" in first, "second, two_stage" in second) == (True, True)
    assert ("second" in first, RUN.bundle_id in second) == (False, False)
    assert (RUN.bundle_id in first, OTHER_RUN.bundle_id in second, RUN.settings_id in second) == (True,) * 3
    assert counts(first) == {"studies": 3, "images done": 3, "findings": 6, "skipped": 0, "failed": 0}
    assert counts(second) == {"studies": 1, "images done": 1, "findings": 1, "skipped": 0, "failed": 1}
    assert (first.count("<figure>"), second.count("<figure>")) == (3, 1)
    assert ("not on record" in first, "1 image of the archive is not on record" in second) == (False, True)
    assert ("read: gone" in first, "read: gone" in second) == (False, True)
    assert "made with mammofast 0.0.1, numpy 2.9.9" in second
    ids = re.findall(r'id="([^"]+)"', page())
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in re.findall(r'href="([^"]+)"', page())} <= set(ids)


def test_runs_share_the_room_for_pictures(ledger, infos, page, monkeypatch):
    monkeypatch.setattr(html, "MAX_PICTURED_STUDIES", 4)
    ledger.start(OTHER_RUN, {"name": "second"})
    for run in (RUN, OTHER_RUN):
        for info in infos:
            ledger.record(Entry.of(info, run, ImageResult((96, 80), (FINDING,))))
    shown = sections(page())
    assert len(shown) == 2
    for section in shown:
        assert section.count("<figure>") == 2
        assert "The 2 studies with the most confident findings of 3" in section


def test_damaged_results_and_unread_files_are_listed(ledger, infos, page):
    for info in infos:
        ledger.record(Entry.of(info, RUN, ImageResult((96, 80))))
    next(ledger.path.glob(f"images/*/{infos[0].sop_uid}-*")).write_bytes(b"torn")
    unread = ImageInfo(None, None, None, None, None, None, None, None, None, file_key="5" * 64)
    ledger.record_file(Entry(unread, RUN, "failed", "read: the zip file is damaged"))
    text = page()
    assert "the result is damaged; screen again" in text
    assert "5" * 64 in text
    assert counts(text) == {"studies": 2, "images done": 2, "findings": 0, "skipped": 0, "failed": 2}
    assert "<p>read: 2</p>" in text
