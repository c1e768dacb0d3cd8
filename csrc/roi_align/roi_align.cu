// Two kernels: the first finds each bin's taps along each axis, once for all channels; in the second a thread sums a
// bin of a channel, columns before rows, as the CPU does. A third one looks for NaN and Inf in the maps.
#include "roi_align.h"

#include <algorithm>

#include "../core/array.h"
#include "../core/checks.h"
#include "../core/half.h"
#include "../core/launch.h"
#include "../core/scratch.h"
#include "../core/status.h"
#include "roi_align_math.h"

namespace mammofast {
namespace {

constexpr int THREADS = 128;
constexpr int64_t BLOCK_BINS = 2048;               // of one box, all its channels counted, that a block sums
constexpr int64_t TAP_BYTES = int64_t(256) << 20;  // of scratch memory; more boxes are done in turns
constexpr int64_t BLOCKS_AN_IMAGE = 1024, IMAGES_A_LAUNCH = 1 << 15;

struct Tap {
    int32_t pixel;
    float weight;
};

// Taps of k boxes: room for those of each row of bins, then of each column.
struct TapTable {
    Tap* taps;
    int32_t* counts;  // k x (rows + cols)
    int64_t rows, cols;
    int64_t row_room, col_room;  // taps of one bin

    MAMMOFAST_HD int64_t sides() const { return rows + cols; }
    MAMMOFAST_HD int64_t box_room() const { return rows * row_room + cols * col_room; }
    // side: a row of bins, or rows + a column.
    __device__ Tap* of(int64_t box, int64_t side) const {
        Tap* all = taps + box * box_room();
        return side < rows ? all + side * row_room : all + rows * row_room + (side - rows) * col_room;
    }
};

template <typename Index>
__global__ void __launch_bounds__(THREADS) find_taps(const float* boxes, const Index* images, int64_t k, RoiGrid grid,
                                                     Shape map, int64_t n_images, TapTable table, int32_t* status) {
    const int64_t stride = int64_t(gridDim.x) * blockDim.x;
    for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < k * table.sides(); i += stride) {
        const int64_t index = i / table.sides(), side = i % table.sides();
        const float* box = boxes + 4 * index;
        const RoiAxis x = roi_axis(box[0], box[2], grid.spatial_scale, grid.cols, grid.sampling_ratio);
        const RoiAxis y = roi_axis(box[1], box[3], grid.spatial_scale, grid.rows, grid.sampling_ratio);
        const bool sound = is_sound_box(box) && !roi_too_large(x, grid.sampling_ratio) &&
                           !roi_too_large(y, grid.sampling_ratio);
        const bool somewhere = images[index] >= 0 && images[index] < n_images;
        if (somewhere && !sound && side == 0) atomicOr(status + images[index], STATUS_UNSOUND);
        Tap* const taps = table.of(index, side);
        const Tap* end = taps;
        if (somewhere && sound)
            end = side < grid.rows ? roi_bin_taps(y, side, map.rows, taps)
                                   : roi_bin_taps(x, side - grid.rows, map.cols, taps);
        table.counts[i] = static_cast<int32_t>(end - taps);
    }
}

template <typename T, typename Index>
__global__ void __launch_bounds__(THREADS) sum_bins(FeatureStack<T> maps, const Index* images, int64_t k,
                                                    TapTable table, int64_t group, float* out) {
    const int64_t bins = table.rows * table.cols, groups = (maps.channels + group - 1) / group;
    for (int64_t task = blockIdx.x; task < k * groups; task += gridDim.x) {
        const int64_t box = task / groups, first = task % groups * group;
        const int64_t channels = maps.channels - first < group ? maps.channels - first : group;
        const int64_t image = images[box] >= 0 && images[box] < maps.n ? images[box] : 0;  // else there are no taps
        const T* planes = maps.data + (image * maps.channels + first) * maps.rows * maps.cols;
        const int32_t* counts = table.counts + box * table.sides();
        float* target = out + (box * maps.channels + first) * bins;
        for (uint32_t i = threadIdx.x; i < channels * bins; i += THREADS) {
            const uint32_t channel = i / static_cast<uint32_t>(bins), bin = i % static_cast<uint32_t>(bins);
            const uint32_t row = bin / static_cast<uint32_t>(table.cols), col = bin % static_cast<uint32_t>(table.cols);
            const Tap *down = table.of(box, row), *across = table.of(box, table.rows + col);
            const int32_t n_down = counts[row], n_across = counts[table.rows + col];
            const T* plane = planes + channel * maps.rows * maps.cols;
            float sum = 0.0f;
            for (int32_t v = 0; v < n_down; ++v) {
                const T* line = plane + down[v].pixel * maps.cols;
                float part = 0.0f;
                for (int32_t u = 0; u < n_across; ++u) part += across[u].weight * value_of(line[across[u].pixel]);
                sum += down[v].weight * part;
            }
            target[i] = sum;
        }
    }
}

template <typename T>
__global__ void __launch_bounds__(THREADS) find_not_finite(const T* values, int64_t image_size, int32_t* status) {
    const T* image = values + blockIdx.y * image_size;
    const int64_t stride = int64_t(gridDim.x) * THREADS;
    bool bad = false;
#pragma unroll 4
    for (int64_t i = int64_t(blockIdx.x) * THREADS + threadIdx.x; i < image_size; i += stride)
        bad |= !is_finite(value_of(image[i]));
    if (__syncthreads_or(bad) && threadIdx.x == 0) atomicOr(status + blockIdx.y, STATUS_NOT_FINITE);
}

}  // namespace

