"""The scheduling in virtual time: every test has one course of events, the same each time."""

from itertools import pairwise

import pytest

from mammofast.pipeline import Budget, Hold, Pool, Stage
from mammofast.pipeline.board import INSIDE, Board
from mammofast.pipeline.virtual import Server, VirtualTime
from tests.pipeline.toy import STAGES, Calls, Image, one, stages, truth

IMAGES = [Image(name, scales=1 + name % 3, candidates=name % 4) for name in range(12)]


def timed(clock, seconds, log=None):
    """Return what gives stages a duration: by name, on servers of their own or those given."""
    servers = {}

    def around(name, work):
        cost = seconds.get(name, 0)
        server, cost = cost if isinstance(cost, tuple) else (servers.setdefault(name, Server(name, 100)), cost)

        def slow(units):
            if log is not None:
                log(name, units, "begins")
            clock.spend(server, cost, None if log is None else lambda: log(name, units, "ends"))
            return work(units)

        return slow

    return around


def run(given, images=IMAGES, clock=None, **board):
    clock = clock or VirtualTime()
    return clock.run([Board(given, sample=clock.sampler(0), **board)], [images])


def results(timeline):
    return {outcome.index: outcome.item if outcome.error is None else outcome.error for outcome in timeline.outcomes[0]}


def expected(images=IMAGES):
    return {index: truth(image) for index, image in enumerate(images)}


def test_results_are_those_of_plain_loops():
    assert results(run(stages())) == expected()


def test_every_image_comes_out_once():
    timeline = run(stages(detect={"batch": 4}, segment={"batch": 5}))
    assert sorted(outcome.index for outcome in timeline.outcomes[0]) == list(range(len(IMAGES)))


def test_stages_overlap_as_in_a_perfect_pipeline():
    """With a second in each of six stages, n images take n + 5 seconds; one after the other they would take 6 n."""
    clock = VirtualTime()
    images = [Image(name, scales=1, candidates=1) for name in range(10)]
    timeline = run(stages(timed(clock, dict.fromkeys(STAGES, 1.0))), images, clock)
    assert timeline.seconds == len(images) + len(STAGES) - 1
    assert results(timeline) == expected(images)
    at_once = {
        (a.stage, b.stage) for a in timeline.spans for b in timeline.spans if a.start < b.end and b.start < a.end
    }
    assert {(a, b) for a in STAGES for b in STAGES} == at_once


def test_a_stage_with_more_workers_is_as_much_faster():
    images = [Image(name, scales=1, candidates=1) for name in range(12)]

    def seconds(workers):
        clock = VirtualTime()
        return run(stages(timed(clock, {"read": 6.0}), read={"workers": workers}), images, clock).seconds

    assert [seconds(workers) for workers in (1, 2, 3, 12)] == [72, 36, 24, 6]


def test_stages_on_one_server_take_turns():
    clock, gpu = VirtualTime(), Server("gpu")
    costs = {"detect": (gpu, 2.0), "segment": (gpu, 1.0)}
    images = [Image(name, scales=1, candidates=1) for name in range(8)]
    timeline = run(stages(timed(clock, costs)), images, clock)
    assert timeline.seconds == gpu.busy == 8 * 3
    working = sorted((span.start, span.end) for span in timeline.spans if span.stage in costs)
    assert all(end <= start for (_, end), (start, _) in pairwise(working))


def test_the_course_of_events_is_the_same_each_time():
    def course():
        clock = VirtualTime()
        given = stages(timed(clock, {"read": 3.0, "detect": 1.0, "segment": 2.0}), read={"workers": 2})
        timeline = run(given, IMAGES, clock)
        return timeline.spans, timeline.samples, [outcome.index for outcome in timeline.outcomes[0]]

    assert course() == course()


# Batches.


def test_batches_are_full_while_more_can_come():
    calls = Calls()
    images = [Image(name, scales=1, candidates=1) for name in range(10)]
    run(stages(calls, detect={"batch": 4}, segment={"batch": 3}), images)
    assert [len(names) for names in calls.of("detect")] == [4, 4, 2]
    assert [len(names) for names in calls.of("segment")] == [3, 3, 3, 1]


