// Where RoI Align samples one axis, in float32 with the operations of ONNX Runtime's and torchvision's kernels in their
// order: a sample that falls on the edge of the map must fall on the same side everywhere.
#pragma once

#include <cmath>
#include <cstdint>

#include "../core/host_device.h"

namespace mammofast {

constexpr int64_t MOST_ADAPTIVE_SAMPLES = 1 << 15;  // along one side of a bin, where sampling_ratio is 0

// One side of a box cut in bins, each of them sampled at evenly spaced places.
struct RoiAxis {
    float start;    // in pixels of the map, pixel centres at whole numbers
    float bin;      // length of one bin
    float samples;  // in one bin, a whole number
};

MAMMOFAST_HD RoiAxis roi_axis(float low, float high, float spatial_scale, int64_t bins, int64_t sampling_ratio) {
    const float start = low * spatial_scale - 0.5f;
    const float end = high * spatial_scale - 0.5f;
    const float bin = (end - start) / static_cast<float>(bins);
    return {start, bin, sampling_ratio > 0 ? static_cast<float>(sampling_ratio) : ceilf(bin)};
}

MAMMOFAST_HD float roi_sample(RoiAxis axis, int64_t bin, int64_t sample) {
    return axis.start + static_cast<float>(bin) * axis.bin +
           (static_cast<float>(sample) + 0.5f) * axis.bin / axis.samples;
}

// A sample counts up to one pixel outside the centres of the map's outer pixels; NaN does not.
MAMMOFAST_HD bool roi_sample_counts(float position, int64_t size) {
    return position >= -1.0f && position <= static_cast<float>(size);
}

struct RoiTap {
    int32_t low, high;  // neighbours, edges repeated
    float weight;       // of the high one
};

MAMMOFAST_HD RoiTap roi_tap(float position, int64_t size) {
    const float inside = position <= 0.0f ? 0.0f : position;
    const int32_t low = static_cast<int32_t>(inside), last = static_cast<int32_t>(size - 1);
    if (low >= last) return {last, last, 0.0f};
    return {low, low + 1, inside - static_cast<float>(low)};
}

}  // namespace mammofast
