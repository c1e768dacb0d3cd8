// The threshold of fusion as a smallest sum, in integers.
#pragma once

#include <cstdint>

#include "../core/host_device.h"

namespace mammofast {

// Smallest S >= 1 with S den >= num strongest. num = whole den + rest keeps every product below 2^63.
MAMMOFAST_HD int64_t smallest_sum(int64_t num, int64_t den, int64_t strongest) {
    const int64_t whole = num / den, rest = num % den;
    const int64_t sum = whole * strongest + (rest * strongest + den - 1) / den;
    return sum < 1 ? 1 : sum;
}

}  // namespace mammofast
