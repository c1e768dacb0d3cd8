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

#ifdef MAMMOFAST_WITH_CUDA
// The same on a CUDA stream; all pointers on the current device. Waits for the stream once, to check the values.
void confidence_mask_cuda(const float* boxes, const float* scores, int64_t n, int64_t n_scales, Image<float> out,
                          void* stream);
#endif

}  // namespace mammofast
