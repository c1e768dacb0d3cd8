"""Kernels kept on disk: compiled once a machine, and no file is believed that is not what was written."""

import os
import pickle
from pathlib import Path

import pytest

from mammofast.engine import load_engine
from mammofast.engine.tensorrt import kernels
from tests.engine.fake_tensorrt import serialized
from tests.engine.test_session import LARGE, SMALL, check, images


@pytest.fixture(params=["tensorrt-rtx"])
def flavour(request):
    """The package that compiles where it runs."""
    return request.param


def run(*shapes, **facts):
    """Load an engine as a new process would, and run it."""
    with load_engine(serialized(**facts), "tensorrt-rtx", "cuda", "fp16") as engine:
        for shape in shapes:
            x = images(shape)
            check(engine.run({"x": x}), x)


def files():
    return sorted(path for path in kernels.cache_folder().rglob("*") if path.is_file())


def test_what_one_process_compiles_the_next_one_has(trt, tmp_path):
    run(SMALL)
    assert trt.compiled == 1
    (file,) = files()
    assert tmp_path in file.parents
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    run(SMALL, LARGE)
    assert trt.compiled == 2
    before = file.stat()
    run(LARGE, SMALL)
    assert trt.compiled == 2
    # What was there already is not written again.
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert files() == [file]


def test_another_engine_version_or_card_has_kernels_of_its_own(trt, card, monkeypatch):
    run(SMALL)
    run(SMALL, activations=2000)
    card.name = b"Fake 9001"
    run(SMALL)
    monkeypatch.setattr(trt, "__version__", "11.0")
    run(SMALL, version="11.0")
    assert trt.compiled == 4
    assert len(files()) == 4


def cut(content):
    return content[: len(content) // 2]


def flip(content):
    return content[:-1] + bytes([content[-1] ^ 1])


def append(content):
    return content + b"x"


def other(content):
    return pickle.dumps("something else")


@pytest.mark.parametrize("damage", [cut, flip, append, other, lambda content: b"", lambda content: content[:30]])
def test_a_damaged_file_is_ignored_and_written_anew(trt, damage):
    run(SMALL)
    (file,) = files()
    content = file.read_bytes()
    file.write_bytes(damage(content))
    run(SMALL)
    assert trt.compiled == 2
    assert file.read_bytes() == content


def test_what_tensorrt_does_not_take_is_written_anew(trt):
    run(SMALL)
    trt.fails.add("cache")
    run(SMALL)
    assert trt.compiled == 2
    assert len(files()) == 1


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_not_believed(trt, mode):
    run(SMALL)
    (file,) = files()
    file.chmod(mode)
    run(SMALL)
    assert trt.compiled == 2
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_of_another_user_a_link_and_a_pipe_are_not_believed(trt, monkeypatch, tmp_path):
    run(SMALL)
    (file,) = files()
    with monkeypatch.context() as changed:
        changed.setattr(os, "getuid", lambda: 54321)
        run(SMALL)
    assert trt.compiled == 2
    elsewhere = tmp_path / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    run(SMALL)
    assert trt.compiled == 3
    assert not file.is_symlink()
    file.unlink()
    os.mkfifo(file)
    run(SMALL)  # does not wait for who writes to it
    assert trt.compiled == 4


def test_a_file_that_is_too_large_is_not_read(trt, monkeypatch):
    monkeypatch.setattr(kernels, "_MOST", 3)
    run(SMALL)
    assert files() == []
    monkeypatch.undo()


def test_a_cache_that_cannot_be_written_costs_nothing_else(trt, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    run(SMALL)
    assert trt.compiled == 1


def test_what_cannot_be_written_leaves_nothing_behind(trt, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kernels.os, "replace", full)
    run(SMALL)
    assert files() == []


@pytest.mark.parametrize(("base", "expected"), [("/var/cache/me", "/var/cache/me"), ("", None), ("here", None)])
def test_the_folder_is_where_caches_are(monkeypatch, base, expected):
    monkeypatch.setenv("XDG_CACHE_HOME", base)
    start = Path(expected) if expected else Path.home() / ".cache"
    assert kernels.cache_folder() == start / "mammofast" / "tensorrt-rtx"
