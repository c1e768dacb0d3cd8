"""A process that dies between any two calls to the system, and a machine that loses its power there.

Nobody is asked to be killed at a lucky moment: a child process runs the ledger's whole story, and ends itself before
its first, second, third … call that changes the disk.
"""

import itertools
import os
import shutil
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mammofast.records import Finding, ImageResult
from mammofast.screening import Results, screen
from mammofast.screening.entry import Entry, ImageInfo, Run, is_whole
from mammofast.screening.layout import entries_folder, entry_name

RUN, NEXT_RUN = Run("b" * 64, "c" * 64), Run("d" * 64, "c" * 64)
CHANGES = ("mkdir", "open", "write", "fsync", "link", "rename", "replace", "unlink", "remove")
LAST_STEP = 4


def image(number):
    return ImageInfo("1.2", "1.2.9", f"1.2.3.{number}", "L", "CC", 100, 80, (0.1, 0.2), f"{number:064x}")


def entry(number, run=RUN):
    mask = np.random.default_rng(number).random((20, 30)) > 0.5
    return Entry.of(image(number), run, ImageResult((100, 80), (Finding((1, 2, 31, 22), 0.5, 0.25, mask),)))


def story(path, step):
    """What a night does to its ledger; ``step`` is called with 1, 2, 3 … when so much is promised to last."""
    results = Results.create_or_open(path, SimpleNamespace(archive_id="a" * 32, path=path.parent / "archive.zarr"))
    results.start(RUN, {"name": "first"})
    results.add_versions(RUN, {"mammofast": "1"})
    step(1)
    for number in (1, 2):
        results.record(entry(number))
    step(2)
    results.start(NEXT_RUN, {"name": "second"})
    results.put_all({entry_name(image(n)): entry(n, NEXT_RUN).to_bytes() for n in (1, 3)}, NEXT_RUN)
    step(3)
    results.put_timing(RUN, "today", {"images": 2})
    results.put_timing(RUN, "today", {"images": 3})
    # Damaged by a disk: written anew.
    (torn,) = path.glob("images/b*/1.2.3.2-*")
    if not is_whole(torn.read_bytes()):
        results.record(entry(2))
    step(LAST_STEP)


