"""An archive, a bundle and results that somebody has tampered with: an error each, in bounded memory, and no hang."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hard.shell import mammofast

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def folders(tmp_path_factory, images, bundle):
    home = tmp_path_factory.mktemp("small")
    archive = images.make_archive(home, 1)
    done = mammofast("screen", archive, home / "results", "--bundle", bundle, "--workers", 1)
    assert done.returncode == 0, done.stderr
    return {"archive": archive, "results": home / "results", "bundle": bundle}


@pytest.mark.parametrize(("kind", "count"), [("archive", 200), ("results", 100), ("bundle", 50)])
def test_what_is_tampered_with(tmp_path, folders, elsewhere, kind, count):
    words = [sys.executable, "-P", str(HERE / "tampering.py"), kind, str(folders[kind]), str(count), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, env=elsewhere["env"])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {}
