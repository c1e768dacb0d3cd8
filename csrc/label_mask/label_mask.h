// Connected components of a mask, corners included (8-connectivity).
//
// mask: rows x cols, 0 is background and any other value foreground. labels: same shape, all 0; foreground pixels get
// 1..k. Components are numbered in raster order of their first pixels, as in scikit-image.
#pragma once

#include <cstdint>
#include <vector>

#include "../core/array.h"

namespace mammofast {

struct Component {
    int32_t x_min, y_min, x_max, y_max;  // half-open
    int64_t area;                        // pixels
};

// Returns component i of label i + 1. Throws std::invalid_argument past 2^31 - 1 runs of foreground pixels.
std::vector<Component> label_mask_cpu(Image<const uint8_t> mask, Image<int32_t> labels);

// A batch in a CUDA device's memory.
struct MaskBatch {
    const uint8_t* masks;  // images x rows x cols, with rows cols < 2^31
    int64_t images, rows, cols;
};

struct LabelBatch {
    int32_t* labels;  // images x rows x cols, every value is written
    int32_t* boxes;   // images x capacity x 4, zeros beyond counts
    int64_t* areas;   // images x capacity, likewise
    int32_t* counts;  // images
    int32_t* status;  // images, written whole
    int64_t capacity;
};

// The same for each image of a batch: queued on the stream, waits for nothing. STATUS_OVERFLOW: more components than
// the output has room for; all of them are labelled, the first capacity have their box and area.
void label_mask_cuda(const MaskBatch& batch, const LabelBatch& found, void* stream);

}  // namespace mammofast
