"""Other people's judgement of the objects we write.

dciodvfy (Debian's dicom3tools) for every object. Beside it PixelMed's (Debian's libpixelmed-java), which know
Segmentation and, of structured reports, the templates of PS3.16 row by row (TID 1500, 4000 and those they include); and
dcmpschk (Debian's dcmtk) for presentation states. A Secondary Capture is known to dciodvfy only; DCMTK draws it.
"""

import atexit
import functools
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from pydicom import dcmread

_PIXELMED = Path("/usr/share/java/pixelmed.jar")
# The stylesheets are larger than what Java compiles unasked.
_LIMITS = [f"-Djdk.xml.{name}=0" for name in ("xpathTotalOpLimit", "xpathExprOpLimit", "xpathExprGrpLimit")]
# What PixelMed calls an error and the standard does not.
_FALSE = [
    # PS3.3 C.7.3.1 asks for it where the part is known to be paired; an empty one is what dciodvfy calls an error.
    re.compile("GeneralSeriesModule/Laterality/: : Missing conditional attribute"),
    # It knows no letters but ASCII's, whatever Specific Character Set says.
    re.compile(r"Illegal character\(s\) '[^\x00-\x7f]+' in value of (PN|LO|SH|LT|ST|UT|UC) VR"),
    # PS3.6 gives Patient Orientation two values.
    re.compile("PatientOrientation: Incorrect value multiplicity - got 2 but expected 1-1"),
    # PS3.3 C.7.6.16: a functional group is in the shared or in the per-frame sequence; it asks for this one in both.
    re.compile(r"DerivationImageSequence/: SharedFunctionalGroupsSequence/Item\[1\]/: Missing required"),
]


def assert_valid(path):
    """Fail with every error that a validator reports of a file."""
    second = _SECOND.get(dcmread(path, specific_tags=["Modality"]).Modality, pixelmed)
    errors = [*dciodvfy(path), *second(path)]
    assert not errors, "\n".join(errors)


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
    said = []
    while not said or said[-1] != ".\n":
        said.append(java.stdout.readline())
        assert said[-1], f"PixelMed's validator died: {said}"
    if not any(line.startswith("Found ") for line in said):
        return [f"Error: not validated: {said}"]
    errors = [line.rstrip() for line in said if line.startswith("Error")]
    return [error for error in errors if not any(false.search(error) for false in _FALSE)]


def dcmpschk(path):
    """Return what DCMTK's checker of presentation states complains about."""
    _need("dcmpschk", shutil.which("dcmpschk"))
    state = dcmread(path)
    # It cannot judge text that is not ASCII, which is nothing that we write.
    state.PatientName = state.ReferringPhysicianName = state.StudyDescription = "ascii"
    with tempfile.NamedTemporaryFile(suffix=".dcm") as copy:
        state.save_as(copy.name, enforce_file_format=True)
        done = subprocess.run(["dcmpschk", copy.name], capture_output=True, text=True, errors="replace")
    lines = (done.stdout + done.stderr).splitlines()
    # It warns of what it is doing, too.
    errors = [line for line in lines if line[:2] in ("E:", "F:") or "failed" in line]
    return errors if any("Test passed" in line for line in lines) else errors or lines


def dcmtk_draws(path):
    """Return a complaint where DCMTK cannot draw a picture."""
    _need("dcm2pnm", shutil.which("dcm2pnm"))
    done = subprocess.run(["dcm2pnm", "--write-png", path, "/dev/null"], capture_output=True, text=True)
    return done.stderr.splitlines() if done.returncode else []


_SECOND = {"PR": dcmpschk, "OT": dcmtk_draws}


@functools.cache
def _java():
    """Start Java once: compiling the stylesheets takes it seconds."""
    _need("PixelMed (libpixelmed-java) and a JDK", _PIXELMED.exists() and shutil.which("javac"))
    program = str(Path(__file__).with_name("Validate.java"))
    process = subprocess.Popen(
        ["java", "-XX:+UseSerialGC", "-Xss256m", *_LIMITS, "-cp", _PIXELMED, program],
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
