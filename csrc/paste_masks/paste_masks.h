// Crops of probabilities stretched to their boxes, thresholded and OR-merged into one mask.
//
// crops: float32 n x h x w, finite, h and w >= 1. boxes: int32 n x (x_min, y_min, x_max, y_max), not inside out.
// Bilinear between pixel centres, edges repeated (paste_masks_math.h); a pixel is set where the value >= threshold.
// A box that leaves the image is stretched whole, then clipped; an empty box paints nothing.
#pragma once

#include <cstdint>

#include "../core/array.h"

namespace mammofast {

struct Crops {
    const float* data;
    int64_t n, rows, cols;
};

// mask: zeros and ones; ones are added.
void paste_masks_cpu(Crops crops, const int32_t* boxes, float threshold, Image<uint8_t> mask);

}  // namespace mammofast
