// exp in double, the same to the bit on the CPU and a device, whose libraries differ in the last place.
#pragma once

#include <cstdint>
#include <cstring>

#include "host_device.h"

namespace mammofast {

// exp(x) for |x| <= 700, off by less than one unit in the last place; exp(0) is 1.
MAMMOFAST_HD double exponential(double x) {
    // x = k ln 2 + r: adding 1.5 * 2^52 rounds to the integer k and leaves it in the low bits. ln 2 in two parts, the
    // first short enough that its product with k is exact.
    constexpr double ROUND = 6755399441055744.0, LOG2_E = 1.4426950408889634;
    constexpr double LN2_HIGH = 0.6931471803691238, LN2_LOW = 1.9082149292705877e-10;
    const double rounded = x * LOG2_E + ROUND, k = rounded - ROUND;
    const double r = (x - k * LN2_HIGH) - k * LN2_LOW;
    // exp(r) = 1 + r + r^2 (1/2! + r/3! + ...), |r| <= 0.35
    double sum = 1.0 / 6227020800.0;  // 1 / 13!
    sum = sum * r + 1.0 / 479001600.0;
    sum = sum * r + 1.0 / 39916800.0;
    sum = sum * r + 1.0 / 3628800.0;
    sum = sum * r + 1.0 / 362880.0;
    sum = sum * r + 1.0 / 40320.0;
    sum = sum * r + 1.0 / 5040.0;
    sum = sum * r + 1.0 / 720.0;
    sum = sum * r + 1.0 / 120.0;
    sum = sum * r + 1.0 / 24.0;
    sum = sum * r + 1.0 / 6.0;
    sum = sum * r + 0.5;
    const double power = 1.0 + (r + r * r * sum);
    uint64_t bits;
    memcpy(&bits, &rounded, sizeof bits);
    bits = (bits << 52) + (uint64_t{1023} << 52);  // 2^k
    double scale;
    memcpy(&scale, &bits, sizeof scale);
    return power * scale;
}

}  // namespace mammofast
