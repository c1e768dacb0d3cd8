"""Who opens what where a bundle is for a card: nothing is left on one in the program that starts a run."""

import json
import shutil
from pathlib import Path

import pytest

from mammofast import open_results
from mammofast.errors import EngineError
from mammofast.machine import cores
from mammofast.screening import run as run_module
from mammofast.screening import screen


@pytest.fixture
def card_bundle(bundle, tmp_path):
    """A bundle whose manifest says that it was compiled for a card."""
    folder = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    manifest = json.loads((folder / "manifest.json").read_text())
    for network in manifest["networks"].values():
        network |= {"target": "sm_90", "backend": "torch"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def here(*arguments):
    raise AssertionError("the program itself opened the bundle")


class Started(Exception):
    pass


@pytest.mark.parametrize(("scheduler", "connect"), [(None, "local_client"), ("tcp://10.0.0.9:8786", "remote_client")])
def test_a_bundle_for_a_card_is_opened_by_workers_only(archive, card_bundle, tmp_path, monkeypatch, scheduler, connect):
    def start(*arguments):
        raise Started

    monkeypatch.setattr(run_module, connect, start)
    monkeypatch.setattr(run_module, "card_count", lambda: 2)
    if scheduler is None:
        monkeypatch.setattr("mammofast.bundles.fit.compute_capability", lambda index: 90)
    with pytest.raises(Started):
        screen(archive, tmp_path / "results", card_bundle, scheduler=scheduler, opener=here)


def test_a_card_that_is_not_there_is_said_before_workers_are_started(archive, card_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "local_client", here)
    monkeypatch.setattr("mammofast.bundles.fit.compute_capability", lambda index: {0: 90, 1: 80}.get(index))
    monkeypatch.setattr(run_module, "card_count", lambda: 2)
    for device, words in {
        "cpu": "was compiled for sm_90, not for the CPU",
        "cuda:1": "card 1 is sm_80",
        "cuda:2": "no NVIDIA card 2",
    }.items():
        with pytest.raises(EngineError, match=words):
            screen(archive, tmp_path / "results", card_bundle, device=device, opener=here)


def test_each_worker_has_its_card_and_its_part_of_the_cores_and_says_what_it_takes(
    archive, bundle, card_bundle, tmp_path, monkeypatch, fakes
):
    shutil.copytree(bundle, card_bundle / "cpu")
    monkeypatch.setattr("mammofast.bundles.fit.compute_capability", lambda index: 90)
    monkeypatch.setattr(run_module, "card_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    report = screen(archive, tmp_path / "results", card_bundle, opener=fakes.on_card, images_per_task=1)
    assert (report.done, report.failed) == (6, 0)
    seen = [json.loads(path.read_text()) for path in (card_bundle / "opened").iterdir()]
    half = max(1, cores() // 2)
    assert sorted(each["visible"] for each in seen) == ["3", "5"]
    assert {(each["device"], each["cores"]) for each in seen} == {("cuda", half)}
    (timing,) = open_results(tmp_path / "results").runs()[0]["timings"]
    stated = {"engines": 100, "images": 200, "pinned_buffers": 3, "pinned_bytes": 40, "pageable": None}
    assert timing["card_memory"] == [stated, stated]
