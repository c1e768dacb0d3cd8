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

}  // namespace mammofast
