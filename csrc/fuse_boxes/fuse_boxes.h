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

// A batch in a CUDA device's memory, capacity boxes an image of which the first counts[image] exist.
struct BoxBatch {
    const float* boxes;     // images x capacity x 4
    const float* scores;    // images x capacity
    const int32_t* counts;  // images
    const int32_t* shapes;  // images x (rows, cols)
    int64_t images, capacity;
};

struct FusedBatch {
    int32_t* boxes;      // images x capacity x 4, zeros beyond counts, as are
    float* scores;       // images x capacity: the largest S / (n_scales max q)
    float* confidence;   // images x capacity: the largest S / (n_scales 2^20)
    int32_t* counts;     // images
    int32_t* status;     // images: STATUS_* bits, written whole; where one is set, the count is 0
    int64_t capacity;
};

constexpr int64_t MOST_FUSED_BOXES = 2047;  // of an image on a device: so many votes sum to less than 2^31

// The same for each image of a batch: queued on the stream, waits for nothing. num <= MOST_FUSED_BOXES den + 1.
// STATUS_UNSOUND: a box that is not finite or inside out, a score outside [0, 1], a count outside [0, capacity], a
// negative shape. STATUS_OVERFLOW: a count above MOST_FUSED_BOXES, more components than the output has room for.
void fuse_boxes_cuda(const BoxBatch& batch, int64_t n_scales, int64_t num, int64_t den, const FusedBatch& fused,
                     void* stream);

}  // namespace mammofast
