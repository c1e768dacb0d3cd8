// Intersection over union, in double; both sides evaluate exactly these operations in this order.
#pragma once

#include "../core/host_device.h"

namespace mammofast {

struct Overlap {
    double inter;  // area both boxes cover
    double uni;    // area either covers
};

MAMMOFAST_HD double smaller(double a, double b) { return b < a ? b : a; }
MAMMOFAST_HD double larger(double a, double b) { return a < b ? b : a; }

MAMMOFAST_HD Overlap overlap(double ax0, double ay0, double ax1, double ay1, double bx0, double by0, double bx1,
                             double by1) {
    const double width = larger(smaller(ax1, bx1) - larger(ax0, bx0), 0.0);
    const double height = larger(smaller(ay1, by1) - larger(ay0, by0), 0.0);
    const double inter = width * height;
    return {inter, (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - inter};
}

// IoU > threshold >= 0. Where the union is 0 so is the intersection, and IoU counts as 0.
MAMMOFAST_HD bool overlap_exceeds(Overlap o, double threshold) {
    return o.inter > 0.0 && o.inter / o.uni > threshold;
}

// A threshold and what float32 compares with. Each rounding there is off by at most 2^-24 of its result, a dozen of
// them together by far less than the slack; what float32 cannot hold (infinite or vanishing areas) stays undecided.
struct IouThreshold {
    double exact;
    float low, high;
};

constexpr float TINY = 1e-30f;
constexpr float LARGEST = 3.4028234663852886e38f;

MAMMOFAST_HD IouThreshold make_threshold(double iou) {
    constexpr double SLACK = 1e-5, SMALLEST = 1e-30;
    const float low = iou < SMALLEST ? 0.0f : static_cast<float>(iou * (1.0 - SLACK));
    return {iou, low, static_cast<float>(iou * (1.0 + SLACK) + SMALLEST)};
}

struct FloatOverlap {
    float width, height, inter, uni;  // width and height of what both cover; <= 0 where they do not meet
};

MAMMOFAST_HD FloatOverlap float_overlap(const float* a, float bx0, float by0, float bx1, float by1) {
    const float width = (bx1 < a[2] ? bx1 : a[2]) - (bx0 > a[0] ? bx0 : a[0]);
    const float height = (by1 < a[3] ? by1 : a[3]) - (by0 > a[1] ? by0 : a[1]);
    const float inter = width * height;
    return {width, height, inter, (a[2] - a[0]) * (a[3] - a[1]) + (bx1 - bx0) * (by1 - by0) - inter};
}

// Whether the IoU may be > threshold, of which this takes low: false is certain.
MAMMOFAST_HD bool overlap_may_exceed(FloatOverlap o, float low) {
    const float bound = low * o.uni;
    return (o.width > 0.0f) & (o.height > 0.0f) & !((o.inter + TINY < bound) & (bound <= LARGEST));
}

// Whether it surely is, of boxes that pass the above: true is certain.
MAMMOFAST_HD bool overlap_surely_exceeds(FloatOverlap o, float high) {
    return (o.inter > TINY) & (o.inter > high * o.uni) & (o.uni <= LARGEST);
}

// overlap_exceeds of two boxes, which nearly always is decided without a division in double.
MAMMOFAST_HD bool boxes_overlap(const float* a, const float* b, const IouThreshold& threshold) {
    const FloatOverlap o = float_overlap(a, b[0], b[1], b[2], b[3]);
    if (!overlap_may_exceed(o, threshold.low)) return false;
    if (overlap_surely_exceeds(o, threshold.high)) return true;
    return overlap_exceeds(overlap(a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]), threshold.exact);
}

}  // namespace mammofast
