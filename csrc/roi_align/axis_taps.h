// One side of a box as weights of the map's pixels along it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "roi_align_math.h"

namespace mammofast {

struct AxisTaps {
    struct Tap {
        int32_t pixel;
        int32_t slot;  // of the pixel in pixels
        float weight;
    };
    std::vector<Tap> taps;          // bin by bin
    std::vector<int64_t> bin_ends;  // one past each bin's last tap
    std::vector<int32_t> pixels;    // those that taps read, each once, rising

    AxisTaps(RoiAxis axis, int64_t bins, int64_t size) {
        const int64_t room = most_roi_taps(static_cast<int64_t>(axis.samples), size);
        for (int64_t bin = 0; bin < bins; ++bin) {
            const size_t begin = taps.size();
            taps.resize(begin + room);
            taps.resize(roi_bin_taps(axis, bin, size, taps.data() + begin) - taps.data());
            bin_ends.push_back(static_cast<int64_t>(taps.size()));
        }
        for (const Tap& tap : taps) pixels.push_back(tap.pixel);
        std::sort(pixels.begin(), pixels.end());
        pixels.erase(std::unique(pixels.begin(), pixels.end()), pixels.end());
        for (Tap& tap : taps)
            tap.slot = static_cast<int32_t>(std::lower_bound(pixels.begin(), pixels.end(), tap.pixel) - pixels.begin());
    }

    void clear() {
        taps.clear(), pixels.clear();
        std::fill(bin_ends.begin(), bin_ends.end(), 0);
    }
};

}  // namespace mammofast
