// One cell of a head; both sides evaluate exactly these operations in this order, in double.
#pragma once

#include <cmath>

#include "../core/exponential.h"
#include "../core/half.h"
#include "../core/host_device.h"
#include "decode_yolo.h"

namespace mammofast {

MAMMOFAST_HD double clipped(double x, double limit) { return x < -limit ? -limit : x > limit ? limit : x; }

// The logistic function; past 80 it is 0 or 1 to all that fusion counts in.
MAMMOFAST_HD double sigmoid(float x) { return 1.0 / (1.0 + exponential(-clipped(x, 80.0))); }

// What objectness and class must both be for the score to reach the threshold, or less: most cells need no exp.
inline float least_logit(double threshold) {
    constexpr double SLACK = 1e-5, SMALLEST = 1e-30;
    if (threshold < SMALLEST) return -INFINITY;
    const double reached = threshold < 1.0 - SLACK ? threshold : 1.0 - SLACK;
    return static_cast<float>(std::log(reached / (1.0 - reached)) - SLACK);
}

struct Stretch {
    double x, y;  // pixels of the frame to a pixel of the network's input
};

MAMMOFAST_HD Stretch make_stretch(const YoloFrame* frame, const YoloHead& head) {
    if (frame == nullptr) return {1.0, 1.0};
    return {static_cast<double>(frame->cols) / (int64_t(head.cols) * head.stride),
            static_cast<double>(frame->rows) / (int64_t(head.rows) * head.stride)};
}

// Of the cell whose first channel is at `cell`, the next ones `plane` values apart.
template <typename T>
MAMMOFAST_HD double yolo_score(const T* cell, int64_t plane) {
    return sigmoid(value_of(cell[4 * plane])) * sigmoid(value_of(cell[5 * plane]));
}

template <typename T>
MAMMOFAST_HD void yolo_box(const T* cell, int64_t plane, int32_t row, int32_t col, const double* anchor, int32_t stride,
                           Stretch stretch, float* box) {
    const double x = (sigmoid(value_of(cell[0])) + col) * stride;
    const double y = (sigmoid(value_of(cell[plane])) + row) * stride;
    // Past exp(20) a box is larger than any image; the clip keeps an overflow from becoming infinite.
    const double half_width = exponential(clipped(value_of(cell[2 * plane]), 20.0)) * anchor[0] / 2.0;
    const double half_height = exponential(clipped(value_of(cell[3 * plane]), 20.0)) * anchor[1] / 2.0;
    box[0] = static_cast<float>(static_cast<double>(static_cast<float>(x - half_width)) * stretch.x);
    box[1] = static_cast<float>(static_cast<double>(static_cast<float>(y - half_height)) * stretch.y);
    box[2] = static_cast<float>(static_cast<double>(static_cast<float>(x + half_width)) * stretch.x);
    box[3] = static_cast<float>(static_cast<double>(static_cast<float>(y + half_height)) * stretch.y);
}

}  // namespace mammofast
