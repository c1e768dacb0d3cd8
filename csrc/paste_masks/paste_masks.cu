// A warp stretches a tile: each lane four neighbouring columns, whose taps it keeps, down the rows, whose taps the
// lanes share; a source row is stretched across once for all target rows between it and the next. Tiles of all crops
// are dealt to the warps in turn, since boxes, and so the number of tiles, may be known on the device only.
#include "paste_masks.h"

#include <algorithm>

#include "../core/bilinear.h"
#include "../core/checks.h"
#include "../core/half.h"
#include "../core/launch.h"
#include "../core/status.h"
#include "targets.cuh"

namespace mammofast {
namespace {

template <typename T>
__device__ void stretch(const T* row, const Tap* taps, float* out) {
#pragma unroll
    for (int j = 0; j < LANE_COLS; ++j)
        out[j] = blend(value_of(row[taps[j].low]), value_of(row[taps[j].high]), taps[j].weight);
}

__device__ void copy(const float* from, float* to) {
#pragma unroll
    for (int j = 0; j < LANE_COLS; ++j) to[j] = from[j];
}

// A tile's share of its crop's values, whether or not their pixels are visible.
template <typename T>
__device__ bool all_finite(const T* values, int64_t size, int64_t tile, int64_t tiles) {
    const int64_t share = (size + tiles - 1) / tiles;
    const int64_t end = (tile + 1) * share < size ? (tile + 1) * share : size;
    bool bad = false;
    for (int64_t i = tile * share + threadIdx.x % 32; i < end; i += 32) bad |= !is_finite(value_of(values[i]));
    return !__any_sync(ALL_LANES, bad);
}

template <typename T, typename Writer>
__device__ void stretch_tile(const T* values, int32_t rows, int32_t cols, const Place& place, int64_t tile,
                             float threshold, Writer writer) {
    const int lane = threadIdx.x % 32;
    const int64_t across = place.tiles_across();
    const int64_t x = place.first_col() + tile % across * TILE_COLS + lane * LANE_COLS;
    const int32_t y = static_cast<int32_t>(place.top + tile / across * TILE_ROWS);

    Tap taps[LANE_COLS];
    int visible = 0;
#pragma unroll
    for (int j = 0; j < LANE_COLS; ++j) {
        const int64_t inside = x + j < place.left ? place.left : x + j < place.right ? x + j : place.right - 1;
        taps[j] = bilinear_tap(inside - place.x_min, cols, place.x_max - place.x_min);
        visible |= (inside == x + j) << (LANE_COLS - 1 - j);
    }
    const int64_t inside = y < place.bottom - lane ? y + lane : place.bottom - 1;
    const Tap own = bilinear_tap(inside - place.y_min, rows, place.y_max - place.y_min);

    float upper[LANE_COLS], lower[LANE_COLS];
    int32_t upper_row = -1, lower_row = -1;  // of the source, held in upper and lower
    const int n = static_cast<int>(place.bottom - y < TILE_ROWS ? place.bottom - y : TILE_ROWS);
    for (int r = 0; r < n; ++r) {
        const int32_t low = __shfl_sync(ALL_LANES, own.low, r), high = __shfl_sync(ALL_LANES, own.high, r);
        const float weight = __shfl_sync(ALL_LANES, own.weight, r);
        if (low != upper_row) {
            if (low == lower_row)
                copy(lower, upper);
            else
                stretch(values + int64_t(low) * cols, taps, upper);
            upper_row = low;
        }
        if (high != lower_row) {
            if (high == upper_row)
                copy(upper, lower);
            else
                stretch(values + int64_t(high) * cols, taps, lower);
            lower_row = high;
        }
        int pixels = 0;
#pragma unroll
        for (int j = 0; j < LANE_COLS; ++j)
            pixels |= (blend(upper[j], lower[j], weight) >= threshold) << (LANE_COLS - 1 - j);
        writer.write(y + r, x, pixels & visible);
    }
    writer.finish(x);
}

template <typename T, typename Target>
__device__ void paste_tile(const CropStack<T>& crops, const Target& target, int64_t crop, int64_t tile,
                           float threshold) {
    const Place place = target.place(crop);
    const int64_t size = crops.rows * crops.cols;
    const T* values = crops.data + crop * size;
    const bool finite = all_finite(values, size, tile, place.tiles(size));
    if (threadIdx.x % 32 == 0) {
        if (!finite) atomicOr(target.status_of(crop), STATUS_NOT_FINITE);
        if (!place.sound) atomicOr(target.status_of(crop), STATUS_UNSOUND);
    }
    if (tile < place.visible_tiles())
        stretch_tile(values, static_cast<int32_t>(crops.rows), static_cast<int32_t>(crops.cols), place, tile, threshold,
                     target.writer(crop));
}

// Crops are looked at 32 at a time, a lane each, to see whose tile is the warp's next.
template <typename T, typename Target>
__global__ void __launch_bounds__(THREADS, RESIDENT_BLOCKS)
    paste(const CropStack<T> crops, const Target target, float threshold) {
    const int lane = threadIdx.x % 32;
    const int64_t warps = int64_t(gridDim.x) * WARPS, size = crops.rows * crops.cols;
    int64_t next = int64_t(blockIdx.x) * WARPS + threadIdx.x / 32;
    for (int64_t first = 0, before = 0; first < crops.n; first += 32) {
        const int64_t own = first + lane < crops.n ? target.place(first + lane).tiles(size) : 0;
        int64_t end = before + own;
        for (int step = 1; step < 32; step *= 2) {
            const int64_t other = __shfl_up_sync(ALL_LANES, end - before, step);
            if (lane >= step) end += other;
        }
        before = __shfl_sync(ALL_LANES, end, 31);
        for (; next < before; next += warps) {
            const int owner = __popc(__ballot_sync(ALL_LANES, end <= next));
            paste_tile(crops, target, first + owner, next - __shfl_sync(ALL_LANES, end - own, owner), threshold);
        }
    }
}

__global__ void __launch_bounds__(THREADS) clear_found(PackedMasks masks, int64_t n) {
    const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    masks.areas[i] = masks.status[i] = 0;
    for (int side = 0; side < 4; ++side) masks.boxes[4 * i + side] = 0;
}

// Boxes from what Writer::finish left.
__global__ void __launch_bounds__(THREADS) finish_boxes(PackedTarget target, int64_t n) {
    const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n || target.masks.areas[i] == 0) return;
    int32_t* box = target.masks.boxes + 4 * i;
    box[0] = target.windows[i].cols - box[0];
    box[1] = target.windows[i].rows - box[1];
}

template <typename T, typename Target>
void launch_paste(CropStack<T> crops, const Target& target, float threshold, int64_t most_tiles, void* stream) {
    const int64_t blocks = std::clamp<int64_t>((most_tiles + WARPS - 1) / WARPS, 1, blocks_at_once(RESIDENT_BLOCKS));
    launch("paste_masks", paste<T, Target>, dim3(static_cast<unsigned>(blocks)), dim3(THREADS), 0, stream, crops,
           target, threshold);
}

}  // namespace

