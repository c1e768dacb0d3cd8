"""Programs of a test's own, in processes of their own: ends of runs are heard, and seen, from outside."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import mammofast

HERE = Path(__file__).parent
ROOT = Path(mammofast.__file__).parents[1]


@contextlib.contextmanager
def program(path, text, archive, results, bundle, **words):
    """A program as the leader of a session of its own, by which all of its processes are known, and in the end killed.

    text: its lines, in which {archive!r} and the like are filled in; {here!r} is the folder of the modules that it
    imports beside mammofast.
    """
    words |= {"here": str(HERE), "archive": str(archive), "results": str(results), "bundle": str(bundle)}
    path.write_text(textwrap.dedent(text).format(**words))
    process = subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(path.parent)},
    )
    try:
        yield process
    finally:
        for pid in session(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def session(leader):
    """Processes of a session that still run."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, _, _, sid = stat.read_text().rpartition(")")[2].split()[:4]
            if int(sid) == leader and state not in "ZX":
                found.add(int(stat.parent.name))
    return found


def dask_program(stack, folder, module, *arguments):
    """Start one of Dask's programs in a folder; the stack ends it."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", f"distributed.cli.{module}", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{HERE}"},
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process
