// Boxes put in blocks of neighbours, so that "who meets this box?" skips most of them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "order.h"

namespace mammofast {

template <typename T>
std::vector<int32_t> order_of_places(const T* corners, int64_t n);

// Boxes, SIZE to a block; T is float or int32_t.
//
// A box sits at slot s = SIZE * block + place. Places that are free, because the last block is not full or its box was
// taken out, hold a box that meets nothing.
template <typename T>
class BoxBlocks {
  public:
    static constexpr int SIZE = 32;

    struct Block {
        T x_min[SIZE], y_min[SIZE], x_max[SIZE], y_max[SIZE];
        T bounds[4];              // of all boxes it ever held
        int32_t left = 0;         // boxes not taken out
        int32_t near_begin = 0, near_end = 0;
    };

    // corners: n x (x_min, y_min, x_max, y_max)
    // order: of the boxes, any; only speed depends on it. Neighbours should follow each other, unless boxes are few.
    BoxBlocks(const T* corners, int64_t n, std::vector<int32_t> order);

    // Boxes in the order of their places.
    BoxBlocks(const T* corners, int64_t n) : BoxBlocks(corners, n, order_of_places(corners, n)) {}

    int32_t box_at(int64_t slot) const { return box_[slot]; }    // index in the input
    int32_t slot_of(int64_t box) const { return slot_[box]; }

    // Takes a box out. Once only.
    void take(int64_t slot) {
        Block& block = blocks_[slot / SIZE];
        block.x_min[slot % SIZE] = block.y_min[slot % SIZE] = FAR;
        block.x_max[slot % SIZE] = block.y_max[slot % SIZE] = NEAR;
        --block.left;
    }

    // Calls visit(block, its first slot) for each block that holds boxes and whose bounds touch the box that is, or
    // was, at slot; corner is that box.
    template <typename Visit>
    void for_each_near(int64_t slot, const T* corner, Visit visit) const {
        const Block& home = blocks_[slot / SIZE];
        for (int32_t i = home.near_begin; i < home.near_end; ++i) {
            const Block& block = blocks_[near_[i]];
            if (block.left > 0 && touch(block.bounds, corner)) visit(block, int64_t(near_[i]) * SIZE);
        }
    }

  private:
    static constexpr T FAR = std::numeric_limits<T>::max(), NEAR = std::numeric_limits<T>::lowest();

    static bool touch(const T* a, const T* b) {
        return (a[0] <= b[2]) & (a[2] >= b[0]) & (a[1] <= b[3]) & (a[3] >= b[1]);
    }

    std::vector<Block> blocks_;
    std::vector<int32_t> box_, slot_;
    std::vector<int32_t> near_;  // block b's bounds touch those of near_[near_begin .. near_end), itself included
};

// Morton keys of the boxes' centres, 8 bits an axis.
template <typename T>
std::vector<uint32_t> morton_keys(const T* corners, int64_t n) {
    constexpr double LARGEST = std::numeric_limits<double>::max();
    const auto centre = [corners](int64_t i, int axis) {  // twice
        return double(corners[4 * i + axis]) + double(corners[4 * i + axis + 2]);
    };
    const auto spread = [](uint32_t byte) {  // its bits to the even places
        byte = (byte | (byte << 4)) & 0x0F0F;
        byte = (byte | (byte << 2)) & 0x3333;
        return (byte | (byte << 1)) & 0x5555;
    };
    std::vector<uint32_t> keys(n);
    for (int axis = 0; axis < 2; ++axis) {
        double low = LARGEST, high = -LARGEST;
        for (int64_t i = 0; i < n; ++i) low = std::min(low, centre(i, axis)), high = std::max(high, centre(i, axis));
        const double scale = high > low ? 255.0 / (high - low) : 0.0;
        for (int64_t i = 0; i < n; ++i)
            keys[i] |= spread(static_cast<uint32_t>((centre(i, axis) - low) * scale)) << axis;
    }
    return keys;
}

// Boxes along a Morton curve through their centres, so that neighbours follow each other.
template <typename T>
std::vector<int32_t> order_of_places(const T* corners, int64_t n) {
    return stable_order(morton_keys(corners, n));
}

template <typename T>
BoxBlocks<T>::BoxBlocks(const T* corners, int64_t n, std::vector<int32_t> order)
    : blocks_((n + SIZE - 1) / SIZE), box_(std::move(order)), slot_(n) {
    for (int64_t b = 0; b < static_cast<int64_t>(blocks_.size()); ++b) {
        Block& block = blocks_[b];
        T* bounds = block.bounds;
        bounds[0] = bounds[1] = FAR, bounds[2] = bounds[3] = NEAR;
        block.left = static_cast<int32_t>(std::min<int64_t>(SIZE, n - b * SIZE));
        for (int p = 0; p < SIZE; ++p) {
            constexpr T nothing[4] = {FAR, FAR, NEAR, NEAR};
            const T* corner = nothing;
            if (p < block.left) {
                slot_[box_[b * SIZE + p]] = static_cast<int32_t>(b * SIZE + p);
                corner = corners + 4 * int64_t(box_[b * SIZE + p]);
            }
            block.x_min[p] = corner[0], block.y_min[p] = corner[1];
            block.x_max[p] = corner[2], block.y_max[p] = corner[3];
            bounds[0] = std::min(bounds[0], corner[0]), bounds[1] = std::min(bounds[1], corner[1]);
            bounds[2] = std::max(bounds[2], corner[2]), bounds[3] = std::max(bounds[3], corner[3]);
        }
    }
    for (Block& block : blocks_) {
        block.near_begin = static_cast<int32_t>(near_.size());
        for (size_t other = 0; other < blocks_.size(); ++other)
            if (touch(block.bounds, blocks_[other].bounds)) near_.push_back(static_cast<int32_t>(other));
        block.near_end = static_cast<int32_t>(near_.size());
    }
}

}  // namespace mammofast
