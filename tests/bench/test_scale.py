"""The simulated night, small: every image once, whatever died, and memory that stays where it was."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import mammofast
from bench.scale import measure
from bench.scale.listing import RUN, measured, pending, write_archive, write_results
from bench.scale.model import CRASH, MACHINE, POISON, SOUND, UNREADABLE, Model, SimulatedArchive
from mammofast import open_archive, open_results
from mammofast.screening import Results

ROOT = Path(__file__).parents[2]
IMAGES = 20_000
MODEL = Model(
    cards=8,
    cards_a_machine=4,
    threads=2,
    image_ms=2.0,
    slow_s=0.1,
    poison_every=8_000,
    crash_every=8_000,
    machine_every=20_000,
    restart_s=0.5,
    machine_s=1.0,
)


@pytest.fixture
def found_by_processes(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(mammofast.__file__).parents[1]), str(ROOT)]))


def fates(archive):
    return Counter(MODEL.fate(image.record.content_sha256) for image in archive.all_images())


def test_twenty_thousand_images_of_which_some_kill(tmp_path, found_by_processes, monkeypatch):
    kept = {}

    def keep(folder, **options):
        if Path(folder).name == "results" and Path(folder).exists():
            results = open_results(folder)
            kept["statuses"] = Counter(results.images()["status"].to_pylist())
            kept["uids"] = set(results.images()["sop_uid"].to_pylist())

    monkeypatch.setattr(measure.shutil, "rmtree", keep)
    monkeypatch.setattr(measure, "_IDLE_SECONDS", 0.1)
    archive = SimulatedArchive.create(tmp_path / "same.zarr", IMAGES)
    expected = fates(archive)
    assert min(expected[fate] for fate in (POISON, CRASH, MACHINE, UNREADABLE)) > 0
    run = measure.simulate(MODEL, IMAGES, tmp_path, 64)
    failed = run.report["failed"]
    # What comes once may come while an image is tried alone: then that image has failed.
    once = expected[CRASH] + expected[MACHINE]
    assert 0 <= failed - expected[UNREADABLE] - expected[POISON] <= once
    assert (run.report["done"], run.report["skipped"]) == (IMAGES - failed, 0)
    assert kept["statuses"] == {"done": IMAGES - failed, "failed": failed}
    assert len(kept["uids"]) == IMAGES
    assert run.deaths > 0
    memory = run.memory
    for process in ("client", "scheduler"):
        assert memory[f"{process}, most"] - memory[f"{process}, start"] < 160, memory


def test_fates_come_as_often_as_stated():
    model = replace(MODEL, unreadable_every=4, poison_every=8, crash_every=0, machine_every=0)
    hashes = [f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}".ljust(64, "0") for number in range(8_000)]
    found = Counter(model.fate(content) for content in hashes)
    assert found[UNREADABLE] == pytest.approx(2_000, rel=0.02)
    assert found[POISON] == pytest.approx(1_000, rel=0.02)
    assert found[SOUND] == 8_000 - found[UNREADABLE] - found[POISON]


def test_listing_takes_no_memory_for_images(tmp_path):
    """Neither where nothing is on record nor where everything is."""
    write_archive(tmp_path / "real.zarr", 2_000)
    real = open_archive(tmp_path / "real.zarr")
    listed = {image.record.sop_uid for image in real.all_units()}
    assert listed == {image.record.sop_uid for image in real.images()}
    assert len(listed) == 2_000
    archive = SimulatedArchive.create(tmp_path / "made-up.zarr", 2_000)
    results = Results.create_or_open(tmp_path / "results", archive)
    results.start(RUN, {})
    assert pending(archive, results)() == 2_000
    write_results(results, archive)
    assert measured("on record", 2_000, pending(archive, results), 0)["memory_grew_mib"] < 16
