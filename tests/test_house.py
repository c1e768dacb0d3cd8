"""The house rules that a reader relies on, held by reading the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mammofast"

# A room may import from rooms further up this list and from itself, never sideways or down.
FLOORS = [
    {"durable", "errors", "machine", "objects", "records", "settings", "tracing"},
    {"ops", "models"},
    {"engine"},
    {"bundles", "pipeline"},
    {"methods", "archive"},
    {"datasets", "phantom"},
    {"screening"},
    {"report", "evaluation", "pacs"},
    {"compilation"},
    {"training"},
    {"profiling"},
    {"cli"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
HEAVY = [
    "torch",
    "tensorrt",
    "tensorrt_rtx",
    "tensorrt_rtx_bindings",
    "pycuda",
    "dask",
    "distributed",
    "highdicom",
    "onnxruntime",
    "pyarrow",
    "tensorstore",
    "imagecodecs",
    "pynetdicom",
    "requests",
]
OUTSIDE_FLOORS = {"__init__", "__main__"}  # they only say where things are


def modules():
    return sorted(path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] != "__init__.py")


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rooms_imported(tree):
    """Yield the mammofast rooms that a module's import statements name, wherever they stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that this test sees them"
            names = [
                f"{node.module}.{alias.name}" if node.module == "mammofast" else node.module for alias in node.names
            ]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "mammofast" and len(parts) > 1 and parts[1] != "__version__":
                yield parts[1]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    room = room_of(path)
    if room in OUTSIDE_FLOORS:
        return
    assert room in FLOOR, f"{room} has no floor yet: give it one in FLOORS"
    for other in rooms_imported(ast.parse(path.read_text())):
        other = {"open_archive": "archive", "open_bundle": "methods", "open_results": "screening"}.get(other, other)
        assert other == room or FLOOR[other] < FLOOR[room], f"{room} must not import {other}"


def test_the_rule_sees_what_it_must():
    source = "import mammofast.cli\nfrom mammofast import ops\ndef f():\n    from mammofast.archive.store import x\n"
    assert list(rooms_imported(ast.parse(source))) == ["cli", "ops", "archive"]


@pytest.mark.parametrize(
    "statement", ["import mammofast", "import mammofast.cli", "from mammofast import Finding, ImageResult"]
)
def test_importing_stays_light(statement, elsewhere):
    code = f"{statement}; import sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], **elsewhere, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_all_there():
    import mammofast

    assert sorted(mammofast.__all__) == dir(mammofast)
    for name in mammofast.__all__:
        assert getattr(mammofast, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mammofast.nothing


# Training is for developers, on data of theirs; a worker that ends with its card logs the card's own words.
SPEAKING = {"cli", "training", "screening/worker.py"}


def is_silent(path):
    return not {room_of(path), str(path.relative_to(PACKAGE))} & SPEAKING


@pytest.mark.parametrize("path", list(filter(is_silent, modules())), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_commands_speak(path):
    """What is logged or printed may quote a header: the package hands back records and errors, commands say them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            of = ast.unparse(node.func)
            assert name != "print", f"line {node.lineno}: {of}"
            assert of != "warnings.warn", f"line {node.lineno}: {of}"
            # Who logs gives words; a future is asked for its exception without.
            logs = name in {"debug", "info", "warning", "error", "exception", "critical"} and node.args
            assert not logs, f"line {node.lineno}: {of}"


# Raised with words chosen here.
OWN_ERRORS = {"ImageError", "MammofastError", "ArchiveError", "UnusableImage", "BrokenImage"}


@pytest.mark.parametrize("path", [path for path in modules() if room_of(path) == "archive"], ids=lambda p: p.stem)
def test_what_reads_headers_quotes_no_error(path):
    """Of an error caught while reading, its type may be told: its words may be a patient's."""
    for handler in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ExceptHandler)):
        kinds = ast.unparse(handler.type) if handler.type else ""
        if kinds in OWN_ERRORS:
            continue
        for node in ast.walk(handler):
            told = node.value if isinstance(node, ast.FormattedValue) else None
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("str", "repr"):
                told = node.args[0]
            assert not (isinstance(told, ast.Name) and told.id == handler.name), f"line {node.lineno}: {handler.name}"


def test_modules_stay_small():
    """The size guide: past 400 lines a module holds more than one idea."""
    long = {str(p.relative_to(PACKAGE)): n for p in modules() if (n := len(p.read_text().splitlines())) > 400}
    assert long == {}
