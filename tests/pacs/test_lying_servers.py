"""A DICOMweb server may be down, slow, wrong or hostile: each time a clear reason, and the rest goes on."""

import json

import pytest

from mammofast.archive import ingest, open_archive
from mammofast.errors import PacsError
from mammofast.pacs.dicomweb import DicomWeb
from mammofast.pacs.dicomweb import source as source_module
from mammofast.pacs.dicomweb.failures import BrokenAnswer, HttpError
from mammofast.pacs.dicomweb.multipart import only_part
from mammofast.pacs.dicomweb.server import Server
from tests.pacs.conftest import BOUNDARY

INSTANCE = r"/studies/[0-9.]+/series/[0-9.]+/instances/"


def fetch(pacs, archive, waits=(), path=""):
    with DicomWeb(pacs.url + path, waits=waits) as source:
        return ingest(source, archive, workers=2)


def reasons(archive):
    return [record.reason for record in open_archive(archive).skipped()]


def once(answer):
    """Answer the first request so, and leave the others to the server."""
    asked = []

    def first(handler):
        asked.append(handler)
        return answer(handler) if len(asked) == 1 else False

    return first


def broken_off(handler):
    """Send half of what the header promises."""
    handler.send_response(200)
    handler.send_header("Content-Type", f'multipart/related; boundary="{BOUNDARY}"')
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(f"--{BOUNDARY}\r\n\r\n".encode() + bytes(128) + b"DICM")
    handler.close_connection = True
    return True


def without_end(handler):
    """Send a message that lacks its last delimiter, in an answer that is complete."""
    return handler.send(200, f"--{BOUNDARY}\r\n\r\n".encode() + bytes(128) + b"DICM...", handler.multipart)


# What a server may answer when it is asked for an instance, and what is recorded of it.
LIES = {
    "gone": (lambda h: h.send(404), "missing-file: the PACS lists it, but does not have it (HTTP status 404)"),
    "gone for good": (lambda h: h.send(410), "missing-file: the PACS lists it, but does not have it (HTTP status 410)"),
    "error": (lambda h: h.send(500, b"SECRET"), "read: not retrieved: the server answers with HTTP status 500"),
    "a page": (
        lambda h: h.send(200, b"<html>SECRET", "text/html; charset=utf-8"),
        "read: not retrieved: the server sent text/html instead of a DICOM object",
    ),
    "a strange type": (
        lambda h: h.send(200, b"x", "SECRET NAME"),
        "read: not retrieved: the server sent no media type instead of a DICOM object",
    ),
    "broken off": (broken_off, "read: not retrieved: the server's answer broke off"),
    "without end": (without_end, "read: not retrieved: the server's answer ends before the object in it does"),
    "no part": (
        lambda h: h.send(200, f"--{BOUNDARY}--".encode(), h.multipart),
        "read: not retrieved: the server's answer holds no object",
    ),
    "not DICOM": (
        lambda h: h.send(200, b"SECRET" * 100, "application/dicom"),
        "read: not retrieved: what the server sent is not a DICOM object",
    ),
    "elsewhere": (
        lambda h: h.send(302, Location="http://localhost:1/steal"),
        "read: not retrieved: the server redirects to another host or scheme; give that URL if it is the right one",
    ),
    "in a circle": (
        lambda h: h.send(307, Location=h.path),
        "read: not retrieved: the server redirects in a circle",
    ),
    "closed": (
        lambda h: setattr(h, "close_connection", True) or True,
        "read: not retrieved: no connection to the server: the connection broke off",
    ),
}


def test_each_instance_fails_alone_and_is_tried_again(tmp_path, dicom, pacs):
    bad = {name: pacs.add(dicom.dataset(dicom.pixels(seed=seed))) for seed, name in enumerate(LIES)}
    good = pacs.add(dicom.dataset(dicom.pixels(seed=99)))

    for name, ds in bad.items():
        pacs.answers[INSTANCE + ds.SOPInstanceUID] = LIES[name][0]
    archive = tmp_path / "a.zarr"
    assert str(fetch(pacs, archive)) == f"1 added, 0 known, 0 skipped, {len(LIES)} failed"
    recorded = {record.sop_uid: record for record in open_archive(archive).skipped()}
    assert {name: recorded[ds.SOPInstanceUID].reason for name, ds in bad.items()} == {
        name: reason for name, (_, reason) in LIES.items()
    }
    assert all(recorded[ds.SOPInstanceUID].study_uid == ds.StudyInstanceUID for ds in bad.values())
    # Nothing of an honest answer is asked for again, and once the server has come to its senses all is there.
    pacs.answers.clear()
    pacs.requests.clear()
    assert str(fetch(pacs, archive)) == f"{len(LIES)} added, 0 known, 0 skipped, 0 failed"
    assert pacs.count(f"/instances/{good.SOPInstanceUID}") == 0
    assert reasons(archive) == []


