// P4's eq. 1, dense: sum of the votes over a pixel / (n_scales times the strongest vote), float32 rows x cols.
//
// boxes, scores: as for nms; n_scales >= 1. Boxes and scores are rounded as in core/votes.h, and boxes that do not
// count are left out before the strongest is taken. No box: all zeros.
#pragma once

#include <cstdint>

#include "../core/array.h"
#include "../core/votes.h"

namespace mammofast {

// out: rows x cols, every value is written.
void confidence_mask_cpu(const float* boxes, const float* scores, int64_t n, int64_t n_scales, Image<float> out);

// A batch on a device. Image i has the first counts[i] of its capacity boxes, or all of them where counts is null.
struct ConfidenceMaskBatch {
    const float* boxes;     // n x capacity x 4
    const float* scores;    // n x capacity
    const int32_t* counts;  // n, or null
    int64_t n, capacity, n_scales, rows, cols;
    float* masks;     // n x rows x cols, every value is written
    int32_t* status;  // n, core/status.h; an unsound box sets STATUS_UNSOUND and covers no pixel
};

// The same on the current device; asynchronous. stream: a cudaStream_t.
void confidence_mask_cuda(const ConfidenceMaskBatch& batch, void* stream);

}  // namespace mammofast
