"""What the doctor says of machines that lack something."""

import json
import os
import resource
import tomllib
from pathlib import Path
from types import SimpleNamespace

import imagecodecs
import pytest
from click.testing import CliRunner

from mammofast import cli
from mammofast.cli import doctor, doctor_machine

GIB = 2**30


def facts(*options):
    done = CliRunner().invoke(cli.main, ["doctor", "--json", *options])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_every_extra_that_users_may_install_is_looked_for():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert doctor._OPTIONAL.keys() == extras.keys() - {"bench", "test"}
    for name, (distribution, _) in doctor._OPTIONAL.items():
        assert any(line.startswith(distribution) for line in extras[name]), name


def test_this_machine_has_what_the_tests_need():
    found = facts()
    assert found["codecs"] == "JPEG Lossless, JPEG-LS, JPEG 2000, HTJ2K, RLE"
    assert "GiB free" in found["memory"]
    assert "GiB free" in found["disk, this folder"]


@pytest.mark.parametrize("name", ["jpegls_decode", "jpeg8_decode", "dicomrle_decode"])
def test_a_codec_that_is_not_built_in_is_named(monkeypatch, name):
    def missing(*arguments, **options):
        raise imagecodecs.DelayedImportError(name)

    monkeypatch.setattr(imagecodecs, name, missing)
    kind = {"jpegls_decode": "JPEG-LS", "jpeg8_decode": "JPEG Lossless", "dicomrle_decode": "RLE"}[name]
    assert facts("--quiet")["codecs"] == f"not usable: {kind}: pip install --force-reinstall imagecodecs"


def test_a_codec_that_decodes_to_something_else_is_named(monkeypatch):
    decode = imagecodecs.jpeg2k_decode
    monkeypatch.setattr(imagecodecs, "jpeg2k_decode", lambda data: decode(data) + 1)
    assert facts()["codecs"].startswith("not usable: JPEG 2000, HTJ2K: ")


def test_what_is_scarce_is_said(monkeypatch):
    monkeypatch.setattr(doctor_machine, "cores", lambda: 8)
    monkeypatch.setattr(doctor_machine, "core_quota", lambda: 8.0)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(doctor_machine, "available_memory", lambda: 50 * GIB)
    monkeypatch.setattr(doctor_machine, "memory_bytes", lambda: 64 * GIB)
    monkeypatch.setattr(doctor_machine, "memory_limit", lambda: 3 * GIB)
    monkeypatch.setattr(doctor_machine.shutil, "disk_usage", lambda path: SimpleNamespace(free=GIB))
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 4096))
    found = facts("--quiet")
    assert found["memory"] == (
        "not enough for 8 workers: 50.0 GiB free of 64.0; this container may use 3.0; start fewer, `screen --workers N`"
    )
    assert found["disk, this folder"] == "not much room: 1.0 GiB free; an archive takes some 5 MB an image"
    assert found["open files"] == "not enough for 8 workers: 256; `ulimit -n 420`"
    assert facts()["cores"] == "8 of 64 (this container may use 8)"


@pytest.mark.parametrize(("status", "word"), [(0x2001, "synchronized"), (0x2041, "not synchronized"), (None, "UTC")])
def test_the_clock(monkeypatch, status, word):
    monkeypatch.setattr(doctor_machine, "_clock_status", lambda: status)
    clock = facts()["clock"]
    assert word in clock
    assert clock.startswith("not ") == (status == 0x2041)
    assert ("synchronized" in clock) == (status is not None)


def test_the_kernel_tells_its_clocks_status():
    status = doctor_machine._clock_status()
    assert status is None or 0 <= status < 1 << 16


@pytest.mark.parametrize(
    ("has", "count", "words"),
    [
        (False, 0, "not found: the CPU is used"),
        (True, 0, "not usable: it shows no card"),
        (True, 2, "2 cards, compute capability 9.0, 9.0"),
    ],
)
def test_the_driver(monkeypatch, has, count, words):
    from mammofast.engine import driver

    monkeypatch.setattr(driver, "has_driver", lambda: has)
    monkeypatch.setattr(driver, "card_count", lambda: count)
    monkeypatch.setattr(driver, "compute_capability", lambda index: 90)
    assert facts()["nvidia driver"].startswith(words)
