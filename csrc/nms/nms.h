// Greedy non-maximum suppression.
//
// boxes: float32 n x (x_min, y_min, x_max, y_max), finite, not inside out (an empty box meets nothing).
// scores: float32 n, in [0, 1]. groups: int64 n, or null: boxes suppress only within their group.
// A box goes where its IoU (nms_math.h) with a kept box of higher rank is > iou_threshold, strictly.
// Rank: falling score, ties by lower index. Returns the kept indices by rank; n = 0 gives none.
#pragma once

#include <cstdint>
#include <vector>

namespace mammofast {

std::vector<int64_t> nms_cpu(const float* boxes, const float* scores, const int64_t* groups, int64_t n,
                             double iou_threshold);

}  // namespace mammofast