def test_batches_are_full_though_images_trickle():
    clock, calls = VirtualTime(), Calls()
    images = [Image(name, scales=1, candidates=1) for name in range(10)]
    slow = timed(clock, {"read": 5.0, "detect": 0.1})
    run(stages(lambda name, work: slow(name, calls(name, work)), detect={"batch": 4}), images, clock)
    assert [len(names) for names in calls.of("detect")] == [4, 4, 2]


def test_a_batch_gathers_candidates_of_several_images():
    calls = Calls()
    images = [Image(0, candidates=3), Image(1, candidates=0), Image(2, candidates=1), Image(3, candidates=4)]
    assert results(run(stages(calls, segment={"batch": 4}), images)) == expected(images)
    assert calls.of("segment") == [(0, 0, 0, 2), (3, 3, 3, 3)]


def test_only_units_of_one_key_share_a_batch():
    seen = []

    def around(name, work):
        def watched(units):
            seen.append((name, [unit[1] for unit in units] if name == "detect" else []))
            return work(units)

        return watched

    images = [Image(name, scales=2 + name % 2) for name in range(9)]
    assert results(run(stages(around, detect={"batch": 3}), images)) == expected(images)
    batches = [scales for name, scales in seen if name == "detect"]
    assert all(len(set(scales)) == 1 for scales in batches)
    assert sorted(map(len, batches)) == [1, 3, 3, 3, 3, 3, 3, 3]  # 9, 9 and 4 units


def test_a_batch_that_a_full_stage_cannot_fill_starts():
    calls = Calls()
    images = [Image(name, scales=1, candidates=1) for name in range(5)]
    assert results(run(stages(calls, detect={"batch": 4, "room": 2}), images)) == expected(images)
    assert [len(names) for names in calls.of("detect")] == [2, 2, 1]


def test_a_batch_that_a_spent_budget_cannot_fill_starts():
    calls, budget = Calls(), Budget(30)
    images = [Image(name, scales=1, candidates=1) for name in range(7)]
    timeline = run(stages(calls, detect={"batch": 4}), images, holds=[Hold(budget, lambda image: image.size)])
    assert results(timeline) == expected(images)
    assert [len(names) for names in calls.of("detect")] == [3, 3, 1]


def test_the_oldest_unit_goes_first_among_full_batches():
    order = []

    def around(name, work):
        if name != "detect":
            return work

        def watched(units):
            order.append(units[0][1])
            return work(units)

        return watched

    images = [Image(name, scales=3) for name in range(4)]
    run(stages(around, detect={"batch": 2}), images)
    assert order == [0, 1, 2, 0, 1, 2]


# What is bounded.


def watching_insides(clock, given, images, **options):
    """Run; return the timeline and the most images that each stage held."""
    most = dict.fromkeys(STAGES, 0)
    board = Board(given, sample=clock.sampler(0), **options)

    def look(*_):
        for stage, state in zip(board.stages, board._states, strict=True):
            most[stage.name] = max(most[stage.name], state.inside)

    board._sample = look
    return clock.run([board], [images]), most


@pytest.mark.parametrize("slow", STAGES)
def test_no_stage_holds_more_than_its_room(slow):
    clock = VirtualTime()
    rooms = {name: {"room": 1 + number % 3} for number, name in enumerate(STAGES)}
    given = stages(timed(clock, {slow: 5.0}), **rooms)
    timeline, most = watching_insides(clock, given, [Image(name) for name in range(20)])
    assert all(most[name] <= rooms[name]["room"] for name in STAGES)
    # And the room is used, by all before the slow one.
    before = STAGES[: STAGES.index(slow) + 1]
    assert {name: most[name] for name in before} == {name: rooms[name]["room"] for name in before}
    assert len(timeline.outcomes[0]) == 20


def test_a_slow_end_stops_the_reader():
    """Until the last stage has done its first image, only as many are read as there is room for."""
    clock, reads = VirtualTime(), []

    def log(name, units, what):
        if name == "read" and what == "begins":
            reads.append(clock.now)

    given = stages(timed(clock, {"record": 100.0}, log))
    run(given, [Image(name) for name in range(50)], clock)
    assert sum(at < 100 for at in reads) == sum(stage.room for stage in given)
    # Afterwards one is read for each that is done.
    assert [sum(at < 100 * n for at in reads) for n in (2, 3)] == [
        sum(stage.room for stage in given) + n for n in (1, 2)
    ]


