"""Whose fault it was: the others' results never change. Deterministic, in virtual time."""

import pytest

from mammofast.errors import BrokenImage, EngineError, Reason
from mammofast.pipeline import Budget, Hold, Stage, run_serially
from mammofast.pipeline.board import Board
from mammofast.pipeline.virtual import Server, VirtualTime
from tests.pipeline.simulated import Faults, SimulatedDevice
from tests.pipeline.toy import NAN, STAGES, Calls, Image, image_of, stages, truth

IMAGES = [Image(name, scales=2, candidates=3) for name in range(9)]
POISON = 4
NETWORK = "internal: the network of 'segment' could not be run on this image"
FULL = "too-large: no memory was left for this image in 'segment', even alone"


def run(around=lambda name, work: work, images=IMAGES, **changes):
    budget = Budget(60)
    clock = VirtualTime()
    options = {"detect": {"batch": 3}, "segment": {"batch": 4}} | changes
    given = stages(around, **options)
    timeline = clock.run([Board(given, [Hold(budget, lambda image: image.size)])], [images])
    assert budget.taken == 0
    return {found.index: found.item if found.error is None else found.error for found in timeline.outcomes[0]}


def others(images=IMAGES, poison=(POISON,)):
    return {index: truth(image) for index, image in enumerate(images) if image.name not in poison}


def failing(stage, fail, images=(POISON,)):
    """Return what makes a stage call ``fail`` in each call that holds one of the images."""

    def around(name, work):
        def fails(units):
            if any(image_of(unit).name in images for unit in units):
                fail(units)
            return work(units)

        return fails if name == stage else work

    return around


def throws(error):
    def fail(units):
        raise error

    return fail


@pytest.mark.parametrize("stage", STAGES)
def test_a_bug_fails_its_image_and_tells_no_names(stage):
    found = run(failing(stage, throws(RuntimeError("PatientName Doe^Jane"))))
    assert found.pop(POISON) == "internal: RuntimeError"
    assert found == others()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (EngineError("myelin gave up"), NETWORK),
        (MemoryError("CUDA out of memory"), FULL),
        (BrokenImage(Reason.NOT_FINITE, "the network gave NaN"), NAN),
        (BrokenImage(Reason.READ, "a shard is torn"), "read: a shard is torn"),
        (ValueError("Doe^Jane"), "internal: ValueError"),
    ],
)
def test_an_image_that_breaks_a_batch_fails_alone(error, expected):
    calls = Calls()
    breaks = failing("segment", throws(error))
    found = run(lambda name, work: calls(name, breaks(name, work)))
    assert found.pop(POISON) == expected
    assert found == others()
    # Who shared its batches was tried alone, once and no more; no unit of its own was tried alone twice.
    alone = [names[0] for names in calls.of("segment") if len(names) == 1]
    assert alone.count(POISON) == 1
    assert set(alone) > {POISON}


def test_an_error_among_the_outcomes_is_that_units_alone():
    """A row of NaN is known by its row: who shared the batch is not worked on again."""
    calls = Calls()

    def around(name, work):
        def watched(units):
            outcomes = work(units)
            bad = BrokenImage(Reason.NOT_FINITE, "the network gave NaN")
            return [
                bad if image_of(unit).name == POISON else found for unit, found in zip(units, outcomes, strict=True)
            ]

        return calls(name, watched if name == "segment" else work)

    found = run(around)
    assert found.pop(POISON) == NAN
    assert found == others()
    singles = [names[0] for names in calls.of("segment") if len(names) == 1]
    assert singles.count(POISON) == 1
    worked = [name for names in calls.of("segment") for name in names if name != POISON]
    assert sorted(worked) == sorted(image.name for image in IMAGES for _ in range(3) if image.name != POISON)


@pytest.mark.parametrize("error", [EngineError("busy"), MemoryError(), BrokenImage(Reason.NOT_FINITE, "NaN")])
@pytest.mark.parametrize("batch", [1, 4])
def test_what_passes_by_the_second_try_is_no_failure(error, batch):
    left = [1]

    def fail(units):
        if left[0]:
            left[0] -= 1
            raise error

    found = run(failing("segment", fail), segment={"batch": batch})
    assert found == others(poison=())
    assert left == [0]


@pytest.mark.parametrize("error", [BrokenImage(Reason.DECODE, "no pixels"), KeyError("x")])
def test_what_is_surely_the_images_own_is_not_tried_again(error):
    calls = Calls()
    breaks = failing("read", throws(error))
    found = run(lambda name, work: calls(name, breaks(name, work)))
    assert isinstance(found[POISON], str)
    assert calls.of("read").count((POISON,)) == 1


def test_memory_that_ran_out_because_of_others_is_no_failure():
    clock = VirtualTime()
    device = SimulatedDevice(clock, memory=100)
    device.server.lines = 10
    segmenter = device.engine(
        lambda unit: (unit[0].value * 11 + unit[1]) % 101,
        lambda n: 1.0,
        image=lambda unit: unit[0].image.name,
        unit_bytes=lambda unit: 90 if unit[0].image.name == POISON else 20,
    )
    detector = device.engine(
        lambda unit: (unit[0].value * 7 + unit[1]) % 101,
        lambda n: 1.0,
        image=lambda unit: unit[0].image.name,
        unit_bytes=lambda unit: 30,
    )
    changes = {
        "segment": {"work": segmenter, "workers": 2},
        "detect": {"work": detector, "workers": 2},
    }
    timeline = clock.run([Board(stages(**changes))], [IMAGES])
    assert {found.index: found.item for found in timeline.outcomes[0]} == others(poison=())
    assert 90 <= device.peak <= 100
    calls = [span for span in timeline.spans if span.stage == "segment"]
    assert len(calls) > 3 * len(IMAGES)  # some were tried twice


