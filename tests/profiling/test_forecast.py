"""The throughput model: its sums worked out by hand, and the real scheduling in virtual time beside it."""

import dataclasses
import json

import pytest
from click.testing import CliRunner

from mammofast.cli import main
from mammofast.pipeline.model import CARDS, RESOURCES, Assumptions, capacity, demand, forecast, works
from mammofast.pipeline.rehearsal import rehearse
from mammofast.profiling.forecast import BOUND
from mammofast.screening import job

H200 = CARDS["h200"]
# Recording must not hide what else limits.
GOAL = Assumptions(H200, record=20e-6, recorders=1, images_per_task=32)
# Nothing but the GPU's arithmetic costs anything.
FREE = dataclasses.replace(
    GOAL,
    read_level=0,
    read_window=0,
    encode=0,
    call=0,
    record=1e-9,
    task=0,
    launch=0,
    level_bytes=0,
    window_bytes=0,
    mask_bytes=1e-9,
    inputs_bytes=0,
    archive_level_bytes=1e-9,
)


def test_an_images_arithmetic_is_that_of_the_goals():
    """The goals' own numbers: 21 % of the ceiling are 200 images/s, half of it 480."""
    gmac = 9.7 + 24.7 + 38.6 + 65.3 + 86.9 + 2 * 143.9
    assert demand(FREE)["GPU"] == pytest.approx(2e9 * gmac / (989.5e12 * 0.21))
    assert forecast(GOAL, 1).images_per_second == pytest.approx(200, rel=0.02)
    half = dataclasses.replace(GOAL, share=0.5)
    assert forecast(half, 1).allows["GPU"] == pytest.approx(480, rel=0.02)


def test_costs_of_an_image_by_hand():
    a = dataclasses.replace(
        GOAL,
        read_level=0.1,
        read_window=0.01,
        encode=0.001,
        record=0.5,
        task=3.2,
        images_per_task=32,
        call=1.0,
        link_rate=1e6,
        level_bytes=1e6,
        window_bytes=1e5,
        mask_bytes=1e4,
        storage_rate=1e6,
        archive_level_bytes=2e6,
        archive_window_bytes=3e6,
        detection_batch=4,
        segmentation_batch=8,
    )
    needed = demand(a)
    assert needed["cores"] == pytest.approx(0.1 + 2 * 0.01 + 0.001)
    assert needed["client"] == pytest.approx(3.2 / 32)
    assert needed["recorders"] == pytest.approx(0.5)
    assert needed["link"] == pytest.approx(1 + 2 * 0.1 + 2 * 0.01)
    assert needed["storage"] == pytest.approx(2 + 2 * 3)
    # read, upload, prepare, encode; five scales and fuse in fours; two windows; crop, segment, paste in eights.
    assert needed["Python"] == pytest.approx(4 + 6 / 4 + 2 + 3 * 2 / 8)


def test_what_is_there():
    one, eight, many = (capacity(GOAL, gpus) for gpus in (1, 8, 64))
    assert (one["GPU"], eight["GPU"], many["link"]) == (1, 8, 64)
    assert (one["cores"], eight["cores"], many["cores"]) == (14, 112, 8 * 112)
    assert (one["storage"], eight["storage"], many["storage"]) == (1 / 8, 1, 8)
    assert {there["client"] for there in (one, eight, many)} == {1}
    assert capacity(dataclasses.replace(GOAL, recorders=5), 8)["recorders"] == 5


@pytest.mark.parametrize(
    ("change", "limit", "stage"),
    [
        ({}, "GPU", "segment"),
        ({"candidates": 1}, "GPU", "detect"),
        ({"read_level": 1.0, "cores_a_machine": 24}, "cores", "read"),
        ({"read_window": 1.0, "cores_a_machine": 24}, "cores", "read native"),
        ({"encode": 1.0, "cores_a_machine": 24}, "cores", "encode"),
        ({"storage_rate": 1e7}, "storage", "read native"),
        ({"link_rate": 1e7}, "link", "upload"),
        ({"record": 0.1}, "recorders", "record"),
        ({"record": 0.1, "recorders": 10}, "recorders", "record"),
        ({"task": 0.5}, "client", "record"),
        ({"call": 0.1}, "Python", "read native"),
    ],
)
def test_what_costs_most_limits_and_the_scheduling_reaches_it(change, limit, stage):
    a = dataclasses.replace(GOAL, **change)
    found = forecast(a, 1)
    assert (found.limit, found.stage) == (limit, stage)
    assert found.used[limit] == 1
    assert all(0 < used <= 1 for used in found.used.values())
    played = rehearse(a, 1, 400).images_per_second()
    assert played == pytest.approx(found.images_per_second, rel=BOUND)


