// Prefix sums of a thread block.
#pragma once

#include <cstdint>

namespace mammofast {

// values[0, n) become the sums of all that stand before them; returns the sum of all of them. The whole block calls it,
// a multiple of 32 threads; it waits for the block before it reads and after it has written.
// static, else g++ (tests/cuda_on_host) would put what it shares into another section than what kernels share.
__device__ static inline int32_t exclusive_scan(int32_t* values, int64_t n) {
    __shared__ int32_t warp_sums[32];
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    int32_t total = 0;
    for (int64_t first = 0; first < n; first += blockDim.x) {
        __syncthreads();
        const int64_t i = first + threadIdx.x;
        const int32_t value = i < n ? values[i] : 0;
        int32_t sum = value;
        for (unsigned step = 1; step < 32; step *= 2) {
            const int32_t before = __shfl_up_sync(0xffffffffu, sum, step);
            if (lane >= step) sum += before;
        }
        if (lane == 31) warp_sums[warp] = sum;
        __syncthreads();
        int32_t before = total;
        for (unsigned w = 0; w < warps; ++w) {
            if (w < warp) before += warp_sums[w];
            total += warp_sums[w];
        }
        if (i < n) values[i] = before + sum - value;
    }
    __syncthreads();
    return total;
}

}  // namespace mammofast
