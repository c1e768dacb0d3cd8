"""Whole commands, as a shell runs them, and what they leave."""

import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def mammofast(*arguments):
    return subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=300)


def command(*arguments):
    # -P: the installed package, not the source tree that this is run in, which need have no extension.
    return [sys.executable, "-P", "-m", "mammofast", *map(str, arguments)]


def contents(folder):
    """Every file's bytes, but the archive's name for itself, which no two have in common."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path != folder / "zarr.json"
    }


def one_line(text):
    """What a command said when it could not go on: one line of it, and no traceback."""
    assert "Traceback" not in text, text
    (line,) = [line for line in text.splitlines() if line.startswith("mammofast: ")]
    return line


def step(name, *arguments):
    """Return a script's line that runs the command and keeps its output and exit status as $out/NAME."""
    words = " ".join(shlex.quote(word) if "$" not in word else word for word in command(*arguments))
    return f"{words} > $out/{name} 2>&1; echo $? > $out/{name}.status\n"
