"""Ours of every case of `mammofast bench ops`, under pytest-benchmark: `pytest bench`, never in the test command.

For `--benchmark-save`, `--benchmark-compare` and their tables; beside other libraries it is `mammofast bench ops`.
"""

import pytest

from mammofast.profiling.one_core import one_core
from mammofast.profiling.ops import OPS, builders

pytest.importorskip("pytest_benchmark")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the peers' own


@pytest.mark.parametrize("op, name", [(op, name) for op in OPS for name in builders(op)], ids=lambda value: value)
def test_op(op, name, benchmark):
    with one_core():
        contest = builders(op)[name](name)
        contest.check()
        benchmark.group = op
        benchmark.extra_info["reason"] = contest.reason
        benchmark(contest.ours)
