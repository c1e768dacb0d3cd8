"""Other people's judgement of the objects we write.

dciodvfy (Debian's dicom3tools) and PixelMed's validators (Debian's libpixelmed-java), which know the modules of an IOD
and, of structured reports, the templates of PS3.16 row by row (TID 1500, 4000 and those they include).
"""

import atexit
import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

_PIXELMED = Path("/usr/share/java/pixelmed.jar")
# The stylesheets are larger than what Java compiles unasked.
_LIMITS = [f"-Djdk.xml.{name}=0" for name in ("xpathTotalOpLimit", "xpathExprOpLimit", "xpathExprGrpLimit")]


def assert_valid(path):
    """Fail with every error that a validator reports of a file."""
    assert [*dciodvfy(path), *pixelmed(path)] == []


def dciodvfy(path):
    """Return dciodvfy's errors."""
    _need("dciodvfy", shutil.which("dciodvfy"))
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace")
    lines = (done.stdout + done.stderr).splitlines()
    assert lines, f"dciodvfy said nothing, it ended with {done.returncode}"
    return [line for line in lines if line.startswith("Error")]


def pixelmed(path):
    """Return the errors of PixelMed's validators; of an object they do not know, one that says so."""
    java = _java()
    java.stdin.write(f"{path}\n")
    java.stdin.flush()
    said = list(iter(java.stdout.readline, ".\n"))
    assert "" not in said, "PixelMed's validator died"
    if not any(line.startswith("Found ") for line in said):
        return [f"Error: not validated: {said}"]
    return [line.rstrip() for line in said if line.startswith("Error")]


@functools.cache
def _java():
    """Start Java once: compiling the stylesheets takes it seconds."""
    _need("PixelMed (libpixelmed-java) and a JDK", _PIXELMED.exists() and shutil.which("javac"))
    program = str(Path(__file__).with_name("Validate.java"))
    process = subprocess.Popen(
        ["java", "-XX:+UseSerialGC", *_LIMITS, "-cp", _PIXELMED, program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    atexit.register(_stop, process)
    return process


def _stop(process):
    process.stdin.close()
    process.wait(timeout=20)
    process.stdout.close()


def _need(what, there):
    if not there:
        (pytest.fail if os.environ.get("MAMMOFAST_REQUIRE_TOOLS") else pytest.skip)(f"NOT VALIDATED: no {what}")