def test_no_other_call_of_the_device_runs_during_a_second_try():
    at_work, most, alone = [], [], []
    clock, gpu, cores = VirtualTime(), Server("gpu", 10), Server("cores", 10)

    def around(name, work):
        device = name in ("upload", "detect", "segment")

        def watched(units):
            if device:
                names = [image_of(unit).name for unit in units]
                call = (name, names, object())
                at_work.append(call)
                most.append(len(at_work))
                clock.spend(gpu, 1.0, lambda: at_work.remove(call))
                # A batch of one is a second try: there are units enough for full ones.
                if any(stage == "segment" and len(units) == 1 for stage, units, _ in at_work):
                    alone.append(len(at_work))
            else:
                clock.spend(cores, 0.3)
            if name == "segment" and POISON in [image_of(unit).name for unit in units]:
                raise EngineError("no")
            return work(units)

        return watched

    changes = {name: {"workers": 3} for name in ("read", "upload", "detect", "segment")}
    changes["segment"]["batch"] = 2
    images = [Image(name, scales=2, candidates=3) for name in range(40)]  # more than there is room for at once
    timeline = clock.run([Board(stages(around, **changes))], [images])
    found = {each.index: each.error or each.item for each in timeline.outcomes[0]}
    assert found.pop(POISON) == NETWORK
    assert found == others(images)
    assert max(most) > 1
    assert len(alone) > 1
    assert set(alone) == {1}  # none was there when they began, none began while they were there


def test_a_call_of_the_wrong_length_is_a_bug_and_found_out_alone():
    def short(name, work):
        def cut(units):
            outcomes = work(units)
            return outcomes[:-1] if any(image_of(unit).name == POISON for unit in units) else outcomes

        return cut if name == "segment" else work

    found = run(short)
    assert found.pop(POISON) == "internal: ValueError"
    assert found == others()


@pytest.mark.parametrize("broken", ["split", "join", "key"])
def test_bugs_between_stages_stay_with_their_image(broken):
    ours = {stage.name: stage for stage in stages()}["detect"]

    def wrong(*arguments):
        if image_of(arguments[0]).name == POISON:
            raise KeyError("Doe^Jane")
        return getattr(ours, broken)(*arguments)

    found = run(detect={broken: wrong, "batch": 3})
    assert found.pop(POISON) == "internal: KeyError"
    assert found == others()


def test_an_image_whose_need_cannot_be_told_fails():
    def amount(image):
        return 1 // (image.name - POISON)

    timeline = VirtualTime().run([Board(stages(), [Hold(Budget(100), lambda image: abs(amount(image)))])], [IMAGES])
    found = {each.index: each.error or each.item for each in timeline.outcomes[0]}
    assert found.pop(POISON) == "internal: ZeroDivisionError"
    assert found == others()


def test_an_image_that_needs_less_than_nothing_fails():
    budget = Budget(100)
    amount = lambda image: 10 - 15 * (image.name == POISON)  # noqa: E731
    timeline = VirtualTime().run([Board(stages(), [Hold(Budget(100)), Hold(budget, amount)])], [IMAGES])
    found = {each.index: each.error or each.item for each in timeline.outcomes[0]}
    assert found.pop(POISON) == "internal: ValueError"
    assert found == others()
    assert budget.taken == 0


def test_all_images_may_be_poison():
    found = run(failing("detect", throws(EngineError("no")), images=range(9)))
    assert set(found.values()) == {NETWORK.replace("segment", "detect")}
    assert len(found) == 9


def test_a_device_too_small_for_a_batch_is_used_one_by_one():
    """A batch that does not fit is no failure of its images."""
    clock = VirtualTime()
    device = SimulatedDevice(clock, memory=50)
    network = device.engine(
        lambda unit: (unit[0].value * 11 + unit[1]) % 101,
        lambda n: 1.0,
        image=lambda unit: unit[0].image.name,
        unit_bytes=lambda unit: 51 if unit[0].image.name == POISON else 40,
    )
    timeline = clock.run([Board(stages(segment={"work": network, "batch": 4}))], [IMAGES])
    found = {each.index: each.error or each.item for each in timeline.outcomes[0]}
    assert found.pop(POISON) == FULL
    assert found == others()
    assert device.peak == 40


def test_the_simulated_devices_faults():
    clock = VirtualTime()
    device = SimulatedDevice(clock, memory=1000)
    faults = Faults(nan=frozenset({1}), raises={2: EngineError("no"), 3: ValueError("x")}, passing={5: 1})
    network = device.engine(
        lambda unit: (unit[0].value * 11 + unit[1]) % 101,
        lambda n: n * 0.5,
        image=lambda unit: unit[0].image.name,
        faults=faults,
    )
    timeline = clock.run([Board(stages(segment={"work": network, "batch": 4}))], [IMAGES])
    found = {each.index: each.error or each.item for each in timeline.outcomes[0]}
    assert [found.pop(name) for name in (1, 2, 3)] == [NAN, NETWORK, "internal: ValueError"]
    assert found == others(poison=(1, 2, 3))


def test_one_thread_has_the_same_rules():
    breaks = failing("segment", throws(EngineError("no")))
    given = stages(breaks, detect={"batch": 3}, segment={"batch": 4})
    found = {each.index: each.error or each.item for each in run_serially(given, IMAGES)}
    assert found.pop(POISON) == NETWORK
    assert found == others()
    assert list(run_serially([Stage(name="a", work=list)], [])) == []
