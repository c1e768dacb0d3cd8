"""A PACS that takes connections and says nothing, or stops in the middle: said, tried again, and given up in time."""

import contextlib
import socket
import threading
import time

import pytest
from click.testing import CliRunner
from pynetdicom import AE, evt

from mammofast.archive import open_archive
from mammofast.archive.ingest import Ingest
from mammofast.cli import main
from mammofast.errors import PacsError
from mammofast.pacs.dicomweb import DicomWeb
from mammofast.pacs.dicomweb.multipart import Files
from mammofast.pacs.dicomweb.server import Server
from mammofast.pacs.dimse.entity import Peer, close_surely
from mammofast.pacs.dimse.receive import Receiver
from mammofast.pacs.dimse.send import send
from mammofast.pacs.dimse.spool import Spool
from mammofast.pacs.sending import SendReport, outgoing
from tests.pacs.conftest import BOUNDARY
from tests.pacs.serving import associate, post, until

INSTANCE = r"/studies/[0-9.]+/series/[0-9.]+/instances/"


class Mute:
    """A server on loopback that takes connections, and says of its words what there is, and then nothing."""

    def __init__(self, words=b""):
        self.taken = []
        self._words = words
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self.taken.append(connection)
                if self._words:
                    connection.recv(1 << 16)
                    connection.sendall(self._words)

    def close(self):
        self._listening.shutdown(socket.SHUT_RDWR)
        for each in (self._listening, *self.taken):
            each.close()


@pytest.fixture
def mute():
    started = []

    def start(words=b""):
        started.append(Mute(words))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def stalls():
    """What sends half of an answer, and then nothing before the test's end."""
    ended = threading.Event()

    half = f"--{BOUNDARY}\r\n\r\n".encode() + bytes(128) + b"DICM"

    def stall(handler, body=half):
        handler.send_response(200)
        handler.send_header("Content-Type", f'multipart/related; boundary="{BOUNDARY}"')
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        handler.wfile.write(body)
        handler.wfile.flush()
        ended.wait(60)
        handler.close_connection = True
        return True

    yield stall
    ended.set()


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """All times by a hundredth."""
    monkeypatch.setattr("mammofast.pacs.dicomweb.server._TIMEOUTS", (1.0, 0.6))
    monkeypatch.setattr("mammofast.pacs.dicomweb.patience.WAITS", (0.01, 0.01, 0.01))
    monkeypatch.setattr("mammofast.pacs.waiting.AFTER", 0.2)
    monkeypatch.setattr("mammofast.pacs.dimse.send._TIMEOUT", 0.6)


def run(*arguments):
    begun = time.monotonic()
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    return done, time.monotonic() - begun


WORD = "mammofast: waiting for the PACS to answer a search: nothing for 0 s, of 1 s that it is given\n"