template <typename T, typename Index>
void roi_align_cuda(FeatureStack<T> features, const float* boxes, const Index* images, int64_t k, RoiGrid grid,
                    float* out, int32_t* status, void* stream) {
    if (features.n > 0)
        check(cudaMemsetAsync(status, 0, sizeof(int32_t) * features.n, static_cast<cudaStream_t>(stream)), "roi_align");
    const int64_t image_size = features.channels * features.rows * features.cols;
    const auto scans = static_cast<unsigned>(std::clamp<int64_t>(image_size / (8 * THREADS), 1, BLOCKS_AN_IMAGE));
    for (int64_t first = 0; first < features.n; first += IMAGES_A_LAUNCH) {
        const auto n = static_cast<unsigned>(std::min(features.n - first, IMAGES_A_LAUNCH));
        launch("roi_align", find_not_finite<T>, dim3(scans, n), dim3(THREADS), 0, stream,
               features.data + first * image_size, image_size, status + first);
    }

    const int64_t samples = grid.sampling_ratio > 0 ? grid.sampling_ratio : MOST_ADAPTIVE_SAMPLES;
    const TapTable plan{nullptr,
                        nullptr,
                        grid.rows,
                        grid.cols,
                        most_roi_taps(samples, features.rows),
                        most_roi_taps(samples, features.cols)};
    const int64_t turn = std::max<int64_t>(TAP_BYTES / (plan.box_room() * int64_t(sizeof(Tap))), 1);
    const int64_t bins = grid.rows * grid.cols, group = std::max<int64_t>(BLOCK_BINS / bins, 1);
    for (int64_t first = 0; first < k; first += turn) {
        const int64_t n = std::min(k - first, turn);
        const Scratch<Tap> taps(n * plan.box_room(), stream);
        const Scratch<int32_t> counts(n * plan.sides(), stream);
        TapTable table = plan;
        table.taps = taps.data(), table.counts = counts.data();
        launch("roi_align", find_taps<Index>, dim3(blocks_for(n * plan.sides(), THREADS)), dim3(THREADS), 0, stream,
               boxes + 4 * first, images + first, n, grid, Shape{features.rows, features.cols}, features.n, table,
               status);
        const int64_t blocks = n * ((features.channels + group - 1) / group);
        launch("roi_align", sum_bins<T, Index>, dim3(blocks_for(blocks, 1)), dim3(THREADS), 0, stream, features,
               images + first, n, table, group, out + first * features.channels * bins);
    }
}

template void roi_align_cuda(FeatureStack<float>, const float*, const int32_t*, int64_t, RoiGrid, float*, int32_t*,
                             void*);
template void roi_align_cuda(FeatureStack<float>, const float*, const int64_t*, int64_t, RoiGrid, float*, int32_t*,
                             void*);
template void roi_align_cuda(FeatureStack<uint16_t>, const float*, const int32_t*, int64_t, RoiGrid, float*, int32_t*,
                             void*);
template void roi_align_cuda(FeatureStack<uint16_t>, const float*, const int64_t*, int64_t, RoiGrid, float*, int32_t*,
                             void*);

}  // namespace mammofast
