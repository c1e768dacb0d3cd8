import pytest

from mammofast.pipeline import Budget, Hold, Pool
from mammofast.pipeline.board import Board
from mammofast.pipeline.virtual import VirtualTime
from tests.pipeline.simulated import SimulatedDevice
from tests.pipeline.toy import MANY, Image, stages, truth


def test_a_budget_lends_what_it_has_and_no_more():
    budget = Budget(10)
    first = budget.take(6)
    assert budget.take(5) is None
    assert budget.taken == 6
    second = budget.take(4)
    assert (budget.taken, budget.peak) == (10, 10)
    first.give_back()
    assert budget.taken == 4
    second.give_back()
    assert (budget.taken, budget.peak) == (0, 10)


def test_what_is_given_back_twice_is_an_error_and_counts_once():
    budget = Budget(10)
    lease, _ = budget.take(4), budget.take(4)
    lease.give_back()
    with pytest.raises(RuntimeError, match="given back twice"):
        lease.give_back()
    assert budget.taken == 4


def test_an_image_that_never_fits_is_known():
    assert Budget(10).suffices(10)
    assert not Budget(10).suffices(11)
    assert Budget(0).take(0) is not None
    assert Pool("ab").suffices(1)


def test_a_pool_lends_each_buffer_to_one():
    pool = Pool(["a", "b"])
    leases = [pool.take(), pool.take()]
    assert {lease.value for lease in leases} == {"a", "b"}
    assert pool.taken == 2
    assert pool.take() is None
    leases[0].give_back()
    assert pool.take().value == leases[0].value


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="total: got -1"):
        Budget(-1)
    with pytest.raises(ValueError, match="amount: got -1"):
        Budget(1).take(-1)
    with pytest.raises(ValueError, match="buffers: got none"):
        Pool([])


@pytest.mark.parametrize(("total", "fits"), [(60, True), (10**9, False)])
def test_a_budget_keeps_a_device_from_running_out(total, fits):
    """Images hold what their calls will take together: with a budget no call finds the device full."""
    clock, refused = VirtualTime(), []
    device = SimulatedDevice(clock, memory=60)
    device.server.lines = 10

    def network(compute, unit_bytes):
        work = device.engine(compute, lambda n: 1.0, image=lambda unit: unit[0].image.name, unit_bytes=unit_bytes)

        def watched(units):
            try:
                return work(units)
            except MemoryError:
                refused.append(len(units))
                raise

        return watched

    changes = {
        "detect": {
            "work": network(lambda unit: (unit[0].value * 7 + unit[1]) % MANY, lambda unit: 6),
            "workers": 4,
            "batch": 2,
            "room": 20,
        },
        "segment": {
            "work": network(lambda unit: (unit[0].value * 11 + unit[1]) % MANY, lambda unit: 9),
            "workers": 4,
            "batch": 2,
            "room": 20,
        },
    }
    images = [Image(name, scales=3, candidates=2, size=18) for name in range(30)]
    budget = Budget(total)
    timeline = clock.run([Board(stages(**changes), [Hold(budget, lambda image: image.size)])], [images])
    assert [found.item for found in sorted(timeline.outcomes[0], key=lambda found: found.index)] == list(
        map(truth, images)
    )
    assert (refused == []) == fits
    assert device.peak <= 60
    assert budget.taken == 0
