"""A night in a hospital: from a PACS, screened, and back to it; twice, as nights are. For the test and for bench."""

import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dicomweb_client import DICOMwebClient
from pydicom import dcmread, dcmwrite
from pydicom.uid import HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL

from tests.pacs.orthanc import need

FORMS = ("cad-sr", "tid1500", "dicom-seg", "gsps", "picture")


def mammofast(*arguments, **options):
    """Run a command as a shell does; return the JSON it prints."""
    command = [sys.executable, "-P", "-m", "mammofast", *map(str, arguments), "--quiet", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{arguments[0]}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def store_as_modality(orthanc, folder):
    """Store a folder's objects by a DICOM client that is not ours; as they are, but for what neither of them knows."""
    with tempfile.TemporaryDirectory() as known:
        for path in Path(folder).rglob("*.dcm"):
            dataset = dcmread(path)
            if dataset.file_meta.TransferSyntaxUID in (HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL):
                dataset.decompress(generate_instance_uid=False)
            dataset.save_as(Path(known) / path.name)
        as_they_are = ["--decompress-never", "--scan-directories"]
        command = [need("dcmsend"), *as_they_are, "-aec", orthanc.aet, "127.0.0.1", str(orthanc.port), known]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def night(orthanc, out, forms=FORMS, bundle="demo", modality="MG", **options):
    """Fetch what is new, screen it, store the results; return what each command said, and the seconds it took."""
    archive, results, objects = out / "archive.zarr", out / "results", out / "objects"
    to = [word for form in forms for word in ("--to", form)]
    commands = {
        "ingest": ("ingest", "--modality", modality, orthanc.web, archive),
        "screen": ("screen", archive, results, "--bundle", bundle),
        "report": ("report", results, *to, "--out", objects),
        "send": ("send", objects, orthanc.web),
    }
    said = {}
    for name, command in commands.items():
        begun = time.monotonic()
        said[name] = mammofast(*command, **options)
        said[name]["seconds"] = round(time.monotonic() - begun, 2)
    return said


def held(orthanc):
    """Return what tells whether anything was stored or stored again: counts, bytes, and every UID's own log of it."""
    counts = {
        key: value for key, value in orthanc.rest("/statistics").items() if key.startswith(("Count", "TotalDisk"))
    }
    return counts, orthanc.new_instances(), orthanc.sop_uids()


def differences(orthanc, folder):
    """Pull every object of a folder by a client that is not ours; return the files whose data sets are not the same.

    Bytes may differ where a PACS writes lengths anew: both are written by one writer before they are compared.
    """
    client = DICOMwebClient(orthanc.web)
    try:
        return [path.name for path in sorted(Path(folder).rglob("*.dcm")) if not _same(client, path)]
    finally:
        client._session.close()


def _same(client, path):
    ours = dcmread(path)
    uids = (ours.StudyInstanceUID, ours.SeriesInstanceUID, ours.SOPInstanceUID)
    theirs = client.retrieve_instance(*uids, media_types=(("application/dicom", "*"),))
    return _written(ours) == _written(theirs) and ours == theirs


def _written(dataset):
    buffer = io.BytesIO()
    copy = dcmread(_file(dataset))
    del copy.file_meta
    dcmwrite(buffer, copy, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return buffer.getvalue()


def _file(dataset):
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset)
    buffer.seek(0)
    return buffer
