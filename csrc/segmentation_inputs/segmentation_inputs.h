// One window of an image as a segmenter's input: as detection_inputs, then 8 bits, then histogram equalization.
//
// A resampled value v becomes floor(255 v + 1/2); levels are equalized with the integer arithmetic of OpenCV's
// equalizeHist; out holds level / 255.
#pragma once

#include "../core/array.h"
#include "../core/grey.h"

namespace mammofast {

template <typename T>
void segmentation_input_cpu(Image<const T> window, GreyTable table, Contrast contrast, Image<float> out);

}  // namespace mammofast
