"""A PACS that is shared by all tests, emptied before each; and one that lies, for each test that wants one."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.pacs.orthanc import Orthanc
from tests.pacs.serving import Served
from tests.pacs.tls import Proxy, Tls


@pytest.fixture(scope="session")
def shared_orthanc(tmp_path_factory):
    server = Orthanc(tmp_path_factory.mktemp("orthanc"))
    yield server
    server.close()


@pytest.fixture
def orthanc(shared_orthanc):
    shared_orthanc.clear()
    return shared_orthanc


@pytest.fixture(scope="session")
def tls(tmp_path_factory):
    return Tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def secure_orthanc(tmp_path_factory, tls):
    """One that wants a password, and is reached by TLS."""
    server = Orthanc(tmp_path_factory.mktemp("secure"), with_password=True)
    proxy = Proxy(tls, server.http)
    server.web = f"https://127.0.0.1:{proxy.port}/dicom-web"
    yield server
    proxy.close()
    server.close()


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    """Nobody's own credentials or proxies."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("USER", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MAMMOFAST_PACS_{name}", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture
def start(tmp_path, elsewhere):
    started = []

    def start(*options):
        started.append(Served(tmp_path / "a.zarr", elsewhere, *options))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate()


BOUNDARY = "the-boundary"


class FakePacs:
    """A DICOMweb server of a few objects, any of whose answers a test may replace.

    ``answers``: path (a regular expression) → function of a request, which answers it itself and returns true, or
    leaves it to the server and returns false. ``requests``: what was asked for, in order.
    """

    def __init__(self, dicom):
        self._dicom = dicom
        self.objects = {}
        self.answers = {}
        self.requests = []
        pacs = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            multipart = pacs.content_type

            def log_message(self, *_):
                pass

            def do_GET(self):
                pacs._answer(self, b"")

            def do_POST(self):
                pacs._answer(self, self.rfile.read(int(self.headers["Content-Length"])))

            def send(self, status, body=b"", content_type="application/dicom+json", **headers):
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)
                return True

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/web"

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def add(self, dataset):
        self.objects[str(dataset.SOPInstanceUID)] = dataset
        return dataset

    def count(self, pattern, method="GET"):
        return sum(m == method and re.search(pattern, path) is not None for m, path in self.requests)

    def _answer(self, handler, body):
        parts = urlsplit(handler.path)
        handler.body, handler.query = body, {k: v[0] for k, v in parse_qs(parts.query).items()}
        self.requests.append((handler.command, parts.path))
        for pattern, answer in self.answers.items():
            if re.fullmatch(f"/web{pattern}", parts.path) and answer(handler):
                return
        words = parts.path.removeprefix("/web/").split("/")
        if len(words) == 6:
            self._retrieve(handler, words[5])
        else:
            self._search(handler, words)

    def _retrieve(self, handler, uid):
        if uid in self.objects:
            handler.send(200, self.message(self._dicom.bytes(self.objects[uid])), self.content_type)
        else:
            handler.send(404)

    content_type = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'

    @staticmethod
    def message(*parts):
        head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        return b"\r\n".join([head + part for part in parts] + [f"--{BOUNDARY}--\r\n".encode()])

    def _search(self, handler, words):
        found = list(self.objects.values())
        if len(words) > 1:
            found = [each for each in found if each.StudyInstanceUID == words[1]]
        if len(words) > 3:
            found = [each for each in found if each.SeriesInstanceUID == words[3]]
        rows = {}
        for each in found:
            row = self.row(each)
            if words[-1] == "studies":
                row["00201208"] = {
                    "vr": "IS",
                    "Value": [sum(e.StudyInstanceUID == each.StudyInstanceUID for e in found)],
                }
                rows[each.StudyInstanceUID] = row
            else:
                rows[each.SOPInstanceUID if words[-1] == "instances" else each.SeriesInstanceUID] = row
        rows = list(rows.values())
        offset, limit = int(handler.query.get("offset", 0)), int(handler.query.get("limit", 1000))
        handler.send(200, json.dumps(rows[offset : offset + limit]).encode())

    @staticmethod
    def row(dataset):
        values = {
            "0020000D": dataset.StudyInstanceUID,
            "0020000E": dataset.SeriesInstanceUID,
            "00080018": dataset.SOPInstanceUID,
            "00080016": dataset.SOPClassUID,
            "00080060": dataset.Modality,
        }
        if "BodyPartExamined" in dataset:
            values["00180015"] = dataset.BodyPartExamined
        return {tag: {"vr": "UI", "Value": [str(value)]} for tag, value in values.items()}


@pytest.fixture
def pacs(dicom):
    server = FakePacs(dicom)
    yield server
    server.close()
