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

// Whether there are more samples than RoI Align takes.
MAMMOFAST_HD bool roi_too_large(RoiAxis axis, int64_t sampling_ratio) {
    return sampling_ratio == 0 && !(axis.samples <= static_cast<float>(MOST_ADAPTIVE_SAMPLES));
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

// Adds to the weight of a pixel among a bin's taps, which end at end, or appends one. Neighbouring samples share
// pixels, the last two at most.
template <typename Tap>
MAMMOFAST_HD Tap* roi_add(Tap* taps, Tap* end, int32_t pixel, float weight) {
    for (Tap* tap = end; tap != taps && end - tap < 2;) {
        --tap;
        if (tap->pixel == pixel) {
            tap->weight += weight;
            return end;
        }
    }
    end->pixel = pixel, end->weight = weight;
    return end + 1;
}

// Room for the taps of one bin: each sample reads two pixels, all of them those of the map.
MAMMOFAST_HD int64_t most_roi_taps(int64_t samples, int64_t size) { return 2 * samples < size ? 2 * samples : size; }

// One bin's weights of the map's pixels along the axis, rising by pixel; returns their end. Tap has pixel and weight.
template <typename Tap>
MAMMOFAST_HD Tap* roi_bin_taps(RoiAxis axis, int64_t bin, int64_t size, Tap* taps) {
    Tap* end = taps;
    const int64_t samples = static_cast<int64_t>(axis.samples);
    for (int64_t sample = 0; sample < samples; ++sample) {
        const float position = roi_sample(axis, bin, sample);
        if (!roi_sample_counts(position, size)) continue;
        const RoiTap tap = roi_tap(position, size);
        end = roi_add(taps, end, tap.low, (1.0f - tap.weight) / axis.samples);
        if (tap.weight > 0.0f) end = roi_add(taps, end, tap.high, tap.weight / axis.samples);
    }
    return end;
}

}  // namespace mammofast
