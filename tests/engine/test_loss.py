"""A card that answers no more, over the fakes: told from an error that passes, said, and left alone."""

import numpy as np
import pytest

from mammofast.engine import loss
from mammofast.engine.lanes import Lanes
from mammofast.errors import DeviceLostError, EngineError
from tests.engine.fake_card import CudaError, CudaMemoryError
from tests.engine.test_session import SMALL, check, images

LOST = r"card 0 is lost to this process \(the card reports: an illegal memory access.*\); end the process"


def test_an_error_that_stays_is_a_lost_card_for_every_engine_on_it(load, card):
    engine = load()
    other = engine.share()
    x = images(SMALL)
    check(engine.run({"x": x}), x)
    card.dead = True
    for each in (engine, other, engine):
        with pytest.raises(DeviceLostError, match=LOST):
            each.run({"x": x})
    # What it held goes with the process: no call is made that may not return.
    waits = card.waits
    engine.close()
    other.close()
    assert card.waits == waits
    with pytest.raises(EngineError, match="closed"):
        engine.run({"x": x})
    card.allocations.clear()


@pytest.mark.parametrize(
    ("fault", "words"),
    [(CudaError("launch failed"), "the card reports: launch failed"), (CudaMemoryError("x"), "has no memory left")],
)
def test_an_error_that_passes_is_none(load, card, fault, words):
    x = images(SMALL)
    with load() as engine:
        check(engine.run({"x": x}), x)
        card.fault = fault
        with pytest.raises(EngineError, match=words) as caught:
            engine.run({"x": x})
        assert not isinstance(caught.value, DeviceLostError)
        check(engine.run({"x": x}), x)
    assert not loss.is_lost(0)


def test_memory_that_ran_out_on_a_card_that_is_lost_is_said_without_asking_it(load, card):
    """The message of memory that ran out asks the card for figures; a lost one has none."""
    with load() as engine:
        card.fault = CudaMemoryError("out of memory")
        real = card.pycuda.mem_get_info

        def none_to_give():
            raise CudaError("an illegal memory access was encountered")

        card.pycuda.mem_get_info = none_to_give
        with pytest.raises(EngineError, match="it does not say how much it has"):
            engine.buffers({"x": SMALL})
        card.pycuda.mem_get_info = real


def test_lanes_prepare_and_wait_for_their_streams(load, card):
    with load() as engine:
        lanes = Lanes(engine, 3, [{"x": SMALL}])
        assert [each.graphs for each in lanes.engines] == [1, 1, 1]
        assert lanes.nbytes == 500 + 3 * engine.memory.context
        used = card.used
        with lanes.one() as first, lanes.one() as second, lanes.one() as third:
            assert {first, second, third} == set(lanes.engines)
            x = images(SMALL)
            outputs = first.run_on_device(first.upload({"x": x}), first.stream)
            where = outputs["y"].__cuda_array_interface__
        np.testing.assert_array_equal(card.array(where), 2 * x + 1)  # nobody waited but the lane
        assert card.used == used
        lanes.close()
    assert card.allocations == {}


@pytest.mark.parametrize("error", [KeyError("Doe^Jane"), MemoryError(), EngineError("no"), None])
def test_a_lane_whose_card_is_lost_says_so_whatever_went_wrong_first(load, card, error):
    with load() as engine:
        lanes = Lanes(engine, 2)

        def use():
            with lanes.one():
                if error is not None:
                    raise error

        if error is not None:
            with pytest.raises(type(error)):
                use()
        card.dead = True
        for _ in range(3):  # no lane is kept
            with pytest.raises(DeviceLostError, match=LOST) as caught:
                use()
            assert "Doe" not in str(caught.value)
        lanes.close()
    card.allocations.clear()
