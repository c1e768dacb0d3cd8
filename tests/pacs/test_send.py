"""Objects to a real PACS, by STOW-RS and by C-STORE: each once, and who refuses is heard."""

import io
import json
import ssl

import pytest
from click.testing import CliRunner
from pydicom import dcmread
from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts

from mammofast.cli import main
from mammofast.errors import PacsError
from mammofast.pacs.dicomweb import store
from mammofast.pacs.dicomweb.multipart import Files
from mammofast.pacs.dicomweb.server import Server
from mammofast.pacs.dimse.entity import Credentials, Peer, close_surely, parse_peer
from mammofast.pacs.dimse.send import send
from mammofast.pacs.sending import SendReport, in_words, outgoing
from tests.pacs.orthanc import PASSWORD, USER


@pytest.fixture
def objects(tmp_path, dicom):
    """A folder of five objects of two studies, in two transfer syntaxes; and what each file holds."""
    folder = tmp_path / "objects"
    stored = {}
    for study, seeds in ((dicom.uid(), (0, 1, 2)), (dicom.uid(), (3, 4))):
        for seed in seeds:
            syntax = dicom.lossless["JPEG 2000 lossless" if seed % 2 else "explicit"]
            path = folder / study / f"{seed}.dcm"
            ds = dicom.write(path, dicom.pixels(seed=seed), StudyInstanceUID=study, syntax=syntax)
            stored[str(ds.SOPInstanceUID)] = path.read_bytes()
    (folder / "index.html").write_text("not an object")
    return folder, stored


def read(data):
    return dcmread(io.BytesIO(data))


def run(*arguments):
    return CliRunner().invoke(main, ["send", *map(str, arguments)])


def test_stow_and_nothing_twice(objects, orthanc):
    folder, stored = objects
    done = run(folder, orthanc.web)
    assert done.exit_code == 0, done.output
    assert done.stdout == "5 sent, 0 there already, 0 failed\n"
    assert orthanc.sop_uids() == sorted(stored)
    before = orthanc.rest("/statistics"), orthanc.new_instances()
    done = run(folder, orthanc.web, "--json")
    assert json.loads(done.stdout) == {"sent": 0, "present": 5, "failed": 0, "failures": {}, "warnings": {}}
    assert (orthanc.rest("/statistics"), orthanc.new_instances()) == before
    assert orthanc.new_instances() == 5


def test_stow_with_password_and_tls(objects, secure_orthanc, tls, monkeypatch):
    folder, stored = objects
    secure_orthanc.clear()
    done = run(folder, secure_orthanc.web, "--ca", tls.ca)
    assert done.exit_code == 1
    assert "HTTP status 401: set MAMMOFAST_PACS_USER" in done.stderr
    monkeypatch.setenv("MAMMOFAST_PACS_USER", USER)
    monkeypatch.setenv("MAMMOFAST_PACS_PASSWORD", PASSWORD)
    assert run(folder, secure_orthanc.web, "--ca", tls.ca).exit_code == 0
    assert secure_orthanc.sop_uids() == sorted(stored)


def test_a_message_is_bounded_and_read_back_byte_for_byte(objects, orthanc):
    folder, stored = objects
    report = SendReport()
    sizes = []
    with Server(orthanc.web, waits=()) as server:
        request = server.request

        def spy(method, *arguments, **options):
            if method == "POST":
                sizes.append(len(options["data"]))
            return request(method, *arguments, **options)

        server.request = spy
        store(server, outgoing(folder, report), report, batch_bytes=25_000)
    assert (report.sent, report.failed) == (5, 0)
    assert len(sizes) > 2
    for instance in orthanc.rest("/instances?expand"):
        attachment = orthanc.rest(f"/instances/{instance['ID']}/attachments/dicom/size")
        assert attachment == len(stored[instance["MainDicomTags"]["SOPInstanceUID"]])


def test_files_are_sent_in_pieces_of_a_known_length(objects):
    folder, stored = objects
    message = Files(sorted(folder.rglob("*.dcm")))
    pieces = list(message)
    assert sum(map(len, pieces)) == len(message)
    whole = b"".join(pieces)
    assert all(data in whole for data in stored.values())
    assert whole.count(message.boundary.encode()) == len(stored) + 1
    next(iter(folder.rglob("*.dcm"))).write_bytes(b"")
    with pytest.raises(PacsError, match="became shorter"):
        list(message)


def answer_of(failed=(), stored=(), reason=0xA700, warning=None):
    def item(uid, tag, value):
        return {"00081155": {"vr": "UI", "Value": [uid]}} | ({tag: {"vr": "US", "Value": [value]}} if value else {})

    return json.dumps(
        {
            "00081198": {"vr": "SQ", "Value": [item(uid, "00081197", reason) for uid in failed]},
            "00081199": {"vr": "SQ", "Value": [item(uid, "00081196", warning) for uid in stored]},
        }
    ).encode()