def test_bytes_are_taken_before_an_image_enters_and_given_back_when_it_leaves():
    clock, budget = VirtualTime(), Budget(25)
    inside, most = set(), []

    def log(name, units, what):
        if name == "read" and what == "begins":
            inside.add(units[0].name)
        if name == "record" and what == "ends":
            inside.discard(units[0].image.name)
        most.append(sum(IMAGES[name].size for name in inside))

    given = stages(timed(clock, dict.fromkeys(STAGES, 1.0), log))
    timeline = run(given, IMAGES, clock, holds=[Hold(budget, lambda image: image.size)])
    assert results(timeline) == expected()
    assert max(most) == budget.peak == 20  # two images of 10
    assert budget.taken == 0
    counted = [sample.value for sample in timeline.samples if sample.name == "device memory"]
    assert max(counted) == 20
    assert counted[-1] == 0
    assert max(sample.value for sample in timeline.samples if sample.name == INSIDE) == 2


def test_an_image_that_is_too_large_for_the_device_fails_and_nobody_waits_for_it():
    budget = Budget(25)
    images = [Image(0), Image(1, size=26), Image(2)]
    timeline = run(stages(), images, holds=[Hold(budget, lambda image: image.size)])
    found = results(timeline)
    assert found.pop(1) == "too-large: the image needs more device memory than there is: 26"
    assert found == {0: truth(images[0]), 2: truth(images[2])}
    assert budget.taken == 0


def test_a_large_image_is_not_overtaken_for_ever():
    clock, budget = VirtualTime(), Budget(40)
    sizes = [10, 10, 40, 10, 10, 10]
    images = [Image(name, size=size) for name, size in enumerate(sizes)]
    timeline = run(stages(timed(clock, {"record": 1.0})), images, clock, holds=[Hold(budget, lambda image: image.size)])
    assert [outcome.index for outcome in timeline.outcomes[0]] == [0, 1, 2, 3, 4, 5]
    assert budget.peak == 40


def test_buffers_are_lent_to_one_image_each_until_they_are_uploaded():
    clock, pool = VirtualTime(), Pool(["a", "b"])
    lent = {}

    def log(name, units, what):
        if name == "read" and what == "begins":
            image, buffer = units[0]
            assert buffer not in lent.values()
            lent[image.name] = buffer
        if name == "upload" and what == "ends":
            del lent[units[0].image.name]
        assert len(lent) <= 2

    read = {"work": lambda units: stages()[0].work([image for image, _ in units])}
    given = stages(read=read)
    slow = timed(clock, {"upload": 1.0, "record": 10.0}, log)
    given = [Stage(**{**fields_of(stage), "work": slow(stage.name, stage.work)}) for stage in given]
    board = {"holds": [Hold(pool, until="upload")], "enter": lambda image, held: (image, held[0])}
    timeline = run(given, IMAGES, clock, **board)
    assert results(timeline) == expected()
    assert pool.taken == 0
    # Two buffers are enough for more images than two on their way.
    assert max(sample.value for sample in timeline.samples if sample.name == INSIDE) > 2


def fields_of(stage):
    return {name: getattr(stage, name) for name in Stage.__slots__}


def test_all_holds_are_taken_or_none():
    """An image that waits for one thing holds none of the others meanwhile."""
    budget, pool = Budget(100), Pool(["only"])
    board = Board(stages(), holds=[Hold(budget, lambda image: image.size), Hold(pool)])
    asked = board.open()
    board.offer(board.ticket(asked, 0, Image(0)))
    assert asked.offered is None
    board.offer(board.ticket(asked, 1, Image(1)))
    assert asked.offered is not None
    assert (budget.taken, pool.taken) == (10, 1)


def test_what_makes_no_pipeline_is_refused():
    with pytest.raises(ValueError, match=r"stages: got \[\]"):
        Board([])
    twice = Stage(name="a", work=one(lambda x: x))
    with pytest.raises(ValueError, match="each with a name of its own"):
        Board([twice, twice])
    with pytest.raises(ValueError, match=r"until \['b'\], expected one of"):
        Board([twice], [Hold(Budget(1), until="b")])
    for wrong in ({"batch": 0}, {"workers": 0}, {"room": -1}):
        with pytest.raises(ValueError, match="expected 1 or more"):
            Stage(name="a", work=one(lambda x: x), **wrong)
