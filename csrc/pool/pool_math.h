// The mean of a square from its sum.
#pragma once

#include <cstdint>

#include "../core/host_device.h"

namespace mammofast {

// floor(sum / n + 1/2), halves up for negative sums too.
MAMMOFAST_HD int64_t rounded_mean(int64_t sum, int64_t n) {
    const int64_t top = 2 * sum + n, bottom = 2 * n;
    return top / bottom - (top % bottom < 0);
}

// The same for n = 2^(2 level), level >= 1: the shift of a negative number rounds down too.
template <typename S>
MAMMOFAST_HD S rounded_mean_of_square(S sum, int level) {
    return (sum + (S(1) << (2 * level - 1))) >> (2 * level);
}

}  // namespace mammofast
