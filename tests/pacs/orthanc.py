"""A real PACS: Debian's Orthanc with its DICOMweb plugin, on free ports of this machine, with a folder of its own."""

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "night", "run"


def need(program):
    """Return where a program is; skip, or fail where tools are required, when it is not there.

    Python's own folder does not count: pynetdicom installs programs of the names of DCMTK's.
    """
    folders = [*os.environ["PATH"].split(os.pathsep), "/usr/sbin"]
    apart = os.pathsep.join(folder for folder in folders if Path(folder) != Path(sysconfig.get_path("scripts")))
    found = shutil.which(program, path=apart)
    if found is None:
        complain = pytest.fail if os.environ.get("MAMMOFAST_REQUIRE_TOOLS") else pytest.skip
        complain(f"PACS NOT TESTED: no {program}; apt install orthanc orthanc-dicomweb dcmtk")
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Orthanc:
    """One server. ``web``: its DICOMweb root; ``aet``, ``port``: for DIMSE."""

    aet = "ORTHANC"

    def __init__(self, folder, with_password=False):
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
            "AuthenticationEnabled": with_password,
            "RegisteredUsers": {USER: PASSWORD},
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "ConcurrentJobs": 1,
            "OverwriteInstances": False,
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        with (folder / "log").open("wb") as log:
            command = ["/usr/sbin/Orthanc", str(folder / "orthanc.json")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        self.root = f"http://127.0.0.1:{self.http}"
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
        password = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request.add_header("Authorization", f"Basic {password}")
        with urllib.request.urlopen(request, timeout=60) as answer:
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
