"""Whole commands, as a shell runs them; and disks that are small or cannot be written."""

import functools
import importlib.util
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.hard.shell import ROOT, contents, mammofast


def load(path):
    """Import a file of the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(f"hard_{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def networks():
    """``bright_detector``, ``bright_segmenter`` and ``write_bundle`` of the tests of methods."""
    return load(ROOT / "tests" / "methods" / "conftest.py")


@pytest.fixture(scope="session")
def images():
    """``bright_pixels``, ``write_dicom`` and ``make_archive`` of the tests of screening."""
    return load(ROOT / "tests" / "screening" / "conftest.py")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory, networks):
    return networks.write_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def archive(tmp_path_factory, images):
    """Twelve images of six studies, with 0, 1 and 2 bright ellipses; not to be changed."""
    return images.make_archive(tmp_path_factory.mktemp("archive"), 12)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, archive, bundle):
    """The results of that archive, from a run that nothing happened to."""
    results = tmp_path_factory.mktemp("undisturbed") / "results"
    done = mammofast("screen", archive, results, "--bundle", bundle, "--workers", 1)
    assert done.returncode == 0, done.stderr
    return contents(results / "images")


@functools.cache
def _namespace():
    """The words before a command that may mount what nobody else sees, where this machine allows it."""
    for flags in (["-m"], ["-rm"]):
        words = ["unshare", *flags, "sh", "-c"]
        probe = "d=$(mktemp -d) && mount -t tmpfs -o size=64k tmpfs $d && umount $d; s=$?; rmdir $d; exit $s"
        if shutil.which("unshare") and subprocess.run([*words, probe], capture_output=True).returncode == 0:
            return words
    return None


@pytest.fixture
def on_a_disk(tmp_path):
    """Run a shell script that has a disk of its own at $disk; it leaves what is to be looked at in $out."""
    words = _namespace()
    if words is None:
        pytest.skip("NOT TESTED: full and read-only disks; this machine lets nobody mount a tmpfs (unshare -rm)")

    def run(size, script):
        disk, out = tmp_path / "disk", tmp_path / "out"
        disk.mkdir()
        out.mkdir()
        head = f"disk={shlex.quote(str(disk))} out={shlex.quote(str(out))}\nmount -t tmpfs -o size={size} tmpfs $disk\n"
        done = subprocess.run([*words, head + script], cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return out

    return run
