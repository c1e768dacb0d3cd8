"""torchvision's NMS for CUDA, rebuilt from its description, for machines without torchvision.

Boxes by falling score are compared in blocks of 64 by 64; a block's thread keeps one box's verdicts on 64 others as the
bits of a word. One thread block then goes through the words in order and gathers what no kept box suppresses.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

SOURCE = r"""
extern "C" __global__ void overlaps(int n, float threshold, const float* boxes, unsigned long long* words) {
    const int row = blockIdx.y, col = blockIdx.x, blocks = gridDim.x;
    if (row > col) return;
    __shared__ float others[64 * 4];
    const int other = col * 64 + threadIdx.x, mine = row * 64 + threadIdx.x;
    for (int i = 0; i < 4; ++i) others[threadIdx.x * 4 + i] = other < n ? boxes[other * 4 + i] : 0.0f;
    __syncthreads();
    if (mine >= n) return;
    const float* a = boxes + mine * 4;
    unsigned long long word = 0;
    for (int i = row == col ? threadIdx.x + 1 : 0; i < 64 && col * 64 + i < n; ++i) {
        const float* b = others + i * 4;
        const float width = fmaxf(fminf(a[2], b[2]) - fmaxf(a[0], b[0]), 0.0f);
        const float height = fmaxf(fminf(a[3], b[3]) - fmaxf(a[1], b[1]), 0.0f);
        const float both = width * height;
        const float either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both;
        if (both / either > threshold) word |= 1ULL << i;
    }
    words[static_cast<long long>(mine) * blocks + col] = word;
}

extern "C" __global__ void gather(int n, int blocks, const unsigned long long* words, unsigned char* keep) {
    __shared__ unsigned long long removed[4096];
    __shared__ unsigned long long kept;
    for (int j = threadIdx.x; j < blocks; j += blockDim.x) removed[j] = 0;
    __syncthreads();
    for (int block = 0; block < blocks; ++block) {
        const int first = block * 64, last = min(first + 64, n);
        if (threadIdx.x == 0) {
            unsigned long long gone = removed[block], bits = 0;
            for (int i = first; i < last; ++i) {
                if (gone >> (i - first) & 1) continue;
                bits |= 1ULL << (i - first);
                gone |= words[static_cast<long long>(i) * blocks + block];
            }
            kept = bits;
        }
        __syncthreads();
        for (int i = first + threadIdx.x; i < last; i += blockDim.x) keep[i] = kept >> (i - first) & 1;
        for (int j = block + 1 + threadIdx.x; j < blocks; j += blockDim.x)
            for (int i = first; i < last; ++i)
                if (kept >> (i - first) & 1) removed[j] |= words[static_cast<long long>(i) * blocks + j];
        __syncthreads();
    }
}
"""
MOST = 4096 * 64  # boxes: what fits the gathering block's shared memory
_THREADS = 256


def bitmask_nms(boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], threshold: float) -> Callable[[], Any]:
    """Return a call that gives the indices it keeps, by falling score, as a CuPy array.

    boxes: float32 (n, 4). scores: float32 (n,), no two alike.
    """
    import cupy

    count = len(scores)
    if not 0 < count <= MOST:
        raise ValueError(f"boxes: got {count} of them, expected 1 to {MOST}")
    blocks = -(-count // 64)
    module = cupy.RawModule(code=SOURCE)
    overlaps, gather = module.get_function("overlaps"), module.get_function("gather")
    on_card = cupy.asarray(boxes), cupy.asarray(scores)

    def call() -> Any:
        order = cupy.argsort(-on_card[1])
        words = cupy.empty((count, blocks), np.uint64)
        keep = cupy.empty(count, np.bool_)
        overlaps((blocks, blocks), (64,), (np.int32(count), np.float32(threshold), on_card[0][order], words))
        gather((1,), (_THREADS,), (np.int32(count), np.int32(blocks), words, keep))
        return order[keep]

    return call