template <typename T>
void paste_masks_cuda(CropStack<T> crops, const int32_t* boxes, const int32_t* images, float threshold, MaskStack masks,
                      int32_t* status, void* stream) {
    const auto queue = static_cast<cudaStream_t>(stream);
    const size_t pixels = static_cast<size_t>(masks.n) * masks.rows * masks.cols;
    if (pixels > 0) check(cudaMemsetAsync(masks.data, 0, pixels, queue), "paste_masks");
    if (masks.n > 0) check(cudaMemsetAsync(status, 0, sizeof(int32_t) * masks.n, queue), "paste_masks");
    if (crops.n == 0 || masks.n == 0) return;
    const Place largest{0, 0, masks.cols, masks.rows, 0, 0, masks.cols, masks.rows, true, true};
    const int64_t most_tiles = crops.n * (largest.tiles(crops.rows * crops.cols) + largest.tiles_down());
    launch_paste(crops, DenseTarget{boxes, images, masks, status}, threshold, most_tiles, stream);
}

template <typename T>
void paste_packed_cuda(CropStack<T> crops, const Window* windows, float threshold, PackedMasks masks, void* stream) {
    const int64_t size = crops.rows * crops.cols;
    for (int64_t first = 0; first < crops.n; first += WINDOWS_A_LAUNCH) {
        const CropStack<T> part{crops.data + first * size, std::min<int64_t>(crops.n - first, WINDOWS_A_LAUNCH),
                                crops.rows, crops.cols};
        PackedTarget target{{}, {masks.bits, masks.areas + first, masks.boxes + 4 * first, masks.status + first}};
        std::copy_n(windows + first, part.n, target.windows);
        int64_t tiles = 0;
        for (int64_t i = 0; i < part.n; ++i) tiles += place_of(target.windows[i]).tiles(size);
        const dim3 grid(blocks_for(part.n, THREADS));
        launch("paste_packed", clear_found, grid, dim3(THREADS), 0, stream, target.masks, part.n);
        launch_paste(part, target, threshold, tiles, stream);
        launch("paste_packed", finish_boxes, grid, dim3(THREADS), 0, stream, target, part.n);
    }
}

template void paste_masks_cuda(CropStack<float>, const int32_t*, const int32_t*, float, MaskStack, int32_t*, void*);
template void paste_masks_cuda(CropStack<uint16_t>, const int32_t*, const int32_t*, float, MaskStack, int32_t*, void*);
template void paste_packed_cuda(CropStack<float>, const Window*, float, PackedMasks, void*);
template void paste_packed_cuda(CropStack<uint16_t>, const Window*, float, PackedMasks, void*);

}  // namespace mammofast
