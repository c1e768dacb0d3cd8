// P4's eq. 1 with a threshold: boxes of several scales vote, what enough of them agree on becomes one box each.
//
// boxes, scores: as for nms. shape: rows and cols of the image, each at most 2^31 - 1.
// A pixel p is kept where S(p) > 0 and S(p) den >= num max q, S being the sum of the votes (core/votes.h) that cover
// it, q one vote, and num / den the threshold times the number of scales (num >= 0, 1 <= den <= 10^6,
// num <= n den + 1: no sum reaches more). Kept pixels that touch, corners included, form one component.
// Returns the components' bounding boxes in the order (y_min, x_min, y_max, x_max), with the largest S inside each;
// strongest is max q, 0 where no box counts.
#pragma once

#include <cstdint>
#include <vector>

#include "../core/array.h"

namespace mammofast {

struct FusedBox {
    int32_t x_min, y_min, x_max, y_max;
    int64_t peak;
};

struct Fusion {
    std::vector<FusedBox> boxes;
    int64_t strongest = 0;
};

Fusion fuse_boxes_cpu(const float* boxes, const float* scores, int64_t n, Shape shape, int64_t num, int64_t den);

}  // namespace mammofast
