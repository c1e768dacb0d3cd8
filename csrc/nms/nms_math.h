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

// A cheap necessary condition for overlap_exceeds, in float32. Each rounding is off by at most 2^-24 of its result, a
// dozen of them together by far less than the slack; what float32 cannot hold (infinite or vanishing areas) passes.
constexpr float SLACK = 1.0f - 1e-5f;
constexpr float TINY = 1e-30f;
constexpr float LARGEST = 3.4028234663852886e38f;

MAMMOFAST_HD bool overlap_may_exceed(const float* a, float bx0, float by0, float bx1, float by1, float threshold) {
    const float width = (bx1 < a[2] ? bx1 : a[2]) - (bx0 > a[0] ? bx0 : a[0]);
    const float height = (by1 < a[3] ? by1 : a[3]) - (by0 > a[1] ? by0 : a[1]);
    const float inter = width * height;
    const float uni = (a[2] - a[0]) * (a[3] - a[1]) + (bx1 - bx0) * (by1 - by0) - inter;
    const float bound = threshold * SLACK * uni;
    return (width > 0.0f) & (height > 0.0f) & !((inter + TINY < bound) & (bound <= LARGEST));
}

}  // namespace mammofast
