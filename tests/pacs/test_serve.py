"""Mammograms from a DICOM client, dcmtk's, into an archive: what was acknowledged is never lost."""

import errno
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import tracemalloc

import numpy as np
import pytest
from click.testing import CliRunner
from pydicom import dcmread
from pynetdicom.pdu_primitives import P_DATA

from mammofast.archive import open_archive
from mammofast.archive.codecs import DECODERS
from mammofast.archive.ingest import Ingest
from mammofast.cli import main
from mammofast.errors import PacsError
from mammofast.pacs.dimse.entity import Credentials
from mammofast.pacs.dimse.receive import Receiver
from mammofast.pacs.dimse.serve import serve
from mammofast.pacs.dimse.spool import FOLDER, Spool
from tests.pacs.orthanc import need
from tests.pacs.serving import associate, post, storescu, until

VERIFICATION = "1.2.840.10008.1.1"


@pytest.fixture
def receiver(tmp_path):
    """A receiver in this process, of a spool that nobody ingests."""
    (tmp_path / "spool").mkdir()
    with Spool(tmp_path / "spool") as spool, Receiver(spool, "MAMMOFAST", 0) as receiver:
        yield receiver


def echoscu(port, *options):
    command = [need("echoscu"), "-to", "5", *options, "127.0.0.1", str(port)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def write(folder, dicom, count, **attributes):
    return [dicom.write(folder / f"{n}.dcm", dicom.pixels(seed=n), **attributes) for n in range(count)]


def test_what_a_client_stores_is_in_the_archive(tmp_path, dicom, start):
    stored = write(tmp_path / "in", dicom, 4, StudyInstanceUID=dicom.uid())
    served = start()
    assert echoscu(served.port, "-aec", "MAMMOFAST").returncode == 0
    storescu(served.port, *sorted((tmp_path / "in").iterdir()))
    served.wait_for(4)
    for ds in stored:
        image = open_archive(served.archive).image(ds.StudyInstanceUID, ds.SOPInstanceUID)
        np.testing.assert_array_equal(image.read(), ds.pixel_array)
        assert image.header.PatientName == "SECRET^NAME"
    # The same again is known, and leaves nothing behind.
    storescu(served.port, *sorted((tmp_path / "in").iterdir()))
    served.wait_for(4)
    status, said, complained = served.end()
    assert (status, complained) == (0, "")
    assert sum(line["added"] for line in said) == 4
    assert sum(line["added"] + line["known"] for line in said) == 8
    assert "SECRET" not in json.dumps(said)


def test_every_transfer_syntax_the_archive_decodes(tmp_path, dicom, start):
    served = start()
    syntaxes = {**dicom.lossless, **dicom.lossy}
    assert set(syntaxes.values()) == set(DECODERS)
    names = [name for name in syntaxes if name != "JPEG baseline"]  # of 8 bits
    association = associate(served.port, dicom.for_presentation, [syntaxes[name] for name in names])
    sent = {}
    for seed, name in enumerate(names):
        ds = dicom.write(tmp_path / "in" / f"{seed}.dcm", dicom.pixels(seed=seed), syntax=syntaxes[name])
        sent[str(ds.SOPInstanceUID)] = syntaxes[name]
        assert association.send_c_store(ds).Status == 0
    association.release()
    served.wait_for(len(names))
    images = open_archive(served.archive).images()
    assert {image.record.sop_uid: image.record.transfer_syntax_uid for image in images} == sent


def test_nothing_acknowledged_is_lost_to_a_kill(tmp_path, dicom, start):
    for number in range(40):
        dicom.write(tmp_path / "in" / f"{number:02}.dcm", dicom.pixels(300, 200, seed=number))
    files = sorted((tmp_path / "in").iterdir())
    acknowledged = set()
    for part, after in enumerate((7, 5, 9)):
        served = start()
        association = associate(served.port, dicom.for_presentation)
        for number, path in enumerate(files[part * 13 : part * 13 + 13]):
            if number == after:
                threading.Timer(0.002, served.process.kill).start()
            try:
                status = association.send_c_store(path).get("Status")
            except RuntimeError:
                break
            if status != 0:
                break
            acknowledged.add(sop_uid(path))
        served.process.wait(30)
        association.abort()
    assert len(acknowledged) >= 7 + 5 + 9
    served = start()  # which goes on with what was received
    served.wait_for(len(acknowledged))
    found = {image.record.sop_uid for image in open_archive(served.archive).images()}
    assert acknowledged <= found
    assert not list((served.archive / FOLDER).glob("*.part"))
    assert served.end()[0] == 0


def sop_uid(path):
    return str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def test_an_association_that_goes_on_is_no_reason_to_wait(tmp_path, dicom, start):
    served = start()
    write(tmp_path / "in", dicom, 1)
    association = associate(served.port, dicom.for_presentation)
    assert association.send_c_store(tmp_path / "in" / "0.dcm").Status == 0
    served.wait_for(1)
    # Told to end, it does not wait for it for ever.
    status, _, complained = served.end()
    assert (status, complained) == (0, "")
    association.abort()


def test_who_may_call_whom(tmp_path, dicom, start):
    write(tmp_path / "in", dicom, 1)
    served = start("--allow", "MODALITY", "--allow", "PACS")
    assert echoscu(served.port, "-aec", "MAMMOFAST", "-aet", "PACS").returncode == 0
    wrong = echoscu(served.port, "-aec", "OTHER", "-aet", "PACS")
    assert wrong.returncode != 0
    assert "Called AE Title Not Recognized" in wrong.stdout + wrong.stderr
    stranger = echoscu(served.port, "-aec", "MAMMOFAST", "-aet", "STRANGER")
    assert "Calling AE Title Not Recognized" in stranger.stdout + stranger.stderr
    storescu(served.port, tmp_path / "in" / "0.dcm")
    served.wait_for(1)
    assert served.end()[0] == 0


def test_what_the_archive_does_not_keep_is_refused_before_it_is_sent(tmp_path, dicom, receiver):
    dicom.write(tmp_path / "in" / "0.dcm", SOPClassUID=dicom.tomosynthesis)
    done = storescu(receiver.port, tmp_path / "in" / "0.dcm", check=False)
    assert done.returncode != 0
    assert f"No presentation context for: (BT) {dicom.tomosynthesis}" in done.stderr


def store(port, dicom, path, **options):
    association = associate(port, dicom.for_presentation, **options)
    assert association.is_established
    try:
        return association.send_c_store(path).get("Status")
    finally:
        association.abort()


def spooled(tmp_path):
    return sorted(path.suffix for path in (tmp_path / "spool").iterdir() if path.name != "lock")


@pytest.mark.parametrize("call", ["fsync", "rename", "sync"])
def test_a_full_disk_is_out_of_resources(tmp_path, dicom, receiver, monkeypatch, call):
    write(tmp_path / "in", dicom, 1)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        target = {"fsync": "os.fsync", "rename": "pathlib.Path.rename", "sync": "mammofast.pacs.dimse.spool.sync"}[call]
        patched.setattr(target, full)
        assert store(receiver.port, dicom, tmp_path / "in" / "0.dcm") == 0xA700
        assert spooled(tmp_path) == []
    assert store(receiver.port, dicom, tmp_path / "in" / "0.dcm") == 0
    assert spooled(tmp_path) == [".dcm"]


def test_success_is_not_said_before_the_disk_has_it(tmp_path, dicom, receiver, monkeypatch):
    write(tmp_path / "in", dicom, 1)
    order = []
    fsync, rename = os.fsync, type(tmp_path).rename
    monkeypatch.setattr("os.fsync", lambda fd: order.append("fsync") or fsync(fd))
    monkeypatch.setattr("pathlib.Path.rename", lambda self, to: order.append("rename") or rename(self, to))
    assert store(receiver.port, dicom, tmp_path / "in" / "0.dcm") == 0
    assert order == ["fsync", "rename", "fsync"]


def test_who_sends_without_end_is_hung_up_on(tmp_path, dicom, receiver, monkeypatch):
    write(tmp_path / "in", dicom, 1)
    # A PDU of 4 GB, announced.
    with socket.create_connection(("127.0.0.1", receiver.port), 10) as rude:
        rude.sendall(b"\x01\0\xff\xff\xff\xff" + bytes(1000))
        assert rude.recv(100)[:1] in (b"", b"\x07")
    # An object of many PDUs.
    monkeypatch.setattr("mammofast.pacs.dimse.receive.MAX_FILE_BYTES", 10_000)
    assert store(receiver.port, dicom, tmp_path / "in" / "0.dcm") is None
    assert spooled(tmp_path) == []


def test_an_object_is_on_the_disk_as_it_arrives(tmp_path, dicom, receiver):
    dicom.write(tmp_path / "in" / "0.dcm", dicom.pixels(1000, 800))
    association = associate(receiver.port, dicom.for_presentation)
    post(association, tmp_path / "in" / "0.dcm", pieces=101)
    until(lambda: [p for p in (tmp_path / "spool").glob("*.part") if p.stat().st_size > 300_000])
    # Its sender dies: nothing is left of it.
    association.dul.socket.close()
    until(lambda: spooled(tmp_path) == [])
    association.abort()


def test_large_objects_are_not_held_in_memory(tmp_path, dicom, receiver):
    dicom.write(tmp_path / "in" / "0.dcm", dicom.pixels(4000, 3000))
    storescu(receiver.port, tmp_path / "in" / "0.dcm")  # what is loaded once
    tracemalloc.start()
    try:
        storescu(receiver.port, tmp_path / "in" / "0.dcm")
        assert tracemalloc.get_traced_memory()[1] < 6_000_000
    finally:
        tracemalloc.stop()
    assert [path.stat().st_size > 23_999_999 for path in (tmp_path / "spool").glob("*.dcm")] == [True, True]


def test_who_does_not_wait_for_answers_is_told_so(tmp_path, dicom, receiver, monkeypatch):
    write(tmp_path / "in", dicom, 1)
    held = threading.Event()
    fsync = os.fsync
    monkeypatch.setattr("os.fsync", lambda fd: held.wait(10) and fsync(fd))
    association = associate(receiver.port, dicom.for_presentation)
    association._reactor_checkpoint.clear()  # answers are read here
    for _ in range(8):
        post(association, tmp_path / "in" / "0.dcm")
    (served,) = receiver._server.active_associations
    until(lambda: served.dimse.msg_queue.qsize() == 7)
    held.set()
    statuses = [association.dimse.get_msg(block=True)[1].Status for _ in range(8)]
    association.abort()
    assert statuses == [0] * 5 + [0xA700] * 3
    assert spooled(tmp_path) == [".dcm"] * 5


def test_a_command_without_end_is_hung_up_on(dicom, receiver):
    association = associate(receiver.port, dicom.for_presentation)
    for _ in range(40):
        piece = P_DATA()
        piece.presentation_data_value_list.append([1, b"\x01" + bytes(4000)])
        association.dul.send_pdu(piece)
    until(lambda: association.is_aborted)


def test_there_are_not_too_many_associations(dicom, receiver):
    several = [associate(receiver.port, VERIFICATION) for _ in range(17)]
    assert [each.is_established for each in several] == [True] * 16 + [False]
    for each in several:
        each.abort()


def test_tls_and_silent_clients(tmp_path, dicom, tls, start):
    served = start("--tls", tls.certificate, tls.key, tls.ca)
    write(tmp_path / "in", dicom, 2)
    files = ("+cf", tls.ca, "+tls", tls.key, tls.certificate)
    with socket.create_connection(("127.0.0.1", served.port), 10):  # says nothing, and holds up nobody
        context = Credentials(tls.certificate, tls.key, tls.ca).context(server=False)
        assert store(served.port, dicom, tmp_path / "in" / "0.dcm", tls_args=(context, "127.0.0.1")) == 0
        done = subprocess.run(
            [
                need("storescu"),
                *map(str, files),
                "-aec",
                "MAMMOFAST",
                "127.0.0.1",
                str(served.port),
                tmp_path / "in" / "1.dcm",
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    served.wait_for(2)
    # Neither without TLS, nor without a certificate.
    assert echoscu(served.port, "-aec", "MAMMOFAST").returncode != 0
    anonymous = ssl.create_default_context(cafile=str(tls.ca))
    assert not associate(served.port, VERIFICATION, tls_args=(anonymous, "127.0.0.1")).is_established
    status, _, complained = served.end(signal.SIGINT)
    assert (status, complained) == (0, "")


def test_damaged_objects_fail_alone(tmp_path, dicom, start):
    served = start()
    dicom.write(tmp_path / "in" / "0.dcm", dicom.pixels() * 0)
    dicom.write(tmp_path / "in" / "1.dcm")
    storescu(served.port, *sorted((tmp_path / "in").iterdir()))
    served.wait_for(1)
    _, said, _ = served.end()
    assert [line["failed"] for line in said] == [1]
    assert [record.reason for record in open_archive(served.archive).skipped()] == ["constant-pixels: all pixels are 0"]


def test_one_serves_an_archive_at_a_time_and_a_port_once(tmp_path, receiver):
    with pytest.raises(PacsError, match="stop it first"), Spool(tmp_path / "spool"):
        pass
    (tmp_path / "other").mkdir()
    with (
        Spool(tmp_path / "other") as spool,
        pytest.raises(PacsError, match=f"cannot listen on 127.0.0.1, port {receiver.port} "),
        Receiver(spool, "MAMMOFAST", receiver.port),
    ):
        pass


def test_what_may_go_better_another_time_stays_in_the_spool(tmp_path, dicom):
    archive = tmp_path / "a.zarr"
    with Ingest(archive):
        pass
    dicom.write(archive / FOLDER / "a.dcm")
    (archive / FOLDER / "b.part").write_bytes(b"half")
    (archive / FOLDER / "c.dcm").mkdir()  # which cannot be read
    reports = []
    serve(archive, lambda spool: Receiver(spool, "MAMMOFAST", 0), stop=lambda: bool(reports), ingested=reports.append)
    assert [str(report) for report in reports] == ["1 added, 0 known, 0 skipped, 1 failed"]
    assert sorted(path.name for path in (archive / FOLDER).iterdir()) == ["c.dcm", "lock"]


@pytest.mark.parametrize("aet", ["", "SEVENTEEN-LETTERS", "BACK\\SLASH", " LEADING"])
def test_misuse(tmp_path, aet):
    done = CliRunner().invoke(main, ["serve", "--aet", aet, "--port", "0", str(tmp_path / "a.zarr")])
    assert done.exit_code == 2
    assert not (tmp_path / "a.zarr").exists()


def test_tls_files_that_do_not_fit(tmp_path, tls):
    other = tmp_path / "other.pem"
    other.write_text("nothing")
    files = [str(tls.certificate), str(other), str(tls.ca)]
    done = CliRunner().invoke(main, ["serve", "--aet", "A", "--port", "0", "--tls", *files, str(tmp_path / "a.zarr")])
    assert done.exit_code == 1
    assert "--tls CERT KEY CA: the files cannot be used" in done.stderr
