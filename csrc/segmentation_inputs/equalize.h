// OpenCV's equalizeHist on 256 levels: spread by their cumulative counts beyond the lowest one present. A single level
// stays what it is.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "../core/host_device.h"

namespace mammofast {

constexpr int LEVELS = 256;

// A grey value of 0..1 as a level; NaN as 0.
MAMMOFAST_HD uint8_t level_of(float value) {
    return value > 0.0f ? static_cast<uint8_t>(255.0 * static_cast<double>(value) + 0.5) : uint8_t{0};
}

// below: pixels at the lowest level present; sum: pixels above it up to this level; total: all pixels, more than below.
// The product is taken in float32 and rounded half to even, as OpenCV does.
MAMMOFAST_HD uint8_t spread_level(int32_t sum, int32_t below, int32_t total) {
    const float scale = (LEVELS - 1.0f) / static_cast<float>(total - below);
    const float spread = nearbyintf(static_cast<float>(sum) * scale);
    return static_cast<uint8_t>(spread > 255.0f ? 255.0f : spread);
}

// A level as networks read it.
MAMMOFAST_HD float value_of(uint8_t level) { return static_cast<float>(level) / 255.0f; }

inline std::array<uint8_t, LEVELS> equalizing_table(const std::array<int32_t, LEVELS>& counts, int32_t total) {
    std::array<uint8_t, LEVELS> table{};
    int lowest = 0;
    while (lowest < LEVELS - 1 && counts[lowest] == 0) ++lowest;
    if (counts[lowest] == total) {
        table[lowest] = static_cast<uint8_t>(lowest);
        return table;
    }
    int32_t sum = 0;
    for (int level = lowest + 1; level < LEVELS; ++level)
        table[level] = spread_level(sum += counts[level], counts[lowest], total);
    return table;
}

}  // namespace mammofast
