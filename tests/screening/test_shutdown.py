"""Stopping ``mammofast screen`` from outside, with slow work under way: a process that really gets the signal."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from mammofast import open_results
from mammofast.cli.screen import GRACE_SECONDS
from mammofast.screening.entry import parse_entry
from mammofast.screening.stopping import interruptible
from tests.screening.programs import program, session
from tests.screening.runs import wait_until

# An image of the third study, whichever comes first.
SLOW = "1.2.3.5.1"
# The command itself, but for what opens the bundle.
PROGRAM = """
    import functools
    import sys
    sys.path.insert(0, {here!r})
    import fake_screeners
    from mammofast.cli import main
    from mammofast.screening import run

    if __name__ == "__main__":
        run.screen = functools.partial(run.screen, opener=fake_screeners.misbehaving, images_per_task=1)
        main(["screen", {archive!r}, {results!r}, "--bundle", {bundle!r}, "--workers", "2"])
"""


@pytest.fixture(autouse=True)
def hang_ups_are_heard():
    """Under nohup SIGHUP is ignored, here and in what is started here."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def recorded(results):
    return {parse_entry(path.read_bytes()).image.sop_uid for path in results.glob("images/*/[!.]*")}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])
def test_a_signal_ends_the_command_with_all_that_was_finished(archive, private_bundle, tmp_path, number):
    results = tmp_path / "results"
    (private_bundle / "gate").write_text(SLOW)
    with program(tmp_path / "p.py", PROGRAM, archive, results, private_bundle) as process:
        # One image that takes for ever is at work; all others are done.
        wait_until(lambda: len(recorded(results)) == 5 and len(list(private_bundle.glob("started/*"))) == 6)
        assert process.poll() is None
        assert len(session(process.pid)) >= 3
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=30)  # what the README promises
        assert process.returncode == 1
        wait_until(lambda: not session(process.pid), 1)
    assert "5 done, 0 skipped, 0 failed; stopped, interrupted: run again to go on\n" in out
    assert "Traceback" not in err
    assert len(recorded(results)) == 5
    (run,) = open_results(results).runs()
    (timing,) = run["timings"]
    assert (timing["stopped"], timing["exit_status"], timing["counts"]["done"]) == ("interrupted", 1, 5)
    assert timing["ended"] is not None
    (log,) = results.glob("logs/*.jsonl")
    assert {json.loads(line)["study_uid"] for line in log.read_text().splitlines()} == {"1.2.1", "1.2.2"}


def test_a_worker_that_does_not_listen_is_ended_too(archive, private_bundle, tmp_path):
    results = tmp_path / "results"
    (private_bundle / "hold").write_text(SLOW)
    with program(tmp_path / "p.py", PROGRAM, archive, results, private_bundle) as process:
        wait_until(lambda: (private_bundle / "started" / SLOW).exists())
        os.kill(process.pid, signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 1
        wait_until(lambda: not session(process.pid), 1)
    (run,) = open_results(results).runs()
    (timing,) = run["timings"]
    assert (timing["exit_status"], timing["counts"]["done"]) == (1, len(recorded(results)))


def test_a_shutdown_that_hangs_is_cut_off(tmp_path):
    assert GRACE_SECONDS < 30
    program = """
        import ctypes, os, signal
        from mammofast.screening.stopping import interruptible
        with interruptible(grace=0.5):
            os.kill(os.getpid(), signal.SIGTERM)
            ctypes.PyDLL(None).sleep(240)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], timeout=120, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_what_ends_in_time_is_not_cut_off_later():
    with interruptible(grace=0.2) as interrupt:
        os.kill(os.getpid(), signal.SIGHUP)
        wait_until(lambda: interrupt.came)
    time.sleep(0.4)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
