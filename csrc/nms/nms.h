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

// Images of a batch on a device; each has room for as many boxes, the first counts[image] of which are there.
struct NmsBatch {
    const float* boxes;      // images x capacity x 4
    const float* scores;     // images x capacity
    const int32_t* counts;   // images, or null: all of them are there
    const void* groups;      // images x capacity integers, or null
    int group_bytes;         // of one of them: 1, 2, 4 or 8
    int64_t images, capacity;
};

constexpr int64_t NMS_MAX_CAPACITY = int64_t(1) << 24;

// indices: images x capacity, the kept ones by rank, then -1. kept: images, how many. status: images, STATUS_UNSOUND
// (core/status.h) for a box or a score that is not what the contract asks or a count outside 0..capacity; such an image
// keeps nothing. Throws std::invalid_argument for a capacity above NMS_MAX_CAPACITY.
void nms_cuda(const NmsBatch& batch, double iou_threshold, int32_t* indices, int32_t* kept, int32_t* status,
              void* stream);

// The first n indices of an image as 64-bit integers.
void nms_indices_cuda(const int32_t* indices, int64_t n, int64_t* wide, void* stream);

}  // namespace mammofast
