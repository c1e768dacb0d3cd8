"""A worker whose card answers no more: it ends, and what is left of the run is as if it had not."""

import os
import threading
import time
from types import SimpleNamespace

import pytest

from mammofast import open_results
from mammofast.errors import DeviceLostError, EngineError
from mammofast.screening import screen, worker
from mammofast.screening.entry import Run
from mammofast.settings import Settings
from tests.screening.runs import snapshot, started
from tests.screening.test_worker import Screener, image

ONE, OTHER = "1.2.1.1.1", "1.2.3.4.1"


def reasons(results):
    return {row["sop_uid"]: row["reason"] for row in open_results(results).images().to_pylist() if row["reason"]}


def test_an_image_that_loses_the_card_again_and_again_fails_alone(
    archive, private_bundle, undisturbed, tmp_path, fakes
):
    (private_bundle / "lose").write_text(ONE)
    report = screen(archive, tmp_path / "results", private_bundle, workers=1, opener=fakes.misbehaving)
    assert (report.done, report.failed) == (5, 1)
    assert reasons(tmp_path / "results") == {
        ONE: "worker: lost the card of a process of its own: card 0 is lost to this process (an illegal memory access)"
    }
    left = snapshot(tmp_path / "results")
    assert {name for name in left if left[name] != undisturbed[name]} == {n for n in left if n.startswith(f"{ONE}-")}
    # Once in a worker, which ended, and once alone; no image of the same task was screened by a worker without a card.
    pids = started(private_bundle)
    assert len(set(pids[ONE])) == 2
    assert all(pid not in pids[ONE][:1] or uid == ONE for uid, of in pids.items() for pid in of[1:])


def test_a_card_that_was_lost_once_costs_no_image(archive, private_bundle, undisturbed, tmp_path, fakes):
    (private_bundle / "lose").write_text(OTHER)
    (private_bundle / "passing").write_text(OTHER)
    report = screen(archive, tmp_path / "results", private_bundle, workers=1, opener=fakes.misbehaving)
    assert (report.done, report.failed) == (6, 0)
    assert snapshot(tmp_path / "results") == undisturbed
    (timing,) = open_results(tmp_path / "results").runs()[0]["timings"]
    assert timing["lost_cards"] == ["card 0 is lost to this process (an illegal memory access)"]


def test_a_worker_whose_card_stays_lost_leaves_the_others_to_it(archive, private_bundle, undisturbed, tmp_path, fakes):
    """The one in its place cannot open the bundle: neither the run nor an image ends with that."""
    for name in ("lose", "passing", "dying"):
        (private_bundle / name).write_text(ONE)
    (private_bundle / "gate").write_text(OTHER)  # so that the run cannot end before

    def wait():
        end = time.monotonic() + 240
        while not (private_bundle / "refused").exists() and time.monotonic() < end:
            time.sleep(0.01)
        (private_bundle / "gate").unlink()

    waiter = threading.Thread(target=wait)
    waiter.start()
    report = screen(
        archive, tmp_path / "results", private_bundle, workers=2, images_per_task=1, opener=fakes.misbehaving
    )
    waiter.join()
    assert (private_bundle / "refused").exists()
    assert (report.done, report.failed) == (6, 0)
    assert snapshot(tmp_path / "results") == undisturbed


def a_worker(address):
    """What a plugin sees of Dask's worker, and what it asks of its loop."""
    asked = []
    loop = SimpleNamespace(add_callback=lambda what, **options: asked.append((what, options)))
    return SimpleNamespace(address=address, loop=loop, close_gracefully="close_gracefully"), asked


def refuse(bundle, device, settings):
    raise EngineError("no card answers")


@pytest.mark.parametrize("is_there", [True, False])
def test_a_worker_that_cannot_open_the_bundle_leaves_where_it_came_later(is_there):
    there = ["tcp://10.0.0.1:1", "tcp://10.0.0.2:1"]
    plugin = worker.ScreenerPlugin(
        "run", Run("b" * 64, "c" * 64), "bundle", "auto", Settings(), ours=False, opener=refuse, there=there
    )
    dasks, asked = a_worker("tcp://10.0.0.2:1" if is_there else "tcp://10.0.0.2:2")
    with pytest.raises(EngineError, match="no card answers"):
        plugin.setup(dasks)
    expected = [] if is_there else [("close_gracefully", {"restart": False, "reason": "cannot open the bundle"})]
    assert asked == expected
    assert "run" not in worker._OPEN


def test_a_task_that_loses_the_card_ends_its_process_at_once(monkeypatch):
    class Ended(BaseException):
        pass

    def end(status):
        assert status == 1
        raise Ended

    screener = Screener(image2=DeviceLostError("card 0 is lost"))
    monkeypatch.setitem(worker._OPEN, "run", worker.Opened(screener, None, None))
    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(Ended):
        worker.screen_together("run", [image(number) for number in (1, 2, 3)], 60.0)
    assert screener.calls == [[1, 2, 3]]  # none was tried on a card that is not there
