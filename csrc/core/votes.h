// Boxes and confidences as the integers that fusion decides with (P4's eq. 1).
#pragma once

#include <cmath>
#include <cstdint>

#include "host_device.h"

namespace mammofast {

constexpr double VOTE_ONE = 1 << 20;  // confidences count in units of 2^-20

// One box on the pixel grid and its confidence; half-open, inside the image.
struct Vote {
    int32_t x_min, y_min, x_max, y_max;
    int32_t weight;

    MAMMOFAST_HD bool counts() const { return x_min < x_max && y_min < y_max && weight > 0; }
};

// Nearest pixel edge, halves up, clipped to [0, size].
MAMMOFAST_HD int32_t pixel_edge(float coordinate, int64_t size) {
    const double edge = std::floor(static_cast<double>(coordinate) + 0.5);
    return static_cast<int32_t>(edge < 0.0 ? 0.0 : edge > static_cast<double>(size) ? static_cast<double>(size) : edge);
}

MAMMOFAST_HD Vote make_vote(const float* box, float score, int64_t rows, int64_t cols) {
    return {pixel_edge(box[0], cols), pixel_edge(box[1], rows), pixel_edge(box[2], cols), pixel_edge(box[3], rows),
            static_cast<int32_t>(std::floor(static_cast<double>(score) * VOTE_ONE + 0.5))};
}

// Eq. 1: a sum of votes relative to the strongest box and the number of scales.
MAMMOFAST_HD float relative_score(int64_t sum, int64_t n_scales, int64_t strongest) {
    return static_cast<float>(static_cast<double>(sum) / static_cast<double>(n_scales * strongest));
}

}  // namespace mammofast
