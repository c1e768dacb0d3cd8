// One image as a detector's inputs at several sizes, in one pass over its pixels.
//
// Pixels go through the grey map (core/grey.h) and are resampled (core/resample.h) to each target.
// Throws std::invalid_argument for NaN or Inf among the pixels or in the table.
#pragma once

#include <vector>

#include "../core/array.h"
#include "../core/grey.h"

namespace mammofast {

template <typename T>
void detection_inputs_cpu(Image<const T> pixels, GreyTable table, Contrast contrast,
                          const std::vector<Image<float>>& targets);

}  // namespace mammofast