def test_several_objects_and_another_one(tmp_path, dicom, pacs):
    asked, other = pacs.add(dicom.dataset()), dicom.dataset(dicom.pixels(seed=1))
    archive = tmp_path / "a.zarr"
    body = pacs.message(dicom.bytes(asked), dicom.bytes(other))
    pacs.answers[INSTANCE + ".*"] = lambda h: h.send(200, body, pacs.content_type)
    fetch(pacs, archive)
    assert reasons(archive) == [
        "read: not retrieved: the server's answer holds several objects, where one was asked for"
    ]
    pacs.answers[INSTANCE + ".*"] = lambda h: h.send(200, pacs.message(dicom.bytes(other)), pacs.content_type)
    fetch(pacs, archive)
    assert reasons(archive) == ["read: not retrieved: the server sent another instance than the one asked for"]
    assert not list(open_archive(archive).images())


def test_an_object_that_is_not_wrapped_is_taken(tmp_path, dicom, pacs):
    ds = pacs.add(dicom.dataset())
    pacs.answers[INSTANCE + ".*"] = lambda h: h.send(200, dicom.bytes(ds), "application/dicom")
    assert fetch(pacs, tmp_path / "a.zarr").added == 1


def test_too_large_an_object_is_given_up(tmp_path, dicom, pacs, monkeypatch):
    pacs.add(dicom.dataset())
    monkeypatch.setattr("mammofast.pacs.dicomweb.retrieve.MAX_FILE_BYTES", 1000)
    fetch(pacs, tmp_path / "a.zarr")
    assert reasons(tmp_path / "a.zarr") == ["too-large: more than 1000 bytes, which are all that is read"]
    assert fetch(pacs, tmp_path / "a.zarr").files == 0


@pytest.mark.parametrize(
    "answer",
    [
        lambda h: h.send(503),
        lambda h: h.send(429, Retry_After="0"),
        broken_off,
        lambda h: setattr(h, "close_connection", True) or True,
    ],
)
def test_what_may_pass_is_tried_again(tmp_path, dicom, pacs, answer):
    ds = pacs.add(dicom.dataset())
    pacs.answers[INSTANCE + ".*"] = once(answer)
    pacs.answers["/studies"] = once(lambda h: h.send(502))
    assert fetch(pacs, tmp_path / "a.zarr", waits=(0, 0)).added == 1
    assert pacs.count(ds.SOPInstanceUID) == 2
    assert pacs.count("/studies$") == 3


def test_what_will_not_pass_is_not(tmp_path, dicom, pacs):
    ds = pacs.add(dicom.dataset())
    pacs.answers[INSTANCE + ".*"] = lambda h: h.send(404)
    fetch(pacs, tmp_path / "a.zarr", waits=(0, 0))
    assert pacs.count(ds.SOPInstanceUID) == 1


def test_a_server_that_fails_all_the_time_is_not_waited_for(pacs):
    pacs.answers[".*"] = lambda h: h.send(500)
    with Server(pacs.url, waits=(0, 0)) as server:
        for _ in range(10):
            with pytest.raises(HttpError):
                server.get_json("/studies")
    assert len(pacs.requests) == 8 * 3 + 2