def sent(pacs, folder, waits=(), **options):
    report = SendReport()
    with Server(pacs.url, waits=waits) as server:
        store(server, outgoing(folder, report), report, **options)
    return report


@pytest.mark.parametrize("status", [202, 409])
def test_what_a_pacs_refuses_is_told_by_instance(objects, pacs, status):
    folder, stored = objects
    uids = list(stored)
    pacs.answers["/studies"] = lambda h: (
        h.command == "POST"
        and h.send(
            status,
            answer_of(uids[:2], uids[2:], reason=0x0122, warning=0xB000),
            "application/dicom+json; charset=utf-8",
        )
    )
    report = sent(pacs, folder)
    assert report.failures == dict.fromkeys(uids[:2], "not stored: SOP class not supported (0x0122)")
    assert report.warnings == dict.fromkeys(uids[2:], "elements coerced (0xB000)")
    assert report.sent == 3


@pytest.mark.parametrize("body", [b"", b"{}", b"<xml/>", b'{"00081199": {"Value": [5]}}', b"[]"])
def test_what_an_answer_does_not_say_is_looked_up(objects, pacs, dicom, body):
    folder, stored = objects
    kept = dict(list(stored.items())[:4])

    def take(handler):
        if handler.command != "POST":
            return False
        for uid, data in kept.items():
            if data in handler.body:
                assert pacs.add(read(data)).SOPInstanceUID == uid
        return handler.send(200, body)

    pacs.answers["/studies"] = take
    report = sent(pacs, folder)
    assert report.sent == 4
    assert list(report.failures) == [uid for uid in stored if uid not in kept]


def test_an_answer_that_is_lost_is_no_reason_to_send_again(objects, pacs):
    folder, stored = objects
    posts = []

    def take_and_hang_up(handler):
        if handler.command != "POST":
            return False
        posts.append(handler.body)
        for data in stored.values():
            if data in handler.body:
                pacs.add(read(data))
        handler.close_connection = True
        return True

    pacs.answers["/studies"] = take_and_hang_up
    report = sent(pacs, folder, waits=(0, 0))
    assert (report.sent, report.failed) == (5, 0)
    assert len(posts) == 2  # one for each study


def test_what_is_too_large_for_a_pacs_is_sent_in_halves(objects, pacs):
    folder, stored = objects

    def small_only(handler):
        if handler.command != "POST":
            return False
        inside = [uid for uid, data in stored.items() if data in handler.body]
        return handler.send(413) if len(inside) > 1 else handler.send(200, answer_of(stored=inside))

    pacs.answers["/studies"] = small_only
    assert str(sent(pacs, folder)) == "5 sent, 0 there already, 0 failed"


def test_a_server_error_is_tried_again_and_then_told(objects, pacs):
    folder, stored = objects
    pacs.answers["/studies"] = lambda h: h.command == "POST" and h.send(500, b"SECRET")
    report = sent(pacs, folder, waits=(0,))
    assert set(report.failures) == set(stored)
    assert set(report.failures.values()) == {"not stored: the server answers with HTTP status 500"}
    assert pacs.count("/studies$", "POST") == 4


def test_files_that_are_no_objects_fail_alone(objects, orthanc):
    folder, _ = objects
    (folder / "SECRET^NAME.dcm").write_bytes(b"SECRET")
    done = run(folder, orthanc.web)
    assert done.exit_code == 3
    assert done.stdout == "5 sent, 0 there already, 1 failed\n"
    assert "not a DICOM object" in done.stderr
    assert "SECRET" not in done.output


def test_c_store_and_nothing_twice(objects, orthanc):
    folder, stored = objects
    destination = f"ORTHANC@127.0.0.1:{orthanc.port}"
    done = run(folder, destination)
    assert done.exit_code == 0, done.output
    assert done.stdout == "5 sent, 0 there already, 0 failed\n"
    assert orthanc.sop_uids() == sorted(stored)
    syntaxes = [orthanc.rest(f"/instances/{i}/metadata?expand")["TransferSyntax"] for i in orthanc.rest("/instances")]
    assert sorted(syntaxes) == sorted(str(read(data).file_meta.TransferSyntaxUID) for data in stored.values())
    assert run(folder, destination).stdout == "0 sent, 5 there already, 0 failed\n"
    assert orthanc.new_instances() == 5


def test_who_is_not_there_or_not_meant(objects, orthanc):
    folder, _ = objects
    done = run(folder, f"WRONG@127.0.0.1:{orthanc.port}")
    assert done.exit_code == 1
    assert "rejects the association: called ae title not recognised" in done.stderr
    done = run(folder, "PACS@127.0.0.1:9")
    assert done.exit_code == 1
    assert "mammofast: 127.0.0.1, port 9, cannot be reached: refused" in done.stderr


