// What detectors of several scales found and kept, put together: all boxes of each image of a batch in one list.
#pragma once

#include <cstdint>

namespace mammofast {

constexpr int MOST_PARTS = 16;

// One scale of a batch. boxes, scores, indices: images x capacity (x 4); indices as nms_cuda leaves them.
// found, kept: status of the images so far, core/status.h.
struct KeptPart {
    const float* boxes;
    const float* scores;
    const int32_t* indices;
    const int32_t* counts;
    const int32_t* found;
    const int32_t* kept;
    int64_t capacity;
};

struct KeptParts {
    int n;
    KeptPart part[MOST_PARTS];
};

// Lists of `capacity` boxes for each image; what is behind an image's count is 0.
struct CollectedBoxes {
    float* boxes;    // images x capacity x 4
    float* scores;   // images x capacity
    int32_t* parts;  // images x capacity: which part each box is of
    int32_t* counts;
    int32_t* status;  // all bits of all parts; STATUS_OVERFLOW and no boxes where they do not fit
    int64_t images, capacity;
};

// An image's kept boxes part by part, within a part in the order of its indices; on a CUDA stream.
void collect_boxes_cuda(const KeptParts& parts, const CollectedBoxes& out, void* stream);

}  // namespace mammofast
