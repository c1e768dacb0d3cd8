// Where a pixel centre of a stretched axis falls between the pixel centres of its source.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace mammofast {

struct Tap {
    int32_t low, high;  // source pixels, edges repeated
    float weight;       // of the high one
};

// Up to here all of a tap's arithmetic fits 32 bits, several times faster on a GPU. float32 holds the fraction's
// parts, and a quotient of two float32 rounds to the same float32 by way of double (Figueroa 1995: 53 >= 2 * 24 + 2).
constexpr int64_t MOST_SHORT_SOURCE = 1 << 11, MOST_SHORT_TARGET = 1 << 20;

// Target pixel of a source of n pixels stretched to size: (target + 1/2) n / size - 1/2, in exact integers up to the
// last division. OpenCV's INTER_LINEAR, torch's align_corners=False.
MAMMOFAST_HD Tap bilinear_tap(int64_t target, int64_t n, int64_t size) {
    const int64_t twice = (2 * target + 1) * n - size;  // times 2 size
    if (twice <= 0) return {0, 0, 0.0f};
    const int32_t last = static_cast<int32_t>(n - 1);
    if (n < MOST_SHORT_SOURCE && size < MOST_SHORT_TARGET) {
        const uint32_t short_twice = static_cast<uint32_t>(twice), unit = static_cast<uint32_t>(2 * size);
        const uint32_t low = short_twice / unit;
        if (static_cast<int32_t>(low) >= last) return {last, last, 0.0f};
        const float fraction = static_cast<float>(short_twice - low * unit) / static_cast<float>(unit);
        return {static_cast<int32_t>(low), static_cast<int32_t>(low + 1), fraction};
    }
    const int64_t low = twice / (2 * size);
    if (low >= last) return {last, last, 0.0f};
    const double fraction = static_cast<double>(twice - low * 2 * size) / static_cast<double>(2 * size);
    return {static_cast<int32_t>(low), static_cast<int32_t>(low + 1), static_cast<float>(fraction)};
}

MAMMOFAST_HD float blend(float low, float high, float weight) { return low * (1.0f - weight) + high * weight; }

}  // namespace mammofast