class Scp:
    """A storage SCP that answers what a test wants."""

    def __init__(self, answer, contexts=AllStoragePresentationContexts, syntaxes=None, context=None):
        entity = AE("SCP")
        for each in contexts:
            entity.add_supported_context(each.abstract_syntax, syntaxes or ["1.2.840.10008.1.2.1"])
        entity.add_supported_context("1.2.840.10008.1.1")
        self.stored = []

        def stored(event):
            self.stored.append(str(event.request.AffectedSOPInstanceUID))
            return answer(event)

        self._server = entity.start_server(
            ("127.0.0.1", 0), False, context, [(evt.EVT_CONN_OPEN, close_surely), (evt.EVT_C_STORE, stored)]
        )
        self.peer = Peer("SCP", "127.0.0.1", self._server.server_address[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()


def test_statuses_and_syntaxes_that_are_not_accepted(objects):
    folder, _ = objects
    report = SendReport()
    waiting = outgoing(folder, report)
    plain = [each.sop_uid for each in waiting if each.transfer_syntax_uid == "1.2.840.10008.1.2.1"]
    with Scp(lambda event: 0xA700 if event.request.AffectedSOPInstanceUID == plain[0] else 0xB007) as scp:
        send(scp.peer, waiting, report)
    assert sorted(scp.stored) == sorted(plain)
    assert report.sent == 2
    assert report.warnings == dict.fromkeys(plain[1:], "data set does not match SOP class (0xB007)")
    assert report.failures.pop(plain[0]) == "not stored: out of resources (0xA700)"
    assert set(report.failures.values()) == {
        "not sent: the PACS accepts no SOP class 1.2.840.10008.5.1.4.1.1.1.2 in syntax 1.2.840.10008.1.2.4.90"
    }


def test_a_connection_that_breaks_off_is_made_again_once_for_each(objects, monkeypatch):
    monkeypatch.setattr("mammofast.pacs.dimse.send._TIMEOUT", 3600.0)  # nobody is waited for who is not there
    folder, _ = objects
    report = SendReport()
    waiting = outgoing(folder, report)
    first, *broken = [each.sop_uid for each in waiting[:3]]
    seen = []

    def answer(event):
        uid = str(event.request.AffectedSOPInstanceUID)
        seen.append(uid)
        if uid in broken or (uid == first and seen.count(uid) == 1):
            event.assoc.dul.socket.close()
        return 0

    with Scp(answer, syntaxes=["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90"]) as scp:
        send(scp.peer, waiting, report)
    assert report.failures == dict.fromkeys(broken, "not stored: twice the connection broke off meanwhile")
    assert report.sent == 3
    assert len(seen) == 3 + 2 * 2 + 1


def test_tls_both_ways(objects, tls):
    folder, _ = objects
    report = SendReport()
    credentials = Credentials(tls.certificate, tls.key, tls.ca)
    with Scp(lambda event: 0, context=credentials.context(server=True)) as scp:
        send(scp.peer, outgoing(folder, report)[:1], report, tls=credentials)
        assert report.sent == 1
        stranger = ssl.create_default_context(cafile=str(tls.ca))
        entity = AE()
        entity.add_requested_context("1.2.840.10008.1.1")
        entity.acse_timeout = entity.network_timeout = 5
        closing = [(evt.EVT_CONN_OPEN, close_surely)]
        association = entity.associate(
            scp.peer.host, scp.peer.port, ae_title="SCP", tls_args=(stranger, "127.0.0.1"), evt_handlers=closing
        )
        assert not association.is_established


@pytest.mark.parametrize(
    "text", ["", "PACS", "PACS@host", "PACS@host:0", "PACS@host:70000", "A@B@host:1", "TITLE-OF-17-CHARS@h:1", " @h:1"]
)
def test_what_is_no_address_is_misuse(objects, text):
    with pytest.raises(ValueError, match=r"expected"):
        parse_peer(text)
    done = run(objects[0], text)
    assert (done.exit_code, done.stdout) == (2, "")


def test_addresses():
    assert parse_peer("PACS@10.0.0.7:104") == Peer("PACS", "10.0.0.7", 104)
    assert parse_peer("A B@[::1]:11112") == Peer("A B", "::1", 11112)


def test_every_status_has_words():
    assert in_words(0xA702) == "out of resources (0xA702)"
    assert in_words(0xC123) == "cannot understand (0xC123)"
    assert in_words(0x1234) == "no reason known (0x1234)"


def test_a_folder_without_objects_is_misuse(tmp_path):
    assert run(tmp_path, "http://127.0.0.1:9").exit_code == 2
