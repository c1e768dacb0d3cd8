// Boxes put in blocks of neighbours, so that "who meets this box?" skips most of them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "order.h"

namespace mammofast {

// Boxes along a Morton curve through their centres, 64 to a block; T is double or int32_t.
//
// x_min[s] ... belong to the box at slot s; box[s] is its index in the input, slot[i] the way back. The last block is
// filled up with boxes that meet nothing. Block b covers slots [64 b, 64 (b + 1)) and lies within bounds[.][b].
template <typename T>
struct BoxBlocks {
    static constexpr int64_t SIZE = 64;

    std::vector<T> x_min, y_min, x_max, y_max;
    std::vector<T> block_x_min, block_y_min, block_x_max, block_y_max;
    std::vector<int32_t> box, slot;
    int64_t n_blocks = 0;

    // corners: n x (x_min, y_min, x_max, y_max)
    template <typename S>
    BoxBlocks(const S* corners, int64_t n);
};

// Bits of a byte spread to the even places.
inline uint32_t spread_bits(uint32_t byte) {
    byte = (byte | (byte << 4)) & 0x0F0F;
    byte = (byte | (byte << 2)) & 0x3333;
    return (byte | (byte << 1)) & 0x5555;
}

template <typename T>
template <typename S>
BoxBlocks<T>::BoxBlocks(const S* corners, int64_t n) : slot(n), n_blocks((n + SIZE - 1) / SIZE) {
    // Twice the centre, scaled to 0..255 between the extremes. Only speed depends on it.
    constexpr double HUGE_VALUE = std::numeric_limits<double>::max();
    double low[2] = {HUGE_VALUE, HUGE_VALUE}, high[2] = {-HUGE_VALUE, -HUGE_VALUE};
    for (int64_t i = 0; i < n; ++i) {
        for (int axis = 0; axis < 2; ++axis) {
            const double centre = double(corners[4 * i + axis]) + double(corners[4 * i + axis + 2]);
            low[axis] = std::min(low[axis], centre);
            high[axis] = std::max(high[axis], centre);
        }
    }
    std::vector<uint32_t> keys(n);
    const double scale[2] = {high[0] > low[0] ? 255.0 / (high[0] - low[0]) : 0.0,
                             high[1] > low[1] ? 255.0 / (high[1] - low[1]) : 0.0};
    for (int64_t i = 0; i < n && n_blocks > 1; ++i) {
        for (int axis = 0; axis < 2; ++axis) {
            const double centre = double(corners[4 * i + axis]) + double(corners[4 * i + axis + 2]);
            keys[i] |= spread_bits(static_cast<uint32_t>((centre - low[axis]) * scale[axis])) << axis;
        }
    }
    box = stable_order(keys);

    constexpr T FAR = std::numeric_limits<T>::max(), NEAR = std::numeric_limits<T>::lowest();
    const int64_t slots = n_blocks * SIZE;
    x_min.assign(slots, FAR), y_min.assign(slots, FAR), x_max.assign(slots, NEAR), y_max.assign(slots, NEAR);
    block_x_min.assign(n_blocks, FAR), block_y_min.assign(n_blocks, FAR);
    block_x_max.assign(n_blocks, NEAR), block_y_max.assign(n_blocks, NEAR);
    for (int64_t s = 0; s < n; ++s) {
        const S* corner = corners + 4 * int64_t(box[s]);
        const int64_t b = s / SIZE;
        slot[box[s]] = static_cast<int32_t>(s);
        x_min[s] = corner[0], y_min[s] = corner[1], x_max[s] = corner[2], y_max[s] = corner[3];
        block_x_min[b] = std::min(block_x_min[b], x_min[s]), block_y_min[b] = std::min(block_y_min[b], y_min[s]);
        block_x_max[b] = std::max(block_x_max[b], x_max[s]), block_y_max[b] = std::max(block_y_max[b], y_max[s]);
    }
}

}  // namespace mammofast