@pytest.mark.parametrize("gpus", [1, 8, 64])
@pytest.mark.parametrize("share", [0.21, 0.5])
def test_the_scheduling_reaches_the_sums_at_every_size(gpus, share):
    a = dataclasses.replace(GOAL, share=share, task=1e-3)
    found = forecast(a, gpus)
    played = rehearse(a, gpus, 160).images_per_second() * max(1, gpus / 8)
    assert played == pytest.approx(found.images_per_second, rel=BOUND)


@pytest.mark.parametrize(("change", "limit"), [({"record": 1e-3}, "recorders"), ({"task": 0.032}, "client")])
@pytest.mark.parametrize("gpus", [8, 64])
def test_what_a_run_has_one_of_does_not_grow_with_its_gpus(change, limit, gpus):
    a = dataclasses.replace(GOAL, **change)
    found = forecast(a, gpus)
    assert found.limit == limit
    assert found.images_per_second == pytest.approx(1000)
    played = rehearse(a, gpus, 100).images_per_second() * gpus / 8
    assert played == pytest.approx(1000, rel=BOUND)


def test_a_gpu_needs_the_same_cores_beside_others():
    assert forecast(GOAL, 64).cores_needed == pytest.approx(forecast(GOAL, 1).cores_needed)


def test_every_image_is_played_and_no_unit_twice():
    timeline = rehearse(GOAL, 2, 50)
    for outcomes in timeline.outcomes:
        assert sorted(outcome.index for outcome in outcomes) == list(range(50))
    units = {}
    for span in timeline.spans:
        units[span.stage] = units.get(span.stage, 0) + span.items
    candidates = sum((image * 3) % 5 for image in range(50))
    assert candidates == 2 * 50  # as assumed
    expected = {work.stage: 100 for work in works(GOAL)} | {"detect": 500}
    expected |= dict.fromkeys(("read native", "crop", "segment", "paste"), 2 * candidates)
    assert units == expected


def test_a_slower_reader_keeps_the_gpu_waiting():
    """Three cores that take 30 ms an image make 100 a second; for 200 twice as many are needed."""
    slow = dataclasses.replace(GOAL, read_level=0.03, read_window=0, encode=0, cores_a_machine=24)
    timeline = rehearse(slow, 1, 400)
    assert timeline.images_per_second() == pytest.approx(100, rel=BOUND)
    assert forecast(slow, 1).cores_needed == pytest.approx(6, rel=0.02)


def test_every_number_says_where_it_comes_from():
    sources = GOAL.sources()
    names = {item.name for item in dataclasses.fields(Assumptions)} - {"card"}
    assert set(sources) == names | {"flops"}
    assert all(known["source"] for known in sources.values())
    assert json.loads(json.dumps(sources))["detector_gmac"]["value"] == [9.7, 24.7, 38.6, 65.3, 86.9]


def test_the_command_says_what_limits_and_what_was_assumed(tmp_path, monkeypatch):
    monkeypatch.setattr("mammofast.profiling.forecast._IMAGES", 100)
    json_file, trace = tmp_path / "forecast.json", tmp_path / "trace.json"
    command = ["bench", "pipeline", "--simulate", "h200", "--json", str(json_file), "--trace", str(trace)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "nothing ran on a GPU" in done.output
    assert "segmenter_gmac = 143.9: v19U-Net++" in done.output
    record = json.loads(json_file.read_text())
    facts = [case["facts"] for case in record["cases"]]
    assert [(each["share"], each["gpus"]) for each in facts] == [
        (share, gpus) for share in (0.21, 0.5) for gpus in (1, 8, 64)
    ]
    assert facts[0]["limit"] == "GPU"
    assert facts[0]["images_per_s"] == pytest.approx(200, rel=0.02)
    assert facts[0]["assumptions"]["recorders"]["value"] == job.RECORDERS
    assert facts[5]["limit"] == "recorders"
    assert set(facts[0]["used"]) == set(RESOURCES)
    assert facts[0]["assumptions"]["call"]["value"] == pytest.approx(GOAL.call)
    for case, each in zip(record["cases"], facts, strict=True):
        assert case["throughput_per_s"] == pytest.approx(each["images_per_s_in_virtual_time"], rel=0.4)
    events = json.loads(trace.read_text())["traceEvents"]
    assert {event["name"] for event in events if event["ph"] == "X"} == {work.stage for work in works(GOAL)}
    assert {event["args"]["name"] for event in events if event["name"] == "thread_name"} >= {
        "detect",
        "read",
        "segment",
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--simulate", "abacus"], "got 'abacus', expected one of h200"),
        (["--simulate", "h200", "--studies", "2"], "--simulate reads no images"),
        (["--simulate", "h200", "."], "--simulate reads no images"),
    ],
)
def test_misuse(arguments, words):
    done = CliRunner().invoke(main, ["bench", "pipeline", *arguments])
    assert done.exit_code == 2
    assert words in done.output