def test_retry_after_is_heeded_up_to_a_minute(pacs, monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    pacs.answers["/a"] = once(lambda h: h.send(503, Retry_After="7"))
    pacs.answers["/b"] = once(lambda h: h.send(503, Retry_After="86400"))
    pacs.answers["/c"] = once(lambda h: h.send(503, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT"))
    with Server(pacs.url, waits=(1,)) as server:
        for path in "abc":
            server.get_json(f"/{path}")
    seconds = [s for s in slept if s > 0.5]
    assert 5.6 <= seconds[0] <= 8.4
    assert 48 <= seconds[1] <= 72
    assert 0.8 <= seconds[2] <= 1.2


def test_nobody_answers(tmp_path):
    with pytest.raises(PacsError, match="refused"), DicomWeb("http://127.0.0.1:9/web", waits=()) as source:
        ingest(source, tmp_path / "a.zarr")


@pytest.mark.parametrize(
    "body, message",
    [
        (b"<html>SECRET", "instead of DICOM JSON; is the URL its DICOMweb root"),
        (b'{"SECRET": 1}', "is not a list of matches"),
        (b'["SECRET"]', "is not a list of matches"),
        (b'[{"0020000D": {"Value": ["../../SECRET"]}}]', "lists a study without a UID"),
        (b'[{"0020000D": {"vr": "UI"}}]', "lists a study without a UID"),
        (b'[{"0020000D": 5}]', "lists a study without a UID"),
    ],
)
def test_a_search_that_makes_no_sense_ends_the_run(tmp_path, pacs, body, message):
    pacs.answers["/studies"] = lambda h: h.send(200, body)
    with pytest.raises(PacsError, match=message) as raised:
        fetch(pacs, tmp_path / "a.zarr")
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("status", [401, 403])
def test_who_is_not_let_in_hears_what_to_set(tmp_path, pacs, status):
    pacs.answers["/studies"] = lambda h: h.send(status)
    with pytest.raises(PacsError, match=f"HTTP status {status}: set MAMMOFAST_PACS_USER"):
        fetch(pacs, tmp_path / "a.zarr")


@pytest.mark.parametrize("status", [401, 403])
def test_who_was_refused_hears_that_and_not_only_what_to_set(tmp_path, pacs, monkeypatch, status):
    monkeypatch.setenv("MAMMOFAST_PACS_TOKEN", "SECRET")
    pacs.answers["/studies"] = lambda h: h.send(status)
    with pytest.raises(PacsError, match="it refuses the user, or token, that it was given; set") as raised:
        fetch(pacs, tmp_path / "a.zarr")
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("status", [400, 404, 405])
def test_who_asks_in_a_wrong_place_hears_what_is_expected(tmp_path, pacs, status):
    pacs.answers["/studies"] = lambda h: h.send(status)
    with pytest.raises(PacsError, match=f"HTTP status {status}: is the URL its DICOMweb root"):
        fetch(pacs, tmp_path / "a.zarr")


def test_a_study_that_cannot_be_listed_fails_alone(tmp_path, dicom, pacs):
    bad, good = pacs.add(dicom.dataset()), pacs.add(dicom.dataset(dicom.pixels(seed=1)))
    archive = tmp_path / "a.zarr"
    pacs.answers[f"/studies/{bad.StudyInstanceUID}/series"] = lambda h: h.send(500)
    assert str(fetch(pacs, archive)) == "1 added, 0 known, 0 skipped, 1 failed"
    assert reasons(archive) == ["read: the study's instances cannot be listed: the server answers with HTTP status 500"]
    pacs.answers.clear()
    assert fetch(pacs, archive).added == 1
    assert reasons(archive) == []
    assert {image.record.sop_uid for image in open_archive(archive).images()} == {
        bad.SOPInstanceUID,
        good.SOPInstanceUID,
    }


def rows(pacs):
    return [pacs.row(each) | {"00201208": {"Value": [1]}} for each in pacs.objects.values()]


def test_pages_shorter_than_asked_for(tmp_path, dicom, pacs):
    for seed in range(5):
        pacs.add(dicom.dataset(dicom.pixels(seed=seed)))

    def two(handler):
        offset = int(handler.query["offset"])
        return handler.send(200, json.dumps(rows(pacs)[offset : offset + 2]).encode())

    pacs.answers["/studies"] = two
    assert fetch(pacs, tmp_path / "a.zarr").added == 5


def test_servers_that_know_no_pages(tmp_path, dicom, pacs):
    for seed in range(3):
        pacs.add(dicom.dataset(dicom.pixels(seed=seed)))
    pacs.answers["/studies"] = lambda h: h.send(200, json.dumps(rows(pacs)).encode())
    assert fetch(pacs, tmp_path / "a.zarr").added == 3
    assert pacs.count("/studies$") == 2


def test_nothing_found_may_be_said_by_status_or_by_nothing(tmp_path, pacs):
    for answer in (lambda h: h.send(204), lambda h: h.send(200, b""), lambda h: h.send(200, b"[]")):
        pacs.answers["/studies"] = answer
        assert fetch(pacs, tmp_path / "a.zarr").files == 0


def test_a_series_without_modality_is_looked_at(tmp_path, dicom, pacs):
    for modality in ("MG", "M", "", "US", "SR"):
        pacs.add(dicom.dataset(dicom.pixels(seed=len(pacs.objects)), Modality=modality))
    report = fetch(pacs, tmp_path / "a.zarr")
    assert report.added == 3
    assert report.files == 3


def test_all_of_a_known_study_is_compared_while_it_is_young_or_its_count_unknown(tmp_path, dicom, pacs, monkeypatch):
    uid, archive = dicom.uid(), tmp_path / "a.zarr"
    rejected = pacs.add(dicom.dataset(StudyInstanceUID=uid))
    assert fetch(pacs, archive).added == 1
    # One rejected, one taken again: as many as before.
    del pacs.objects[rejected.SOPInstanceUID]
    pacs.add(dicom.dataset(dicom.pixels(seed=1), StudyInstanceUID=uid))
    assert fetch(pacs, archive).added == 1
    # Once it has settled, its number of instances is enough.
    monkeypatch.setattr(
        "mammofast.pacs.dicomweb.watermark._UNSETTLED", -source_module.Watermark.__init__.__globals__["_UNSETTLED"]
    )
    pacs.requests.clear()
    assert fetch(pacs, archive).files == 0
    assert pacs.count("/series") == 0
    pacs.add(dicom.dataset(dicom.pixels(seed=2), StudyInstanceUID=uid))
    assert fetch(pacs, archive).added == 1


def test_what_is_not_kept_is_fetched_once(tmp_path, dicom, pacs):
    uid, archive = dicom.uid(), tmp_path / "a.zarr"
    black = pacs.add(dicom.dataset(dicom.pixels() * 0, StudyInstanceUID=uid))
    assert str(fetch(pacs, archive)) == "0 added, 0 known, 0 skipped, 1 failed"
    pacs.add(dicom.dataset(dicom.pixels(seed=1), StudyInstanceUID=uid))
    assert str(fetch(pacs, archive)) == "1 added, 0 known, 0 skipped, 0 failed"
    assert pacs.count(black.SOPInstanceUID) == 1


def test_a_torn_watermark_costs_a_look(tmp_path, dicom, pacs):
    archive = tmp_path / "a.zarr"
    pacs.add(dicom.dataset())
    fetch(pacs, archive)
    (path,) = (archive / ".dicomweb").iterdir()
    whole = path.read_bytes()
    for torn in (whole[:-5], b"", b"\0\0\0", whole + b'\n{"study": 5}', whole + b"\n[]\n7"):
        path.write_bytes(torn)
        assert fetch(pacs, archive).files == 0
        assert whole.strip().split(b'"at"')[0] in path.read_bytes()


def test_only_part_is_the_same_however_it_is_cut():
    body = b"preamble\r\n--b \t\r\nA: 1\r\nB: 2\r\n\r\n" + b"x\r\n--\r\n-b\r\n\r\n" + b"\r\n--b--\r\nepilogue"
    for size in range(1, len(body) + 1):
        cut = [body[at : at + size] for at in range(0, len(body), size)]
        assert b"".join(only_part(cut, b"b")) == b"x\r\n--\r\n-b\r\n\r\n"
    # No headers; and nothing in the part.
    assert b"".join(only_part([b"--b\r\n\r\nxyz\r\n--b--"], b"b")) == b"xyz"
    assert b"".join(only_part([b"--b\r\n\r\n\r\n--b--"], b"b")) == b""
    end = body.index(b"--b--") + 5
    for stop in range(end):
        with pytest.raises(BrokenAnswer):
            list(only_part([body[:stop]], b"b"))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://pacs/dicom-web",
        "https://",
        "https://pacs:port/dicom-web",
        "https://pacs/dicom-web#SECRET",
        "https://pacs/dicom-web?limit=5",
        "https://SECRET@pacs/dicom-web",
    ],
)
def test_what_is_no_url_is_refused_without_repeating_it(url):
    with pytest.raises(ValueError) as raised:
        DicomWeb(url)
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize(
    "spelling",
    [
        "HTTP://LocalHost:80/web/",
        "http://localhost/web/studies",
        "http://localhost/web?StudyDate=2026",
        "http://localhost/web/studies/1.2",
    ],
)
def test_one_server_has_one_watermark(spelling):
    with DicomWeb(spelling) as source:
        assert source.server.root == "http://localhost/web"


def test_tokens_and_filters_go_where_they_belong(tmp_path, dicom, pacs, monkeypatch):
    seen = []
    pacs.answers[".*"] = lambda h: seen.append((h.headers["Authorization"], h.query))
    pacs.add(dicom.dataset())
    monkeypatch.setenv("MAMMOFAST_PACS_TOKEN", "t0ken")
    fetch(pacs, tmp_path / "a.zarr", path="?PatientName=SECRET*&StudyDate=20260101-")
    assert {authorization for authorization, _ in seen} == {"Bearer t0ken"}
    assert seen[0][1]["PatientName"] == "SECRET*"
    assert seen[0][1]["ModalitiesInStudy"] == "MG"
    written = b"".join(path.read_bytes() for path in (tmp_path / "a.zarr" / ".dicomweb").iterdir())
    assert b"SECRET" not in written
    assert b"t0ken" not in written
