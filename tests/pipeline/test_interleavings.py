"""Many pipelines, images, durations and faults, against what each image is worth by itself."""

import random
import threading
import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mammofast.errors import BrokenImage, EngineError, Reason
from mammofast.pipeline import Budget, Flow, Hold, Pool, run_serially
from mammofast.pipeline.board import Board
from mammofast.pipeline.virtual import Server, VirtualTime
from tests.pipeline.toy import STAGES, Image, image_of, stages, truth

TOTAL = 40
# What a stage does to an image, and the words that must come of it.
ERRORS = {
    "bug": (KeyError("Doe^Jane"), "internal: KeyError"),
    "nan": (BrokenImage(Reason.NOT_FINITE, "NaN"), "not-finite: NaN"),
    "torn": (BrokenImage(Reason.READ, "torn"), "read: torn"),
    "engine": (EngineError("no"), "internal: the network of '{}' could not be run on this image"),
    "memory": (MemoryError(), "too-large: no memory was left for this image in '{}', even alone"),
}
images = st.builds(
    lambda scales, candidates, size: (scales, candidates, size),
    st.integers(0, 3),
    st.integers(0, 5),
    st.integers(0, TOTAL + 4),
)
shapes = st.fixed_dictionaries(
    {
        name: st.builds(
            lambda workers, batch, room: {"workers": workers, "batch": batch, "room": room},
            st.integers(1, 3),
            st.just(1) if name in ("read", "record") else st.integers(1, 5),
            st.integers(0, 6),
        )
        for name in STAGES
    }
)
faults = st.dictionaries(
    st.integers(0, 11), st.tuples(st.sampled_from(STAGES), st.sampled_from(sorted(ERRORS)), st.booleans()), max_size=4
)


class World:
    """One case. around: wraps works so that they fail as they must and are seen to keep the rules."""

    def __init__(self, drawn, shape, faults, spend):
        self.images = [Image(name, *each) for name, each in enumerate(drawn)]
        self.shape, self.faults, self.spend = shape, faults, spend
        self.lock = threading.Lock()
        self.at_work = dict.fromkeys(STAGES, 0)
        self.budget, self.pool = Budget(TOTAL), Pool(range(3))
        self.holds = [Hold(self.budget, lambda image: image.size), Hold(self.pool, until="upload")]

    def stages(self):
        return stages(self._around, **self.shape)

    def expected(self):
        found = {}
        for index, image in enumerate(self.images):
            stage, kind, _ = self.faults.get(index, (None, None, None))
            units = {"detect": image.scales, "segment": image.candidates}
            if image.size > TOTAL:
                found[index] = f"too-large: the image needs more device memory than there is: {image.size}"
            elif stage is not None and units.get(stage, 1):
                found[index] = ERRORS[kind][1].format(stage)
            else:
                found[index] = truth(image)
        return found

    def check(self, outcomes):
        assert {outcome.index: outcome.error or outcome.item for outcome in outcomes} == self.expected()
        assert len(outcomes) == len(self.images)
        self.is_at_rest()

    def is_at_rest(self):
        assert (self.budget.taken, self.pool.taken) == (0, 0)
        assert self.budget.peak <= TOTAL
        assert not any(self.at_work.values())

    def _around(self, name, work):
        def watched(units):
            assert 1 <= len(units) <= self.shape[name]["batch"]
            if name == "detect":
                assert len({scale for _, scale in units}) == 1
            with self.lock:
                self.at_work[name] += 1
                assert self.at_work[name] <= self.shape[name]["workers"]
            try:
                self.spend(name, units)
                names = [image_of(unit).name for unit in units]
                for each in names:
                    stage, kind, own = self.faults.get(each, (None, None, None))
                    if stage == name and not own:
                        raise ERRORS[kind][0]
                outcomes = work(units)
                for i, each in enumerate(names):
                    stage, kind, own = self.faults.get(each, (None, None, None))
                    if stage == name and own:
                        outcomes[i] = ERRORS[kind][0]
                return outcomes
            finally:
                with self.lock:
                    self.at_work[name] -= 1

        return watched


CASES = {"drawn": st.lists(images, max_size=12), "shape": shapes, "faults": faults, "seed": st.integers(0, 2**16)}


@settings(max_examples=400, deadline=None)
@given(**CASES)
def test_in_virtual_time(drawn, shape, faults, seed):
    clock, gpu, cores = VirtualTime(), Server("gpu"), Server("cores", 2)
    dice = random.Random(seed)
    world = World(
        drawn, shape, faults, lambda name, units: clock.spend(dice.choice([gpu, cores]), dice.choice([0, 1, 1, 7]))
    )
    timeline = clock.run([Board(world.stages(), world.holds)], [world.images])
    world.check(timeline.outcomes[0])


@settings(max_examples=100, deadline=None)
@given(**CASES)
def test_in_one_thread(drawn, shape, faults, seed):
    world = World(drawn, shape, faults, lambda name, units: None)
    world.images = [Image(image.name, image.scales, image.candidates, 0) for image in world.images]
    world.check(list(run_serially(world.stages(), world.images)))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(**CASES)
def test_in_threads(drawn, shape, faults, seed):
    dice = random.Random(seed)
    world = World(drawn, shape, faults, lambda name, units: time.sleep(dice.choice([0, 0, 0.0002, 0.001])))
    with Flow(world.stages(), world.holds) as flow:
        found = flow.results(world.images)
        assert [outcome.index for outcome in found] == list(range(len(world.images)))
        world.check(found)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(**CASES)
def test_several_ask_at_once_and_one_gives_up(drawn, shape, faults, seed):
    """Runs share batches; each gets its own, and what another one drops is nobody's loss."""
    dice = random.Random(seed)
    world = World(drawn, shape, faults, lambda name, units: time.sleep(dice.choice([0, 0.0002])))
    with Flow(world.stages(), world.holds) as flow:
        found = {}

        def ask(number):
            found[number] = flow.results(world.images)

        def give_up():
            run = flow.run(world.images)
            for _ in range(min(2, len(world.images))):
                next(run)
            run.close()

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
        threads.append(threading.Thread(target=give_up))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    for number in range(3):
        world.check(found[number])
