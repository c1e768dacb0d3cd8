"""``ingest`` as a process of its own, which may be killed at any instant."""

import random
import signal
import subprocess
import sys
import time

_INGEST = "import sys; from mammofast.archive import ingest; print(ingest(sys.argv[1], sys.argv[2]))"


def start_ingest(source, archive, elsewhere):
    command = [sys.executable, "-c", _INGEST, str(source), str(archive)]
    return subprocess.Popen(command, **elsewhere, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def killed_runs(source, archive, elsewhere, *, times, longest, seed):
    """Start a run and kill it, again and again; yield of each whether it was still at work."""
    rng = random.Random(seed)
    for _ in range(times):
        process = start_ingest(source, archive, elsewhere)
        while not list(archive.glob(".ingest/*.lock")) and process.poll() is None:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, longest))
        was_at_work = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        yield was_at_work