class Doomed:
    """Ends this process before its call number ``fatal`` that changes the disk.

    unsynced: files and folders that a power cut would still take something from, and what of the latter.
    """

    def __init__(self, monkeypatch, fatal, report):
        self.calls = 0
        self.fatal = fatal
        self.report = report
        self.steps = 0
        self.unsynced = {}
        self.begun = set()
        self.real = {name: getattr(os, name) for name in CHANGES}
        for name in CHANGES:
            monkeypatch.setattr(os, name, self.instead_of(name))
        self.real_open = Path.open
        monkeypatch.setattr(Path, "open", lambda path, *rest, **options: self.open_file(path, *rest, **options))

    def tick(self):
        self.calls += 1
        if self.calls == self.fatal:
            lost = [f"{kind} {path}" for path, kind in self.unsynced.items()]
            self.real["write"](self.report, struct.pack("<i", self.steps) + "\n".join(lost).encode())
            os._exit(9)

    def open_file(self, path, mode="r", *rest, **options):
        if set(mode) & set("wxa+"):
            self.tick()
            self.unsynced[str(path)] = "content"
            file = self.real_open(path, mode, buffering=0)
            return Unbuffered(file, self)
        return self.real_open(path, mode, *rest, **options)

    def instead_of(self, name):
        real = self.real[name]

        def call(*arguments, **options):
            if name == "open" and not arguments[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return real(*arguments, **options)
            self.tick()
            if name == "write" and arguments[0] not in self.begun:  # a part of it, as the system may; the rest follows
                self.begun.add(arguments[0])
                arguments = (arguments[0], arguments[1][: -(-len(arguments[1]) // 2)])
            result = real(*arguments, **options)
            if name == "open":
                self.unsynced[str(arguments[0])] = "content"
                self.begun.discard(result)
            elif name == "fsync":
                self.unsynced = {
                    path: kind
                    for path, kind in self.unsynced.items()
                    if not (
                        (kind == "content" and self.is_same(arguments[0], path))
                        or (kind == "name" and self.is_same(arguments[0], Path(path).parent))
                    )
                }
            elif name == "mkdir":
                self.unsynced[str(arguments[0])] = "name"
            elif name in ("link", "rename", "replace"):
                self.unsynced[str(arguments[1])] = "name"
                if (kind := self.unsynced.get(str(arguments[0]))) == "content":
                    self.unsynced[f"{arguments[1]}"] = kind
            return result

        return call

    @staticmethod
    def is_same(descriptor, path):
        try:
            return os.path.samestat(os.fstat(descriptor), Path(path).stat())
        except FileNotFoundError:
            return True


class Unbuffered:
    """A file whose bytes go out in two calls, either of which may be the last."""

    def __init__(self, file, doomed):
        self.file, self.doomed = file, doomed

    def write(self, content):
        for part in (content[: len(content) // 2], content[len(content) // 2 :]):
            self.doomed.tick()
            self.file.write(part)

    def flush(self):
        pass

    def fileno(self):
        return self.file.fileno()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()


def die(path, fatal):
    """Tell the story in a child that dies; return how far it got, and what a power cut takes, or None if it lived."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        doomed = Doomed(pytest.MonkeyPatch(), fatal, writing)
        try:
            story(path, lambda step: setattr(doomed, "steps", step))
        except BaseException:
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9), "the story went wrong by itself"
    if status == 0:
        return None
    return struct.unpack("<i", said[:4])[0], [line.split(" ", 1) for line in said[4:].decode().splitlines()]


def cut_power(lost):
    """Take away what was not on the disk yet: names, and the second halves of files."""
    for kind, path in lost:
        path = Path(path)
        if kind == "name" and path.is_dir():
            shutil.rmtree(path)
        elif kind == "name":
            path.unlink(missing_ok=True)
        elif path.exists():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def on_record(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.glob("images/*/[!.]*")}


def torn(path):
    """A ledger in which a disk has damaged a result, before the night begins."""
    results = Results.create_or_open(path, SimpleNamespace(archive_id="a" * 32, path=path.parent / "archive.zarr"))
    results.start(RUN, {"name": "first"})
    results.record(entry(2))
    (file,) = path.glob("images/*/*")
    file.write_bytes(file.read_bytes()[:-30])


PROMISED = {
    0: set(),
    1: set(),
    2: {(1, RUN), (2, RUN)},
    3: {(1, RUN), (2, RUN), (1, NEXT_RUN), (3, NEXT_RUN)},
}


@pytest.mark.parametrize("power", ["stays", "goes"])
@pytest.mark.parametrize("before", ["nothing", "a damaged result"])
def test_the_ledger_resumes_after_a_death_at_any_call(tmp_path, power, before):
    expected = tmp_path / "expected"
    if before != "nothing":
        torn(expected / "results")
    story(expected / "results", lambda step: None)
    whole = on_record(expected / "results")
    assert len(whole) == 4
    deaths = 0
    for fatal in itertools.count(1):
        path = tmp_path / str(fatal) / "results"
        if before != "nothing":
            torn(path)
        death = die(path, fatal)
        if death is None:
            break
        deaths += 1
        steps, lost = death
        if power == "goes":
            cut_power(lost)
        left = on_record(path)
        damaged = {name for name in left if left[name] != whole[name]}
        assert damaged <= ({name for name in whole if "1.2.3.2" in name} if before != "nothing" else set()), fatal
        if steps:
            opened = Results(path)
            assert all(opened.entry_bytes(image(n), run) == entry(n, run).to_bytes() for n, run in PROMISED[steps])
        story(path, lambda step: None)
        assert on_record(path) == whole, fatal
        opened = Results(path)
        assert [run["name"] for run in opened.runs()] == ["first", "second"]
        assert opened.runs()[0]["timings"] == [{"images": 3}]
        assert opened.images()["status"].to_pylist() == ["done"] * 4
        shutil.rmtree(path.parent)
    assert deaths > 50


def test_what_a_run_finds_on_record_is_durable_before_it_counts(archive, bundle, undisturbed, tmp_path, monkeypatch):
    """Another run links its results while this one looks them up, and is killed before it syncs their folder."""
    results = tmp_path / "results"
    for name, content in undisturbed.items():
        (tmp_path / name).write_bytes(content)
    statuses = Results.statuses
    monkeypatch.setattr("mammofast.screening.ledger.is_empty", lambda folder: False)

    def linked_meanwhile(self, wanted, run):
        for name in wanted:
            os.link(tmp_path / name, entries_folder(results, run) / name)
        return statuses(self, wanted, run)

    monkeypatch.setattr(Results, "statuses", linked_meanwhile)
    doomed = Doomed(monkeypatch, None, None)
    report = screen(archive, results, bundle)
    assert report.done == report.already == 6
    assert [path for path in doomed.unsynced if "/images/" in path] == []
