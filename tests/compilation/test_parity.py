import dataclasses
import io
import time

import numpy as np
import pytest
import torch
from torch import nn

from mammofast.compilation import parity, samples
from mammofast.compilation.random_weights import settle
from mammofast.compilation.sources import from_module
from mammofast.engine import Engine, TensorSpec
from mammofast.errors import EngineError
from mammofast.models.interfaces import Probabilities

SIZE = (32, 24)


class Double(nn.Module):
    def forward(self, x):
        return 2 * x


@pytest.fixture
def source():
    return from_module("double", Double(), "image", 1, [SIZE, (16, 16)], ["mask"], True)


class Fake(Engine):
    """Gives twice its input, changed by ``change``."""

    def __init__(self, change=lambda x, y: y):
        shape = (None, 1, None, None)
        super().__init__((TensorSpec("image", shape, "float32"),), (TensorSpec("mask", shape, "float32"),))
        self._change = change

    def _run(self, tensors):
        return {"mask": self._change(tensors["image"], 2 * tensors["image"])}

    def _close(self):
        pass


def gate(source, engine, precision="fp32", budget=None):
    cases = parity.make_cases(source)
    measured = parity.measure(engine, source, cases, parity.budgets(source, cases, precision, budget))
    parity.check(source.name, measured, precision)
    return measured["mask"]


def test_cases_are_a_phantom_at_every_size_and_noise(source):
    cases = parity.make_cases(source)
    assert [case.input.shape for case in cases] == [(1, 1, *SIZE), (1, 1, *SIZE), (1, 1, 16, 16)]
    for case in cases:
        np.testing.assert_array_equal(case.outputs["mask"], 2 * case.input)
    phantom, noise, _ = (case.input for case in cases)
    assert 0 <= phantom.min() < 0.01 < 0.5 < phantom.max() <= 1
    assert (phantom == 0).mean() > 0.1  # air around a breast
    assert 0.4 < noise.mean() < 0.6
    np.testing.assert_array_equal(samples.real(3, SIZE), np.repeat(phantom, 3, axis=1))


def test_an_equal_engine_passes_and_its_errors_are_told(source):
    measured = gate(source, Fake())
    assert (measured.max_abs, measured.mean_abs, measured.budget) == (0, 0, 1e-4)
    assert measured.largest == 2.0


@pytest.mark.parametrize("precision, inside, outside", [("fp32", 0.9e-4, 1.1e-4), ("fp16", 0.019, 0.021)])
def test_the_budget_is_where_it_is_stated(source, precision, inside, outside):
    assert gate(source, Fake(lambda x, y: y + np.float32(inside)), precision).max_abs == pytest.approx(inside, rel=0.01)
    with pytest.raises(EngineError, match=r"double: the engine differs from its network: 'mask' by .*allowed"):
        gate(source, Fake(lambda x, y: y + np.float32(outside)), precision)


def test_a_single_wrong_pixel_at_the_second_size_is_seen(source):
    def change(x, y):
        if x.shape[2:] == (16, 16):
            y[0, 0, 3, 5] += 1
        return y

    with pytest.raises(EngineError, match="'mask' by 1 "):
        gate(source, Fake(change))


def test_a_stated_budget_replaces_the_precisions(source):
    off = Fake(lambda x, y: y + np.float32(0.01))
    assert gate(source, off, budget=0.011).budget == 0.011
    with pytest.raises(EngineError, match="differs"):
        gate(source, off, budget=0.009)


def test_of_raw_outputs_the_budget_is_a_part_of_the_largest_value(source):
    raw = dataclasses.replace(source, probabilities=False)
    cases = parity.make_cases(raw)
    largest = max(case.outputs["mask"].max() for case in cases)
    assert parity.budgets(raw, cases, "fp32", None) == {"mask": pytest.approx(1e-4 * largest)}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_past_every_budget(source, value):
    with pytest.raises(EngineError, match="differs"):
        gate(source, Fake(lambda x, y: np.full_like(y, value)), budget=0.999)


def test_a_reference_that_is_not_finite_is_refused():
    class Broken(nn.Module):
        def forward(self, x):
            return torch.log(x - 2)

    with pytest.raises(EngineError, match="NaN or infinite before it is compiled"):
        parity.make_cases(from_module("broken", Broken(), "image", 1, [SIZE], ["mask"], True))


def test_equal_rows_of_a_batch_must_give_equal_results(source):
    def change(x, y):
        if len(y) > 1:
            y[-1] += np.float32(1e-6)
        return y

    with pytest.raises(EngineError, match="equal rows of a batch gave different 'mask'"):
        gate(source, Fake(change))


def test_another_shape_is_refused(source):
    with pytest.raises(EngineError, match="expected"):
        gate(source, Fake(lambda x, y: y[..., :-1]))


def test_cases_are_packed_as_a_bundle_keeps_them_and_the_same_every_time(source):
    cases = parity.make_cases(source)
    packed = parity.pack(cases, "image")
    time.sleep(2.1)  # zips note the time to two seconds
    assert parity.pack(cases, "image") == packed
    with np.load(io.BytesIO(packed), allow_pickle=False) as file:
        assert sorted(file.files) == sorted(f"{k}.{name}" for k in range(3) for name in ("input.image", "output.mask"))
        for k, case in enumerate(cases):
            np.testing.assert_array_equal(file[f"{k}.input.image"], case.input)
            np.testing.assert_array_equal(file[f"{k}.output.mask"], case.outputs["mask"])


class Channels(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.classes = classes

    def forward(self, x):
        return torch.cat([(k + 1) * x[:, :1] for k in range(self.classes)], dim=1)


@pytest.mark.parametrize(
    "classes, output, expected",
    [
        (1, "logits", lambda x: 1 / (1 + np.exp(-x))),
        (2, "logits", lambda x: np.exp(2 * x) / (np.exp(x) + np.exp(2 * x))),
        (3, "logits", lambda x: np.exp(2 * x) / (np.exp(x) + np.exp(2 * x) + np.exp(3 * x))),
        (1, "probability", lambda x: x),
        (2, "probability", lambda x: 2 * x),
        (1, "tanh", lambda x: (x + 1) / 2),
        (3, "tanh", lambda x: (x + 1) / 2),
    ],
)
def test_a_mask_is_the_foregrounds_probability(classes, output, expected):
    x = np.random.default_rng(0).normal(size=(2, 1, 4, 5)).astype(np.float32)
    found = Probabilities(Channels(classes), output)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, expected(x), atol=1e-6)


def test_one_grey_channel_becomes_as_many_as_a_network_wants():
    wrapped = Probabilities(nn.Conv2d(3, 1, 1, bias=False), "probability", replicate=3)
    x = torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(wrapped(x), x * wrapped.network.weight.sum())


def test_settled_weights_keep_signals_at_their_size():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3), *(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()) for _ in range(20))]
    network = nn.Sequential(*layers, nn.BatchNorm2d(8), nn.Conv2d(8, 1, 1))
    fixed = nn.Conv2d(1, 1, 1).requires_grad_(False)
    kept = fixed.weight.clone()
    network.append(fixed)
    images = torch.rand(2, 1, 16, 16)
    settle(network, images)
    with torch.no_grad():
        before_last = network[:-1](images)
    assert before_last.square().mean().sqrt() == pytest.approx(1, rel=1e-4)
    torch.testing.assert_close(fixed.weight, kept)
    assert not network.training
