// Crops are resampled by the kernels of detection_inputs, which keep levels; one more kernel, a block a crop, counts
// the levels in shared memory, makes the table and maps through it.
#include "../core/half.h"
#include "../core/launch.h"
#include "../core/scan.cuh"
#include "../core/scratch.h"
#include "equalize.h"
#include "segmentation_inputs.h"

namespace mammofast {
namespace {

constexpr int THREADS = 512;
constexpr int WARPS = THREADS / 32;

// A count for each warp: neighbours have equal levels, and atomics on one address wait for each other.
__global__ void __launch_bounds__(THREADS) equalize(const uint8_t* levels, int64_t pixels, void* out, bool half) {
    __shared__ int32_t of_warp[WARPS][LEVELS], counts[LEVELS], sums[LEVELS], lowest;
    __shared__ float values[LEVELS];
    const uint8_t* crop = levels + blockIdx.x * pixels;
    const int thread = threadIdx.x;
    for (int i = thread; i < WARPS * LEVELS; i += THREADS) of_warp[i / LEVELS][i % LEVELS] = 0;
    if (thread == 0) lowest = LEVELS - 1;
    __syncthreads();
    for (int64_t i = thread; i < pixels; i += THREADS) atomicAdd(&of_warp[thread / 32][crop[i]], 1);
    __syncthreads();
    if (thread < LEVELS) {
        int32_t count = 0;
        for (int warp = 0; warp < WARPS; ++warp) count += of_warp[warp][thread];
        counts[thread] = sums[thread] = count;
        if (count > 0) atomicMin(&lowest, thread);
    }
    exclusive_scan(sums, LEVELS);
    if (thread < LEVELS) {
        const auto total = static_cast<int32_t>(pixels);
        const int32_t below = counts[lowest];
        int level = 0;
        if (below == total) level = lowest;
        else if (thread > lowest) level = spread_level(sums[thread] + counts[thread] - below, below, total);
        values[thread] = value_of(static_cast<uint8_t>(level));
    }
    __syncthreads();
    for (int64_t i = thread; i < pixels; i += THREADS) {
        const float value = values[crop[i]];
        const int64_t at = blockIdx.x * pixels + i;
        if (half)
            static_cast<uint16_t*>(out)[at] = half_bits(value);
        else
            static_cast<float*>(out)[at] = value;
    }
}

}  // namespace

void segmentation_inputs_cuda(const std::vector<DeviceSource>& crops, const double* windows, DeviceTarget target,
                              Kept kept, int32_t* status, void* stream) {
    if (crops.empty()) return;
    const int64_t pixels = target.rows * target.cols;
    const Scratch<uint8_t> levels(static_cast<int64_t>(crops.size()) * pixels, stream);
    detection_inputs_cuda(crops, windows, {{levels.data(), target.rows, target.cols}}, Kept::LEVEL, Fit::STRETCH,
                          status, stream);
    launch("segmentation_inputs", equalize, dim3(static_cast<unsigned>(crops.size())), dim3(THREADS), 0, stream,
           levels.data(), pixels, target.out, kept == Kept::HALF);
}

}  // namespace mammofast
