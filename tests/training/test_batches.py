"""Which examples stand in which batch: each once an epoch, and none alone where batches have company."""

from types import SimpleNamespace

import pytest

from mammofast.training.batches import Batches


class Taken:
    repeats = 1

    def __init__(self, batch, accumulate):
        self.stage = SimpleNamespace(training=SimpleNamespace(batch=batch, accumulate=accumulate))

    def batch(self, examples, rng, step):
        return examples


@pytest.mark.parametrize("accumulate", [1, 2, 4])
@pytest.mark.parametrize("batch", [1, 2, 4, 5, 8])
@pytest.mark.parametrize("count", range(1, 20))
def test_every_example_once_and_none_alone(count, batch, accumulate):
    batches = Batches(Taken(batch, accumulate), [{"number": k} for k in range(count)], (0, 0))
    made = list(batches.epoch(3))
    assert len(made) == batches.per_epoch
    assert sorted(e["number"] for parts in made for _, part in parts for e in part) == list(range(count))
    assert all(sum(share for share, _ in parts) == pytest.approx(1) for parts in made)
    if count > 1 and batch / accumulate > 1:
        assert min(len(part) for parts in made for _, part in parts) > 1
    assert max(sum(len(part) for _, part in parts) for parts in made) <= batch + (batch > 1)
    later = list(batches.epoch(3, batches.per_epoch - 1))
    assert later == made[-1:]
