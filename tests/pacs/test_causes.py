"""Why there is no connection: a name, a port, TLS and a silence are told apart, by DICOMweb and by C-STORE."""

import socket
import ssl
from pathlib import Path

import pytest
from click.testing import CliRunner
from pynetdicom import AE, evt

from mammofast.cli import main
from mammofast.errors import PacsError
from mammofast.pacs.causes import cause
from mammofast.pacs.dicomweb.failures import Unreachable
from mammofast.pacs.dicomweb.server import Server
from mammofast.pacs.dimse.entity import Credentials, Peer, close_surely
from mammofast.pacs.dimse.send import send
from mammofast.pacs.sending import Outgoing, SendReport
from tests.pacs.tls import Proxy


@pytest.fixture
def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def silent():
    """A port on which connections are taken, and nothing is said."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def unknown(*_, **__):
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def asked(root, ca=None):
    with Server(root, ca, waits=()) as server, pytest.raises(PacsError) as caught:
        server.get_json("/studies")
    return str(caught.value), isinstance(caught.value, Unreachable)


def sent(peer, tls=None):
    with pytest.raises(PacsError) as caught:
        send(peer, [Outgoing(Path("a.dcm"), 1, "1.2", "1.3", "1.4", "1.5", "1.2.840.10008.1.2")], SendReport(), tls=tls)
    return str(caught.value)


def test_a_name_that_nobody_knows(monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", unknown)
    assert asked("http://pacs/web") == ("no connection to the server: the host's name is not known", True)
    assert sent(Peer("PACS", "pacs", 104)) == "pacs, port 104, cannot be reached: the host's name is not known"


def test_a_port_on_which_nothing_listens(free_port):
    why = "refused: nothing listens there, or a firewall is between"
    assert asked(f"http://127.0.0.1:{free_port}/web") == (f"no connection to the server: {why}", True)
    assert sent(Peer("PACS", "127.0.0.1", free_port)) == f"127.0.0.1, port {free_port}, cannot be reached: {why}"


def test_silence(silent, monkeypatch, tls):
    monkeypatch.setattr("mammofast.pacs.dicomweb.server._TIMEOUTS", (1.0, 0.2))
    monkeypatch.setattr("mammofast.pacs.dimse.send._CONNECT_TIMEOUT", 0.2)
    assert asked(f"http://127.0.0.1:{silent}/web") == (
        "the server says nothing for 0 s; look at the PACS, and run again",
        True,
    )
    credentials = Credentials(tls.certificate, tls.key, tls.ca)
    assert sent(Peer("PACS", "127.0.0.1", silent), credentials).endswith("cannot be reached: no answer in time")


def test_a_connection_that_is_not_made_in_time(monkeypatch):
    def late(*_, **__):
        raise TimeoutError("timed out")

    monkeypatch.setattr("urllib3.util.connection.create_connection", late)
    assert asked("http://127.0.0.1/web") == ("no connection to the server within 10 s", True)
    monkeypatch.setattr("socket.create_connection", late)
    assert sent(Peer("PACS", "127.0.0.1", 104)) == "127.0.0.1, port 104, cannot be reached: no answer in time"


def test_tls_where_there_is_none(pacs, tls):
    message, _ = asked(pacs.url.replace("http:", "https:"))
    assert message == "no TLS connection to the server: it does not speak TLS; is it http?"
    entity = AE("SCP")
    entity.add_supported_context("1.2.840.10008.1.1")
    scp = entity.start_server(("127.0.0.1", 0), False, evt_handlers=[(evt.EVT_CONN_OPEN, close_surely)])
    try:
        peer = Peer("SCP", "127.0.0.1", scp.server_address[1])
        assert sent(peer, Credentials(tls.certificate, tls.key, tls.ca)).endswith(": it does not speak TLS")
    finally:
        scp.shutdown()


def test_no_tls_where_there_is_some(pacs, tls):
    proxy = Proxy(tls, int(pacs.url.split(":")[2].partition("/")[0]))
    try:
        wants_tls = ("no connection to the server: the connection broke off; does it want https?", True)
        assert asked(f"http://127.0.0.1:{proxy.port}/web") == wants_tls
        message, _ = asked(f"https://127.0.0.1:{proxy.port}/web")
        assert message == (
            "no TLS connection to the server: its certificate is not trusted; give its CA's certificate with --ca FILE"
        )
        message, _ = asked(f"https://localhost:{proxy.port}/web", tls.ca)
        assert "its certificate is another host's" in message
    finally:
        proxy.close()


def test_a_server_that_has_answered_is_not_asked_for_https(pacs):
    answered = []

    def once(handler):
        answered.append(handler)
        if len(answered) == 1:
            return handler.send(200, b"[]")
        handler.close_connection = True
        return True

    pacs.answers["/studies"] = once
    with Server(pacs.url, waits=()) as server:
        assert server.get_json("/studies") == []
        with pytest.raises(Unreachable, match=r"the connection broke off$"):
            server.get_json("/studies")


@pytest.mark.parametrize(
    "error, words",
    [
        (OSError(101, "Network is unreachable"), "Network is unreachable"),
        (ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] SECRET"), "TLS fails (no reason given)"),
        (RuntimeError("SECRET"), "RuntimeError"),
    ],
)
def test_what_a_library_says_is_not_repeated(error, words):
    assert cause(error) == words


def test_an_ingest_that_a_pacs_ends_early_says_what_it_did(tmp_path, dicom, pacs, monkeypatch):
    monkeypatch.setattr("mammofast.pacs.dicomweb.patience.time.sleep", lambda seconds: None)
    studies = sorted(dicom.uid() for _ in range(2))
    for study in studies:
        for seed in range(3):
            pacs.add(dicom.dataset(dicom.pixels(seed=seed), StudyInstanceUID=study))

    def down(handler):
        handler.close_connection = True
        return True

    pacs.answers[f"/studies/{studies[1]}/.*"] = down
    archive = str(tmp_path / "a.zarr")
    done = CliRunner().invoke(main, ["ingest", pacs.url, archive, "--workers", "1"])
    assert done.exit_code == 1
    assert done.stdout == "3 files: 3 added, 0 known, 0 skipped, 0 failed\n"
    assert "mammofast: no connection to the server: the connection broke off\n" in done.stderr
    pacs.answers.clear()
    assert CliRunner().invoke(main, ["ingest", pacs.url, archive]).stdout.startswith("3 files: 3 added")


def test_a_first_ingest_that_cannot_begin_leaves_nothing(tmp_path, free_port, monkeypatch):
    monkeypatch.setattr("mammofast.pacs.dicomweb.patience.time.sleep", lambda seconds: None)
    (tmp_path / "share").mkdir()
    for source in (f"http://127.0.0.1:{free_port}/web", str(tmp_path / "share")):
        done = CliRunner().invoke(main, ["ingest", source, str(tmp_path / "a.zarr")])
        assert done.exit_code == 1
        assert done.stdout == "0 files: 0 added, 0 known, 0 skipped, 0 failed\n"
        assert not (tmp_path / "a.zarr").exists()
