// Where pasted crops go: pixels of a mask that others share, or bits of one of their own.
#pragma once

#include "../core/half.h"
#include "../core/launch.h"
#include "../core/status.h"
#include "paste_masks.h"

namespace mammofast {
namespace {

constexpr unsigned ALL_LANES = 0xffffffffu;
constexpr int THREADS = 128, WARPS = THREADS / 32;
constexpr int LANE_COLS = 4, TILE_COLS = 32 * LANE_COLS, TILE_ROWS = 32;
constexpr int64_t TILE_VALUES = TILE_ROWS * TILE_COLS;  // of the crop, at most so many are checked by a tile
constexpr int RESIDENT_BLOCKS = 5;                      // on a multiprocessor at a time, so many fill the device
constexpr int WINDOWS_A_LAUNCH = 128;                   // they travel as an argument, without a copy or a wait

// Where a crop goes. Coordinates are the target's.
struct Place {
    int64_t x_min, y_min, x_max, y_max;  // all of the stretched crop
    int64_t left, top, right, bottom;    // what is visible of it
    bool anywhere, sound;

    // In the target, columns being dealt in whole groups.
    MAMMOFAST_HD int64_t first_col() const { return left / LANE_COLS * LANE_COLS; }
    MAMMOFAST_HD bool visible() const { return left < right && top < bottom; }
    MAMMOFAST_HD int64_t tiles_across() const { return (right - first_col() + TILE_COLS - 1) / TILE_COLS; }
    MAMMOFAST_HD int64_t tiles_down() const { return (bottom - top + TILE_ROWS - 1) / TILE_ROWS; }
    MAMMOFAST_HD int64_t visible_tiles() const { return visible() ? tiles_across() * tiles_down() : 0; }

    // As many as it takes to check the crop's values too.
    MAMMOFAST_HD int64_t tiles(int64_t values) const {
        const int64_t to_check = (values + TILE_VALUES - 1) / TILE_VALUES, seen = visible_tiles();
        return !anywhere ? 0 : to_check > seen ? to_check : seen;
    }
};

MAMMOFAST_HD Place place_of(Window window) {
    return {0, 0, window.cols, window.rows, 0, 0, window.cols, window.rows, true, true};
}

// Four neighbouring pixels, the first one in the highest of four bits.
constexpr int FOUR_SET = 0xf;

// One byte a pixel. Only ones are written, into zeros, so that crops that overlap need not know of each other.
struct DenseTarget {
    const int32_t* boxes;
    const int32_t* images;
    MaskStack masks;
    int32_t* status;

    __device__ int64_t image(int64_t crop) const { return images == nullptr ? 0 : images[crop]; }
    __device__ int32_t* status_of(int64_t crop) const { return status + image(crop); }
    __device__ Place place(int64_t crop) const {
        const int32_t* box = boxes + 4 * crop;
        Place place{box[0], box[1], box[2], box[3], box[0], box[1], box[2], box[3], true, true};
        place.left = place.left < 0 ? 0 : place.left;
        place.top = place.top < 0 ? 0 : place.top;
        place.right = place.right > masks.cols ? masks.cols : place.right;
        place.bottom = place.bottom > masks.rows ? masks.rows : place.bottom;
        place.anywhere = image(crop) >= 0 && image(crop) < masks.n;
        place.sound = box[0] <= box[2] && box[1] <= box[3];
        return place;
    }

    struct Writer {
        uint8_t* mask;
        int32_t cols;

        __device__ void write(int32_t y, int64_t x, int pixels) {
            uint8_t* target = mask + int64_t(y) * cols + x;
            if (pixels == FOUR_SET && reinterpret_cast<uintptr_t>(target) % LANE_COLS == 0) {
                *reinterpret_cast<uint32_t*>(target) = 0x01010101u;
                return;
            }
            for (int j = 0; j < LANE_COLS; ++j)
                if (pixels >> (LANE_COLS - 1 - j) & 1) target[j] = 1;
        }
        __device__ void finish(int64_t) {}
    };
    __device__ Writer writer(int64_t crop) const {
        return {masks.data + image(crop) * masks.rows * masks.cols, static_cast<int32_t>(masks.cols)};
    }
};

// One bit a pixel. Tiles begin at whole bytes, each of which one lane writes.
struct PackedTarget {
    Window windows[WINDOWS_A_LAUNCH];
    PackedMasks masks;

    __device__ int32_t* status_of(int64_t crop) const { return masks.status + crop; }
    __device__ Place place(int64_t crop) const { return place_of(windows[crop]); }

    // Boxes are kept as what atomicMax can find from zero: the distance from the far edge instead of x_min and y_min.
    struct Writer {
        uint8_t* bits;
        int32_t rows, cols, row_bytes;
        int32_t *area, *box;
        int32_t set = 0, any_row = 0;  // pixels of this lane in any row
        int32_t first_row = 0, end_row = 0;

        __device__ void write(int32_t y, int64_t x, int pixels) {
            const int next = __shfl_down_sync(ALL_LANES, pixels, 1);
            if (threadIdx.x % 2 == 0 && x < cols)
                bits[int64_t(y) * row_bytes + x / 8] = static_cast<uint8_t>(pixels << 4 | next);
            set += __popc(pixels);
            any_row |= pixels;
            if (__any_sync(ALL_LANES, pixels)) {
                first_row = end_row == 0 ? y : first_row;
                end_row = y + 1;
            }
        }

        __device__ void finish(int64_t x) {
            if (end_row == 0) return;
            int32_t from_right = 0, end_col = 0;
            if (any_row) {
                from_right = static_cast<int32_t>(cols - x) - (__clz(any_row) - (32 - LANE_COLS));
                end_col = static_cast<int32_t>(x) + LANE_COLS - (__ffs(any_row) - 1);
            }
            for (int step = 16; step > 0; step /= 2) {
                set += __shfl_xor_sync(ALL_LANES, set, step);
                const int32_t other_right = __shfl_xor_sync(ALL_LANES, from_right, step);
                const int32_t other_end = __shfl_xor_sync(ALL_LANES, end_col, step);
                from_right = other_right > from_right ? other_right : from_right;
                end_col = other_end > end_col ? other_end : end_col;
            }
            if (threadIdx.x % 32 != 0) return;
            atomicAdd(area, set);
            atomicMax(box + 0, from_right);
            atomicMax(box + 1, rows - first_row);
            atomicMax(box + 2, end_col);
            atomicMax(box + 3, end_row);
        }
    };
    __device__ Writer writer(int64_t crop) const {
        const Window window = windows[crop];
        return {masks.bits + window.begin, window.rows, window.cols, static_cast<int32_t>(window.row_bytes()),
                masks.areas + crop, masks.boxes + 4 * crop};
    }
};

}  // namespace
}  // namespace mammofast
