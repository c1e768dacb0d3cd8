"""``mammofast serve`` as a process of its own, and who sends to it."""

import io
import json
import signal
import subprocess
import sys
import time
from itertools import islice

from pydicom import dcmread
from pynetdicom import AE, build_context, evt
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from mammofast.pacs.dimse.entity import close_surely
from mammofast.pacs.dimse.spool import FOLDER
from tests.pacs.orthanc import need


class Served:
    """``mammofast serve`` as a process of its own."""

    def __init__(self, archive, elsewhere, *options):
        command = [sys.executable, "-P", "-m", "mammofast", "serve", "--aet", "MAMMOFAST", "--port", "0", "--json"]
        self.archive = archive
        # Ignored where a shell runs the tests in its background, and then by what is started here.
        before = signal.signal(signal.SIGINT, signal.SIG_DFL)
        self.process = subprocess.Popen(
            [*command, *map(str, options), str(archive)],
            **elsewhere,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        signal.signal(signal.SIGINT, before)
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.port = json.loads(line)["port"]

    def end(self, number=signal.SIGTERM):
        """Return exit status, lines of standard output, and standard error."""
        self.process.send_signal(number)
        said, complained = self.process.communicate(timeout=30)
        return self.process.returncode, [json.loads(line) for line in said.splitlines()], complained

    def wait_for(self, images):
        for _ in range(3000):
            found = len(list(self.archive.glob("images/*/*")))
            if found >= images and not list((self.archive / FOLDER).glob("*.dcm")):
                return
            assert self.process.poll() is None
            time.sleep(0.02)
        raise AssertionError(f"{found} images, expected {images}")


def associate(port, sop_class, syntaxes=None, **options):
    """Associate by pynetdicom, whose sockets are closed whoever hangs up first."""
    contexts = [build_context(sop_class, syntax) for syntax in syntaxes or ["1.2.840.10008.1.2.1"]]
    entity = AE("MODALITY")
    entity.acse_timeout = entity.network_timeout = entity.dimse_timeout = 10
    closing = [(evt.EVT_CONN_OPEN, close_surely)]
    return entity.associate("127.0.0.1", port, contexts, "MAMMOFAST", evt_handlers=closing, **options)


def storescu(port, *arguments, aec="MAMMOFAST", check=True):
    command = [need("storescu"), "-aec", aec, "-aet", "MODALITY", "127.0.0.1", str(port)]
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def post(association, path, pieces=None):
    """Send an object, or the first so many pieces of it, and await no answer."""
    ds = dcmread(path)
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    request.DataSet = io.BytesIO(encode(ds, False, True))
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    for piece in islice(message.encode_msg(1, 4096), pieces):
        association.dul.send_pdu(piece)


def until(true):
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError
