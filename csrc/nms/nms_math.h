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

// A cheap necessary condition for overlap_exceeds: a quotient rounded up past the threshold is within two units in the
// last place of it, far less than the slack.
constexpr double SLACK = 1.0 - 1e-12;

MAMMOFAST_HD bool overlap_may_exceed(Overlap o, double threshold) {
    return (o.inter > 0.0) & (o.inter >= threshold * SLACK * o.uni);
}

}  // namespace mammofast
