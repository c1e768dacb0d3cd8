// A thread a pixel of a tile. Where tiles come from and go to travels with the launch.
#include <algorithm>

#include "../core/checks.h"
#include "../core/half.h"
#include "../core/launch.h"
#include "../core/status.h"
#include "tiles.h"

namespace mammofast {
namespace {

constexpr int THREADS = 256;
constexpr int MOST_TILES = 64;  // of one launch; an argument may have 4 KB

struct Cut {
    TileSource sources[MOST_TILES];
    TileInputs inputs;
    int32_t first;  // tile of the caller's
};

template <typename T>
struct Stitch {
    TileTarget targets[MOST_TILES];
    TileValues<T> tiles;
    double low, high;
    int32_t* status;
    int32_t first;
};

static_assert(sizeof(Cut) <= 4096 && sizeof(Stitch<float>) <= 4096);

__device__ int32_t mirrored(int32_t i, int32_t size) {
    if (size == 1) return 0;
    const int64_t period = 2 * (int64_t(size) - 1);
    const int64_t place = (i % period + period) % period;
    return static_cast<int32_t>(place < size ? place : period - place);
}

__global__ void __launch_bounds__(THREADS) cut(const Cut task) {
    const TileSource& source = task.sources[blockIdx.y];
    const TileInputs& inputs = task.inputs;
    const int64_t pixels = int64_t(inputs.rows) * inputs.cols, step = int64_t(gridDim.x) * THREADS;
    const int64_t tile = (task.first + int64_t(blockIdx.y)) * inputs.channels * pixels;
    for (int64_t i = int64_t(blockIdx.x) * THREADS + threadIdx.x; i < pixels; i += step) {
        const int32_t row = mirrored(source.top + static_cast<int32_t>(i / inputs.cols), source.rows);
        const int32_t col = mirrored(source.left + static_cast<int32_t>(i % inputs.cols), source.cols);
        const float grey = source.pixels[int64_t(row) * source.cols + col];
        for (int32_t channel = 0; channel < inputs.channels; ++channel) {
            const float value = (grey - inputs.mean[channel]) / inputs.std[channel];
            const int64_t at = tile + channel * pixels + i;
            if (inputs.half)
                static_cast<uint16_t*>(inputs.out)[at] = half_bits(value);
            else
                static_cast<float*>(inputs.out)[at] = value;
        }
    }
}

template <typename T>
__global__ void __launch_bounds__(THREADS) stitch(const Stitch<T> task) {
    const TileTarget& target = task.targets[blockIdx.y];
    const TileValues<T>& tiles = task.tiles;
    const int64_t values = int64_t(tiles.rows) * tiles.cols, step = int64_t(gridDim.x) * THREADS;
    const int64_t tile = task.first + int64_t(blockIdx.y);
    int32_t status = 0;
    for (int64_t i = int64_t(blockIdx.x) * THREADS + threadIdx.x; i < values; i += step) {
        const float value = value_of(tiles.values[tile * values + i]);
        if (!is_finite(value))
            status |= STATUS_NOT_FINITE;
        else if (value < task.low || value > task.high)
            status |= STATUS_UNSOUND;
        const int32_t row = target.top + static_cast<int32_t>(i / tiles.cols);
        const int32_t col = target.left + static_cast<int32_t>(i % tiles.cols);
        if (row >= target.row_begin && row < target.row_end && col >= target.col_begin && col < target.col_end)
            target.map[int64_t(row) * target.cols + col] = value;
    }
    if (status != 0) atomicOr(&task.status[tile], status);
}

}  // namespace

void cut_tiles_cuda(const TileSource* sources, const TileInputs& inputs, void* stream) {
    const int64_t pixels = int64_t(inputs.rows) * inputs.cols;
    if (pixels == 0) return;
    for (int32_t first = 0; first < inputs.tiles; first += MOST_TILES) {
        const int32_t n = std::min(MOST_TILES, inputs.tiles - first);
        Cut task{{}, inputs, first};
        std::copy_n(sources + first, n, task.sources);
        launch("cut_tiles", cut, dim3(blocks_for(pixels, THREADS), static_cast<unsigned>(n)), dim3(THREADS), 0, stream,
               task);
    }
}

template <typename T>
void stitch_tiles_cuda(const TileValues<T>& tiles, const TileTarget* targets, double low, double high, int32_t* status,
                       void* stream) {
    if (tiles.tiles == 0) return;
    check(cudaMemsetAsync(status, 0, tiles.tiles * sizeof *status, static_cast<cudaStream_t>(stream)), "stitch_tiles");
    const int64_t values = int64_t(tiles.rows) * tiles.cols;
    if (values == 0) return;
    for (int32_t first = 0; first < tiles.tiles; first += MOST_TILES) {
        const int32_t n = std::min(MOST_TILES, tiles.tiles - first);
        Stitch<T> task{{}, tiles, low, high, status, first};
        std::copy_n(targets + first, n, task.targets);
        launch("stitch_tiles", stitch<T>, dim3(blocks_for(values, THREADS), static_cast<unsigned>(n)), dim3(THREADS), 0,
               stream, task);
    }
}

template void stitch_tiles_cuda(const TileValues<float>&, const TileTarget*, double, double, int32_t*, void*);
template void stitch_tiles_cuda(const TileValues<uint16_t>&, const TileTarget*, double, double, int32_t*, void*);

}  // namespace mammofast
