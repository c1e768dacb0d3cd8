"""The cases of `mammofast bench ops --device cuda`, their kernels run on the host."""

from pathlib import Path

import pytest

from mammofast.errors import ProfilingError
from mammofast.profiling.device.card import UntimedCard, open_card
from mammofast.profiling.device.contest import EMULATED
from mammofast.profiling.ops.device import OPS, builders, op_cases
from mammofast.profiling.sampling import Effort
from tests.ops import backends

BRIEF = Effort(warm_up=0, seconds=1e-4, at_least=2)


@pytest.fixture
def card(request, monkeypatch):
    backends.make("on_host", request, monkeypatch)
    return UntimedCard(emulated=True, torch_device="cpu")


@pytest.mark.parametrize("op", OPS)
def test_the_cards_results_are_the_cpus_and_every_way_is_timed(card, op):
    built = builders(op, small=True)
    cases = list(op_cases([op], BRIEF, card, None, small=True))
    assert [case.name for case in cases] == list(built)
    for case in cases:
        assert case.warnings == (EMULATED,)
        assert case.facts["emulated"]
        assert case.facts["bytes_moved"] > 0
        assert set(case.facts["host_waits_ms"]) == set(case.samples)
        assert min(map(len, case.samples.values())) >= 2
        assert case.facts["card"] == card.name


def test_every_kernel_has_a_case():
    """What compute-sanitizer does not see, it cannot find."""
    sources = Path(__file__).parents[4] / "csrc"
    if not sources.is_dir():
        pytest.skip("csrc/ is not beside the tests")
    with_kernels = {path.parent.name for path in sources.glob("*/*.cu")}
    assert with_kernels
    assert with_kernels == set(OPS)


def test_an_unknown_op_is_named(card):
    with pytest.raises(ProfilingError, match="got 'nmss', expected one of collect_boxes"):
        next(op_cases(["nms", "nmss"], BRIEF, card, None))


def test_without_the_kernels_nothing_is_opened(monkeypatch):
    from mammofast.ops import _native

    monkeypatch.setattr(_native, "why_no_cuda", lambda: "no NVIDIA driver: install one")
    with pytest.raises(ProfilingError, match="cannot run here: no NVIDIA driver: install one"):
        open_card()
    monkeypatch.setattr(_native, "why_no_cuda", lambda: None)
    with pytest.raises(ProfilingError, match="no card that torch or CuPy sees"):
        open_card()
