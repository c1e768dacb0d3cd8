"""What a reader of csrc/ and of mammofast.ops relies on, held by reading the sources."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mammofast import ops
from mammofast.ops import reference

CSRC = Path(__file__).parents[2] / "csrc"
SOURCES = sorted(path for path in CSRC.rglob("*") if path.suffix in {".h", ".cpp", ".cu"})
MAX_LINES, MAX_COLUMNS = 300, 120


def includes(path):
    return re.findall(r'#include [<"](.+?)[>"]', path.read_text())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CSRC)))
def test_native_sources(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= MAX_LINES
    assert max(map(len, lines)) <= MAX_COLUMNS
    room = path.relative_to(CSRC).parts[0]
    if room != "bindings":
        assert not [name for name in includes(path) if "pybind11" in name or "Python.h" in name or "bindings" in name]
    if path.suffix == ".h":
        assert "#pragma once" in lines
    elif room not in {"core", "bindings"}:
        contracts = {header.name for header in path.parent.glob("*.h")}
        assert contracts & set(includes(path)), "an implementation includes its own contract, or nothing checks it"


def test_every_op_is_a_folder_a_binding_and_a_reference():
    names = set(ops.__all__) - {"FusedBoxes", "LabelledMask", "placement"}  # the last one is a line of arithmetic
    only_on_device = {"collect_boxes", "components", "contrast_windows", "tiles"}
    assert names == {path.name for path in CSRC.iterdir()} - {"core", "bindings", "peak_rate"} - only_on_device
    for name in names:
        assert (CSRC / name / f"{name}.h").exists()
        assert (CSRC / "bindings" / f"{name}.cpp").exists()
        wanted = [
            parameter.replace(annotation=None)
            for parameter in inspect.signature(getattr(ops, name)).parameters.values()
        ]
        got = inspect.signature(getattr(reference, name)).parameters.values()
        assert [parameter.replace(annotation=None) for parameter in got] == wanted


def test_all_is_what_is_public():
    public = {name for name, value in vars(ops).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert public == set(ops.__all__)


def test_importing_the_ops_does_not_load_the_extension(elsewhere):
    code = "import sys, mammofast.ops; assert 'mammofast.ops._kernels' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], **elsewhere, check=True)
