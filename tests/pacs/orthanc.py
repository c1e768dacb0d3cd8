"""A real PACS: Debian's Orthanc with its DICOMweb plugin, on free ports of this machine, with a folder of its own."""

import contextlib
import datetime
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "night", "run"


def need(*programs):
    """Skip, or fail where tools are required, when a program is not there."""
    for program in programs:
        if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin") is None:
            complain = pytest.fail if os.environ.get("MAMMOFAST_REQUIRE_TOOLS") else pytest.skip
            complain(f"PACS NOT TESTED: no {program}; apt install orthanc orthanc-dicomweb dcmtk")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Orthanc:
    """One server. ``web``: its DICOMweb root; ``aet``, ``port``: for DIMSE."""

    aet = "ORTHANC"

    def __init__(self, folder, tls=None):
        need("Orthanc")
        if not PLUGIN.exists():
            need("orthanc-dicomweb")
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.http = free_port(), free_port()
        settings = {
            "Name": "test",
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
            "HttpPort": self.http,
            "DicomPort": self.port,
            "DicomAet": self.aet,
            "DicomCheckCalledAet": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": tls is not None,
            "RegisteredUsers": {USER: PASSWORD},
            "SslEnabled": tls is not None,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "ConcurrentJobs": 1,
            "OverwriteInstances": False,
        }
        self._tls = tls
        if tls is not None:
            (folder / "server.pem").write_bytes(tls.certificate.read_bytes() + tls.key.read_bytes())
            settings["SslCertificate"] = str(folder / "server.pem")
        (folder / "orthanc.json").write_text(json.dumps(settings))
        with (folder / "log").open("wb") as log:
            command = ["/usr/sbin/Orthanc", str(folder / "orthanc.json")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        self.root = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.http}"
        self.web = f"{self.root}/dicom-web"
        self._wait(folder)

    def _wait(self, folder):
        for _ in range(600):
            assert self._process.poll() is None, (folder / "log").read_text()
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                self.rest("/system")
                return
            time.sleep(0.05)
        raise AssertionError((folder / "log").read_text())

    def rest(self, path, method="GET", body=None):
        """Ask Orthanc's own API, which DICOMweb knows nothing of."""
        request = urllib.request.Request(self.root + path, data=body, method=method)
        context = None
        if self._tls is not None:
            import base64
            import ssl

            context = ssl.create_default_context(cafile=self._tls.ca)
            request.add_header("Authorization", "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:
            return json.loads(answer.read() or b"null")

    def add(self, data):
        return self.rest("/instances", "POST", data)

    def clear(self):
        for patient in self.rest("/patients"):
            self.rest(f"/patients/{patient}", "DELETE")
        self.rest("/changes", "DELETE")

    def sop_uids(self):
        return sorted(each["MainDicomTags"]["SOPInstanceUID"] for each in self.rest("/instances?expand"))

    def new_instances(self):
        """How often an instance was stored anew since ``clear``: a second time is none."""
        return sum(change["ChangeType"] == "NewInstance" for change in self.rest("/changes?limit=100000")["Changes"])

    def close(self):
        self._process.terminate()
        self._process.wait(30)


class Tls:
    """A CA of our own, and what it signed for 127.0.0.1."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.ca, self.certificate, self.key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
        ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests' CA")])
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        usage = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        ca_usage = x509.KeyUsage(digital_signature=False, key_cert_sign=True, crl_sign=True, **usage)
        key_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
        ca = self._build(ca_name, ca_name, ca_key.public_key())
        ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        ca = ca.add_extension(ca_usage, critical=True).add_extension(key_id, critical=False)
        host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)
        leaf = self._build(name, ca_name, key.public_key()).add_extension(host, critical=False)
        leaf = leaf.add_extension(authority, critical=False)
        pem = serialization.Encoding.PEM
        self.ca.write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))
        self.certificate.write_bytes(leaf.sign(ca_key, hashes.SHA256()).public_bytes(pem))
        self.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))

    @staticmethod
    def _build(subject, issuer, public):
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        return builder.not_valid_after(now + datetime.timedelta(days=2))