@pytest.mark.parametrize(
    "words, why",
    [
        (b"", "the server says nothing for 1 s"),
        (b"HTTP/1.1 200 OK\r\nContent-T", "the server says nothing for 1 s"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: 1000\r\n\r\n[{",
            "the server stops in the middle of its answer, and says nothing for 1 s",
        ),
    ],
)
def test_ingest_says_what_it_waits_for_and_ends(tmp_path, mute, words, why):
    server = mute(words)
    url = f"http://127.0.0.1:{server.port}/web?PatientName=SECRET"
    done, seconds = run("ingest", url, tmp_path / "a.zarr")
    assert done.exit_code == 1
    assert len(server.taken) == 3
    assert seconds < 6
    assert WORD in done.stderr
    assert f"mammofast: {why}; asked again in 0.01 s, try 2 of 3\n" in done.stderr
    assert done.stderr.endswith(f"mammofast: {why}; look at the PACS, and run again\n")
    assert "SECRET" not in done.output
    assert not (tmp_path / "a.zarr").exists()


def test_who_is_quiet_hears_only_the_end(tmp_path, mute):
    done, _ = run("ingest", f"http://127.0.0.1:{mute().port}/web", tmp_path / "a.zarr", "--quiet")
    assert done.stderr == "mammofast: the server says nothing for 1 s; look at the PACS, and run again\n"


def test_an_object_that_stops_midway_fails_alone(tmp_path, dicom, pacs, stalls):
    bad, good = pacs.add(dicom.dataset()), pacs.add(dicom.dataset(dicom.pixels(seed=1)))
    pacs.answers[INSTANCE + bad.SOPInstanceUID] = stalls
    done, _ = run("ingest", pacs.url, tmp_path / "a.zarr")
    assert done.exit_code == 3
    assert "mammofast: waiting for the PACS to send an object: nothing" in done.stderr
    assert pacs.count(bad.SOPInstanceUID) == 3
    archive = open_archive(tmp_path / "a.zarr")
    assert [image.record.sop_uid for image in archive.images()] == [good.SOPInstanceUID]
    assert [record.reason for record in archive.skipped()] == [
        "read: not retrieved: the server stops in the middle of its answer, and says nothing for 1 s; "
        "look at the PACS, and run again"
    ]


def test_a_pacs_that_lists_objects_and_sends_none_is_given_up(tmp_path, dicom, pacs, stalls):
    study = dicom.uid()
    for seed in range(20):
        pacs.add(dicom.dataset(dicom.pixels(seed=seed), StudyInstanceUID=study))
    pacs.answers[INSTANCE + ".*"] = stalls
    done, seconds = run("ingest", pacs.url, tmp_path / "a.zarr", "--workers", "2")
    assert done.exit_code == 1
    assert done.stderr.endswith(
        "mammofast: 5 times in a row the PACS was waited for to send an object, in vain: "
        "look at the PACS, and run again to go on\n"
    )
    assert pacs.count(INSTANCE) < 12
    assert seconds < 8
    # Nothing of it is for good.
    pacs.answers.clear()
    assert run("ingest", pacs.url, tmp_path / "a.zarr")[0].stdout.startswith("20 files: 20 added")


def test_who_interrupts_waits_for_one_silence_at_most(tmp_path, dicom, pacs, stalls):
    for seed in range(3):
        pacs.add(dicom.dataset(dicom.pixels(seed=seed)))
    asked = threading.Event()
    pacs.answers[INSTANCE + ".*"] = lambda handler: asked.set() or stalls(handler)
    told = []
    with DicomWeb(pacs.url, tell=told.append) as source, Ingest(tmp_path / "a.zarr", workers=1) as ingest:
        real = source.files

        def interrupted(*arguments):
            files = real(*arguments)
            yield next(files)
            asked.wait(10)
            files.throw(KeyboardInterrupt())

        source.files = interrupted
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            ingest.add(source)
        assert time.monotonic() - begun < 1.5
    assert pacs.count(INSTANCE) == 1
    assert told[0] == "stopping; what the PACS was asked for is waited for, at most 1 s of silence"


def test_a_transfer_may_be_longer_than_a_silence(tmp_path, dicom, pacs):
    ds = pacs.add(dicom.dataset(dicom.pixels(800, 600)))
    body = pacs.message(dicom.bytes(ds))

    def slowly(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", handler.multipart)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        for start in range(0, len(body), len(body) // 12 + 1):
            time.sleep(0.1)
            handler.wfile.write(body[start : start + len(body) // 12 + 1])
            handler.wfile.flush()
        return True

    pacs.answers[INSTANCE + ".*"] = slowly
    done, seconds = run("ingest", pacs.url, tmp_path / "a.zarr")
    assert seconds > 1.2
    assert done.stdout == "1 file: 1 added, 0 known, 0 skipped, 0 failed\n"
    assert "waiting" not in done.stderr


@pytest.fixture
def objects(tmp_path, dicom):
    for study in range(8):
        dicom.write(tmp_path / "objects" / f"{study}.dcm", dicom.pixels(seed=study), StudyInstanceUID=dicom.uid())
    return tmp_path / "objects"


def test_stow_to_who_says_nothing_at_all(objects, mute):
    done, seconds = run("send", objects, f"http://127.0.0.1:{mute().port}/web")
    assert done.exit_code == 1
    assert WORD in done.stderr
    assert done.stderr.endswith("mammofast: the server says nothing for 1 s; look at the PACS, and run again\n")
    assert seconds < 6


def test_stow_to_who_does_not_say_what_became_of_it(objects, pacs, stalls):
    pacs.answers["/studies"] = lambda handler: handler.command == "POST" and stalls(handler, b"{")
    done, seconds = run("send", objects, pacs.url)
    assert done.exit_code == 1
    assert "mammofast: waiting for the PACS to take objects: nothing" in done.stderr
    assert "mammofast: 5 times in a row the PACS was waited for to take objects, in vain" in done.stderr
    assert pacs.count("/studies$", "POST") == 3 + 4
    assert done.stdout == "0 sent, 0 there already, 5 failed\n"
    assert seconds < 10


def test_stow_to_who_falls_silent_between(objects, pacs):
    """What was stored is asked for only as often as anything else, and not for each try of the storing."""
    silent = threading.Event()
    held = threading.Event()

    def fall_silent(handler):
        if handler.command == "POST":
            silent.set()
        return silent.is_set() and bool(held.wait(30))

    pacs.answers[".*"] = fall_silent
    done, seconds = run("send", objects, pacs.url)
    held.set()
    assert done.exit_code == 1
    assert pacs.count("/studies$", "POST") == 1
    assert seconds < 6


def test_stow_to_who_reads_nothing(tmp_path, dicom):
    dicom.write(tmp_path / "objects" / "a.dcm", dicom.pixels(3000, 3000))
    deaf = socket.create_server(("127.0.0.1", 0))
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    try:
        with Server(f"http://127.0.0.1:{deaf.getsockname()[1]}/web", waits=()) as server:
            (each,) = outgoing(tmp_path / "objects", SendReport())
            with pytest.raises(PacsError, match=r"takes no more of what it is sent, for 1 s$"):
                server.request("POST", "/studies", lambda answer: None, data=Files([each.path]))
    finally:
        deaf.close()


PEER = "SCP@127.0.0.1:{}"


def test_c_store_to_who_says_nothing_at_all(objects, mute):
    done, seconds = run("send", objects, PEER.format(mute().port))
    assert done.exit_code == 1
    assert "mammofast: waiting for the PACS to accept an association: nothing for 0 s, of 1 s" in done.stderr
    assert done.stderr.endswith(
        "mammofast: the PACS takes the connection, and says nothing for 1 s; is it its port for DICOM? "
        "Look at the PACS, and run again\n"
    )
    assert seconds < 4


def test_c_store_to_who_stops_in_the_middle_of_a_word(objects, mute):
    done, seconds = run("send", objects, PEER.format(mute(b"\x02\0\0\0\1\0accept").port))
    assert done.exit_code == 1
    assert "the PACS takes the connection, and says nothing for 1 s" in done.stderr
    assert seconds < 4


class Silent:
    """A storage SCP that never answers some kinds of requests."""

    def __init__(self, *unanswered, answer=lambda event: 0x0000):
        entity = AE("SCP")
        for uid in ("1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.1.1.2"):
            entity.add_supported_context(uid)
        entity.maximum_associations = 100
        self.asked = []
        self._ended = threading.Event()

        def handler(name, said):
            def handle(event):
                self.asked.append(name)
                if name in unanswered:
                    self._ended.wait(30)
                return said(event)

            return handle

        self._server = entity.start_server(
            ("127.0.0.1", 0),
            False,
            evt_handlers=[
                (evt.EVT_CONN_OPEN, close_surely),
                (evt.EVT_C_ECHO, handler("echo", lambda event: 0x0000)),
                (evt.EVT_C_FIND, handler("find", lambda event: iter([(0x0000, None)]))),
                (evt.EVT_C_STORE, handler("store", answer)),
            ],
        )
        self.port = self._server.server_address[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._server.shutdown()


def test_c_store_that_is_never_confirmed(objects):
    with Silent("store") as scp:
        done, seconds = run("send", objects, PEER.format(scp.port))
    assert done.exit_code == 1
    assert "mammofast: waiting for the PACS to confirm an object: nothing" in done.stderr
    assert done.stdout == "0 sent, 0 there already, 3 failed\n"
    assert done.stderr.count("not stored: twice the PACS said nothing for 1 s") == 3
    assert done.stderr.endswith(
        "mammofast: the PACS has confirmed none of 3 objects in a row; look at the PACS, and run again: "
        "what it has is not sent again\n"
    )
    assert scp.asked.count("store") == 6
    assert seconds < 12


def test_c_store_to_who_stops_reading_in_the_middle_of_an_object(tmp_path, dicom):
    for number in range(4):
        path = tmp_path / "objects" / f"{number}.dcm"
        dicom.write(path, dicom.pixels(3000, 2000), SOPInstanceUID=f"1.2.3.{number}")
    with Silent() as scp:

        def hold(event):
            if len(event.data) > 10_000:
                scp._ended.wait(30)

        scp._server.bind(evt.EVT_DATA_RECV, hold)
        done, seconds = run("send", tmp_path / "objects", PEER.format(scp.port))
    assert done.exit_code == 1
    assert done.stdout == "0 sent, 0 there already, 3 failed\n"
    assert "the PACS has confirmed none of 3 objects in a row" in done.stderr
    assert seconds < 20


def test_c_store_to_who_answers_no_queries(objects):
    with Silent("find") as scp:
        report = SendReport()
        send(Peer("SCP", "127.0.0.1", scp.port), outgoing(objects, report), report)
    assert str(report) == "8 sent, 0 there already, 0 failed"
    assert scp.asked.count("find") == 1


def test_c_store_to_who_does_not_answer_a_c_echo(objects):
    with Silent("echo") as scp:
        report = SendReport()
        with pytest.raises(PacsError, match="does not answer a C-ECHO; look at the PACS, and run again"):
            send(Peer("SCP", "127.0.0.1", scp.port), outgoing(objects, report), report)


def test_c_store_may_take_longer_than_a_silence(tmp_path, dicom, monkeypatch):
    """On a slow line: what is waited for is the next sign of life, not the end."""
    dicom.write(tmp_path / "objects" / "a.dcm", dicom.pixels(1200, 1000))
    told = []
    raw_send = socket.socket.send

    def slow(self, data, *flags):
        if len(data) > 4000:
            time.sleep(0.02)
        return raw_send(self, data[:200_000], *flags)

    with Silent() as scp:
        monkeypatch.setattr("socket.socket.send", slow, raising=False)
        begun = time.monotonic()
        report = SendReport()
        peer = Peer("SCP", "127.0.0.1", scp.port)
        send(peer, outgoing(tmp_path / "objects", report), report, tell=told.append)
    assert time.monotonic() - begun > 1.2
    assert (report.sent, told) == (1, [])


@pytest.fixture
def receiver(tmp_path, monkeypatch):
    monkeypatch.setattr("mammofast.pacs.dimse.receive._TIMEOUT", 0.6)
    monkeypatch.setattr("mammofast.pacs.dimse.receive._FIRST_WORD_TIMEOUT", 0.4)
    (tmp_path / "spool").mkdir()
    with Spool(tmp_path / "spool") as spool, Receiver(spool, "MAMMOFAST", 0) as receiver:
        yield receiver


def is_hung_up_on(connection):
    connection.settimeout(5)
    with contextlib.suppress(ConnectionError):
        while connection.recv(1000):
            pass
    return True


@pytest.mark.parametrize("words", [b"", b"\x01\0\0", b"\x01\0\0\0\1\0half"])
def test_serve_hangs_up_on_who_says_nothing(receiver, words):
    with socket.create_connection(("127.0.0.1", receiver.port), 5) as silent:
        silent.sendall(words)
        begun = time.monotonic()
        assert is_hung_up_on(silent)
        assert time.monotonic() - begun < 3
    until(lambda: not receiver._server.active_associations)


def test_serve_hangs_up_on_who_associates_and_says_nothing(tmp_path, dicom, receiver):
    dicom.write(tmp_path / "in" / "0.dcm", dicom.pixels(500, 400))
    idle, halfway = (associate(receiver.port, dicom.for_presentation) for _ in range(2))
    post(halfway, tmp_path / "in" / "0.dcm", pieces=20)
    # Neither holds up anybody else.
    other = associate(receiver.port, dicom.for_presentation)
    assert other.send_c_store(tmp_path / "in" / "0.dcm").Status == 0
    other.release()
    until(lambda: idle.is_aborted and halfway.is_aborted)
    until(lambda: not receiver._server.active_associations)
    assert sorted(path.suffix for path in (tmp_path / "spool").iterdir() if path.name != "lock") == [".dcm"]


def test_serve_ends_though_somebody_is_in_the_middle_of_a_word(tmp_path, monkeypatch):
    monkeypatch.setattr("mammofast.pacs.dimse.receive._GRACE", 0.1)
    (tmp_path / "spool").mkdir()
    with contextlib.ExitStack() as held:
        with Spool(tmp_path / "spool") as spool, Receiver(spool, "MAMMOFAST", 0) as receiver:
            for _ in range(3):
                silent = held.enter_context(socket.create_connection(("127.0.0.1", receiver.port), 5))
                silent.sendall(b"\x01\0\0\0\1\0half")
            until(lambda: len(receiver._server.active_associations) == 3)
            begun = time.monotonic()
        assert time.monotonic() - begun < 3
