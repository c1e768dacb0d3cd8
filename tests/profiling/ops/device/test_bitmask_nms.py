"""The peer rebuilt for machines without torchvision: its CUDA source run on the host, NumPy in the place of CuPy."""

import ctypes
import sys
import types

import numpy as np
import pytest

from mammofast import ops
from mammofast.profiling.ops.device import bitmask_nms as rebuilt
from mammofast.profiling.ops.device import nms as cases
from mammofast.profiling.ops.nms import draw_boxes
from tests.cuda_on_host import build
from tests.profiling.ops.device.played import OnCard, no_card, on_card

PROGRAM = f"""
#include <algorithm>
#include "{build.CSRC}/core/launch.h"
using std::min;
{rebuilt.SOURCE}
#define EXPORTED extern "C" __attribute__((visibility("default"))) void
EXPORTED run_overlaps(int across, int down, int threads, int n, float threshold, const float* boxes,
                      unsigned long long* words) {{
    mammofast::launch("overlaps", overlaps, dim3(across, down), dim3(threads), 0, nullptr, n, threshold, boxes, words);
    mammofast::check(cudaDeviceSynchronize(), "overlaps");
}}
EXPORTED run_gather(int across, int threads, int n, int blocks, const unsigned long long* words, unsigned char* keep) {{
    mammofast::launch("gather", gather, dim3(across), dim3(threads), 0, nullptr, n, blocks, words, keep);
    mammofast::check(cudaDeviceSynchronize(), "gather");
}}
"""


@pytest.fixture
def cupy(monkeypatch, request, tmp_path, cuda_on_host):
    """NumPy as CuPy, its kernels compiled for the host."""
    source = tmp_path / "bitmask_nms.cu"
    source.write_text(PROGRAM)
    only = [source, build.HERE / "cuda_on_host.cpp"]
    library = ctypes.CDLL(str(build.build(request.config.cache.mkdir("cuda_on_host"), only=only)))

    def argument(value):
        if isinstance(value, np.ndarray):
            assert value.flags.c_contiguous
            return ctypes.c_void_p(value.ctypes.data)
        return ctypes.c_float(value) if isinstance(value, np.float32) else ctypes.c_int(value)

    class RawModule:
        def __init__(self, code):
            assert code == rebuilt.SOURCE

        def get_function(self, name):
            run = getattr(library, f"run_{name}")
            return lambda grid, block, arguments: run(*grid, *block, *map(argument, arguments))

    def concatenate(arrays):
        return np.concatenate(arrays).view(OnCard)

    def empty(shape, dtype):
        return np.full(shape, 1, dtype).view(OnCard)

    played = types.ModuleType("cupy")
    played.__dict__.update(
        RawModule=RawModule, asarray=on_card, argsort=np.argsort, empty=empty, concatenate=concatenate
    )
    monkeypatch.setitem(sys.modules, "cupy", played)


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 200, 1000])
@pytest.mark.parametrize("field", ["uniform", "clustered"])
def test_keeps_what_ours_keeps(field, count, cupy):
    boxes, scores = draw_boxes(field, count, np.random.default_rng(count))
    kept = rebuilt.bitmask_nms(boxes, scores, 0.3)()
    assert np.array_equal(kept, ops.nms(boxes, scores, 0.3))


def test_a_batch_is_compared_image_by_image(cupy):
    drawn = [draw_boxes("clustered", 150, np.random.default_rng(image)) for image in range(3)]
    boxes, scores = (np.stack(each) for each in zip(*drawn, strict=True))
    way = cases.by_bitmask(no_card(), boxes, scores)
    kept = [ops.nms(*image, cases.THRESHOLD) for image in drawn]
    assert way.agrees(kept, way.call())
    assert not way.agrees(kept, way.call()[1:])


def test_more_than_fits_is_refused(cupy):
    with pytest.raises(ValueError, match="boxes: got 0 of them, expected 1 to 262144"):
        rebuilt.bitmask_nms(np.empty((0, 4), np.float32), np.empty(0, np.float32), 0.5)
