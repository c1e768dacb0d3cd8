// OpenCV's equalizeHist on a histogram of 256 levels.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace mammofast {

constexpr int LEVELS = 256;

// What each level becomes: levels are spread by their cumulative counts beyond the lowest one present. A single level
// stays what it is. The product is taken in float32 and rounded half to even, as OpenCV does.
inline std::array<uint8_t, LEVELS> equalizing_table(const std::array<int32_t, LEVELS>& counts, int32_t total) {
    std::array<uint8_t, LEVELS> table{};
    int level = 0;
    while (level < LEVELS - 1 && counts[level] == 0) ++level;
    if (counts[level] == total) {
        table[level] = static_cast<uint8_t>(level);
        return table;
    }
    const float scale = (LEVELS - 1.0f) / static_cast<float>(total - counts[level]);
    int32_t sum = 0;
    for (++level; level < LEVELS; ++level) {
        sum += counts[level];
        const float spread = std::nearbyint(static_cast<float>(sum) * scale);
        table[level] = static_cast<uint8_t>(spread > 255.0f ? 255.0f : spread);
    }
    return table;
}

}  // namespace mammofast
