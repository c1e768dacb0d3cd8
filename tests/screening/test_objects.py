"""Archive and results in an S3-compatible store: a real server on loopback."""

import itertools
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from mammofast import objects, open_archive, open_results
from mammofast.errors import ArchiveError, BrokenImage, ResultsError
from mammofast.objects import ObjectPath, place
from mammofast.screening import Results, screen
from mammofast.screening.files import is_empty

BUCKETS = itertools.count()


@pytest.fixture(scope="module")
def server():
    with pytest.MonkeyPatch.context() as patch:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        objects._store.cache_clear()
        yield boto3.client("s3")
        server.stop()
        objects._store.cache_clear()


@pytest.fixture
def bucket(server):
    name = f"bucket-{next(BUCKETS)}"
    server.create_bucket(Bucket=name)
    return name


@pytest.fixture
def stored(server, archive, bucket):
    """An archive, put there by nothing that knows of archives."""
    for path in archive.rglob("*"):
        if path.is_file():
            server.upload_file(str(path), bucket, f"night/archive.zarr/{path.relative_to(archive)}")
    return f"s3://{bucket}/night/archive.zarr"


def snapshot(results):
    return {path.name: path.read_bytes() for path in place(results).glob("images/*/*.json")}


def test_paths_are_paths(tmp_path):
    path = place("s3://bucket/a/b.json")
    assert (str(path), path.bucket, path.key, path.name, path.stem) == (
        "s3://bucket/a/b.json",
        "bucket",
        "a/b.json",
        "b.json",
        "b",
    )
    assert place(Path("s3://bucket/a/b.json")) == path == pickle.loads(pickle.dumps(path))
    assert str(path.parent / "c") == "s3://bucket/a/c"
    assert isinstance(path.parent / "c", ObjectPath)
    assert path.resolve() is path
    assert place(path) is path
    assert place(tmp_path) == tmp_path
    for wrong in (os.stat, os.listdir, os.path.exists, open):
        with pytest.raises(TypeError, match="is an object"):
            wrong(path)
    with pytest.raises(OSError, match="not supported"):
        path.open("ab")


def test_objects_are_written_once_by_one(bucket):
    path = place(f"s3://{bucket}/a/once")
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda n: path.create(b"%d" % n), range(8)))
    assert sum(won) == 1
    assert path.read_bytes() == b"%d" % won.index(True)
    path.write_bytes(b"over")
    assert path.read_bytes() == b"over"
    path.unlink()
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        path.read_bytes()


def test_folders_are_what_names_begin_with(bucket):
    root = place(f"s3://{bucket}/a")
    for name in ("x.json", "y.txt", "in/z.json", "in/deep/w.json", ".hidden.json"):
        (root / name).write_bytes(b"")
    assert [path.name for path in root.iterdir()] == [".hidden.json", "in", "x.json", "y.txt"]
    assert [str(path.relative_to(root)) for path in root.glob("*/*.json")] == ["in/z.json"]
    assert [path.name for path in root.glob("[!.]*.json")] == ["x.json"]
    assert [path.name for path in root.glob("in/deep/*")] == ["w.json"]
    assert (root / "in").is_dir()
    assert not (root / "in").is_file()
    assert (root / "x.json").is_file()
    assert not (root / "i").exists()
    assert list(place(f"s3://{bucket}/nothing").iterdir()) == []
    assert [is_empty(root / name) for name in ("in", "i", "in/deep")] == [False, True, False]


def test_what_the_store_refuses_is_a_system_error(server, bucket, monkeypatch):
    with pytest.raises(OSError, match=r"said no|Permission|No such"):
        place("s3://there-is-no-such-bucket/a").write_bytes(b"")
    with pytest.raises(ResultsError, match="cannot be looked into"):
        Results.create_or_open("s3://there-is-no-such-bucket/a", SimpleNamespace(archive_id="a", path="/a"))
    with pytest.raises(ArchiveError, match="no archive"):
        open_archive(f"s3://{bucket}/nothing")


def test_an_archive_reads_the_same(archive, stored):
    here, there = open_archive(archive), open_archive(stored)
    assert here.archive_id == there.archive_id
    images = list(there.images())
    assert [image.record for image in images] == [image.record for image in here.images()]
    for mine, theirs in zip(here.images(), images, strict=True):
        np.testing.assert_array_equal(theirs.read(), mine.read())
        np.testing.assert_array_equal(theirs.read(1, (10, 20, 60, 90)), mine.read(1, (10, 20, 60, 90)))
        assert theirs.header_bytes == mine.header_bytes


def test_a_lost_or_damaged_object_is_that_images_error(server, bucket, stored):
    first, second, *_ = open_archive(stored).images()
    (first.folder / "0" / "c" / "0" / "0").unlink()
    (second.folder / "0" / "c" / "0" / "0").write_bytes(b"\0" * 100)
    for image in (first, second):
        with pytest.raises(BrokenImage, match="read"):
            image.read()


def test_a_night_in_a_store_equals_one_on_disk(archive, stored, bucket, bundle, tmp_path):
    screen(archive, tmp_path / "results", bundle, workers=1)
    results = f"s3://{bucket}/night/results"
    log = tmp_path / "log"
    report = screen(stored, results, bundle, workers=2, images_per_task=1, log=log)
    assert (report.done, report.failed, report.already) == (6, 0, 0)
    assert snapshot(results) == snapshot(tmp_path / "results")
    assert len(log.read_text().splitlines()) == 3
    opened = open_results(results)
    assert opened.images()["status"].to_pylist() == ["done"] * 6
    assert opened.findings() == open_results(tmp_path / "results").findings()
    assert str(opened.archive_path) == stored
    victim, torn, *_ = sorted(place(results).glob("images/*/*.json"))
    victim.unlink()
    torn.write_bytes(torn.read_bytes()[:-30])
    report = screen(stored, results, bundle, workers=1)
    assert (report.done, report.already) == (6, 4)
    assert snapshot(results) == snapshot(tmp_path / "results")


def test_a_store_that_writes_over_is_refused(bucket, monkeypatch):
    archive = SimpleNamespace(archive_id="a" * 32, path="/nowhere")
    Results.create_or_open(f"s3://{bucket}/results", archive)

    def careless(self, content):
        self.write_bytes(content)
        return True

    monkeypatch.setattr(ObjectPath, "create", careless)
    with pytest.raises(ResultsError, match="ignores If-None-Match"):
        Results.create_or_open(f"s3://{bucket}/results", archive)


def test_without_the_extra_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "obstore.exceptions", None)
    with pytest.raises(OSError, match=r"mammofast\[s3\]"):
        place("s3://bucket/a").read_bytes()
