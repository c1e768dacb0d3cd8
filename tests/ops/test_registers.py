"""What each CUDA kernel takes of a card, as its compiler counts it, and what it may take."""

import os
import re
from pathlib import Path

import pytest

from mammofast.ops import _native

CSRC = Path(__file__).parents[2] / "csrc"
# 65,536 registers a multiprocessor: 128 leave room for two blocks of 256 threads, 64 for four.
MOST_REGISTERS = 128
MOST_SHARED = 48 * 1024  # bytes; static shared memory cannot be more


@pytest.fixture
def table():
    rows = _native.kernel_resources()
    if not rows:
        reason = "REGISTERS OF CUDA KERNELS NOT CHECKED: built without nvcc"
        (pytest.fail if os.environ.get("MAMMOFAST_CUDA") == "1" else pytest.skip)(reason)
    return rows


def test_kernels_spill_nothing_and_fit(table):
    for row in table:
        print(
            "{kernel:<50} sm_{target:<4} {registers:>4} registers {stack:>6} B stack {shared:>6} B shared".format(**row)
        )
    assert [row for row in table if row["spill_stores"] or row["spill_loads"]] == []
    assert [row for row in table if row["registers"] > MOST_REGISTERS or row["shared"] > MOST_SHARED] == []


def test_every_kernel_is_compiled_for_every_target(table):
    targets = {int(number) for number in _native.cuda_kernels().targets.split(",")}
    kernels = {row["kernel"] for row in table}
    assert {(row["kernel"], row["target"]) for row in table} == {(kernel, n) for kernel in kernels for n in targets}
    if os.environ.get("MAMMOFAST_CUDA_ARCHITECTURES") == "all":
        assert targets == {80, 86, 89, 90, 120}
    written = {path.parent.name for path in CSRC.rglob("*.cu") if "__global__" in path.read_text()}
    assert {kernel.split(":")[0] for kernel in kernels} == written


@pytest.mark.parametrize("path", sorted([*CSRC.rglob("*.cu"), *CSRC.rglob("*.cuh")]), ids=lambda path: path.name)
def test_kernels_name_their_launch_bounds(path):
    """The compiler then keeps a kernel's registers to what a block of that many threads has; else a launch may fail."""
    heads = re.findall(r"__global__ void[^{;]*", path.read_text())
    assert [head for head in heads if "__launch_bounds__" not in head] == []
    assert "<<<" not in path.read_text(), "kernels are launched by core/launch.h"
