// Where the pixels of a resampled axis come from: weights and places, the same on every backend.
//
// Shrinking takes area weights (exact fractional coverage, as OpenCV's INTER_AREA), enlarging is bilinear between pixel
// centres with repeated edges, an equal size copies.
#pragma once

#include <cstdint>

#include "bilinear.h"
#include "host_device.h"

namespace mammofast {

// A target pixel is first_weight * source[first], plus inner_weight times each pixel between, plus
// last_weight * source[last] where last > first; terms are added in this order, in float32.
struct alignas(16) Span {
    int32_t first, last;
    float first_weight, last_weight;
};

// The share of a target pixel that `covered` units cover; a target pixel is `source` units long.
MAMMOFAST_HD float coverage(int64_t covered, int64_t source) {
    return static_cast<float>(static_cast<double>(covered) / static_cast<double>(source));
}

MAMMOFAST_HD float inner_weight(int64_t source, int64_t target) { return coverage(target, source); }

MAMMOFAST_HD Span resample_span(int64_t i, int64_t source, int64_t target) {
    if (target == source) return {static_cast<int32_t>(i), static_cast<int32_t>(i), 1.0f, 0.0f};
    if (target > source) {
        const Tap tap = bilinear_tap(i, source, target);
        return {tap.low, tap.high, 1.0f - tap.weight, tap.weight};
    }
    // In units of 1 / target of a source pixel: source pixel p is [p target, (p + 1) target), target pixel i is
    // [i source, (i + 1) source).
    const int64_t begin = i * source, end = begin + source;
    const int64_t first = begin / target, last = (end - 1) / target;
    return {static_cast<int32_t>(first), static_cast<int32_t>(last), coverage((first + 1) * target - begin, source),
            coverage(end - last * target, source)};
}

// At least as many source pixels as any span has.
MAMMOFAST_HD int64_t longest_span(int64_t source, int64_t target) {
    const int64_t taps = target < source ? source / target + (source % target != 0 ? 2 : 0) : target == source ? 1 : 2;
    return taps < source ? taps : source;
}

// The first target pixel whose span begins at source pixel p or later.
MAMMOFAST_HD int64_t first_from(int64_t p, int64_t source, int64_t target) {
    if (target <= source) return (p * target + source - 1) / source;
    return p == 0 ? 0 : ((2 * p + 1) * target - source + 2 * source - 1) / (2 * source);
}

// What a source pixel does, for those who walk along the source: target pixels begin .. end - 1 are complete with it.
//
// Where the target is not larger, a running sum gains weight times the value; where that completes a target pixel, the
// next sum begins with carry times the value. Where it is larger, complete ones follow from this pixel and the last.
struct alignas(16) Step {
    float weight, carry;
    int32_t begin, end;
};

MAMMOFAST_HD Step resample_step(int64_t p, int64_t source, int64_t target) {
    if (target > source) {
        const int64_t begin = p == 0 ? 0 : first_from(p - 1, source, target);
        const int64_t end = p == source - 1 ? target : first_from(p, source, target);
        return {0.0f, 0.0f, static_cast<int32_t>(begin), static_cast<int32_t>(end)};
    }
    const int64_t begin = p * target, end = begin + target;
    const auto i = static_cast<int32_t>(begin / source);
    const int64_t target_end = (i + int64_t(1)) * source;
    if (end < target_end) return {coverage(target, source), 0.0f, i, i};
    return {coverage(target_end - begin, source), coverage(end - target_end, source), i, i + 1};
}

}  // namespace mammofast
