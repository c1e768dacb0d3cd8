// Windows of images as a segmenter's inputs: as detection_inputs, then 8 bits, then histogram equalization.
//
// A resampled value v becomes floor(255 v + 1/2); levels are equalized with the integer arithmetic of OpenCV's
// equalizeHist; out holds level / 255.
#pragma once

#include <cstdint>
#include <vector>

#include "../core/array.h"
#include "../core/grey.h"
#include "../detection_inputs/detection_inputs.h"

namespace mammofast {

// One window.
template <typename T>
void segmentation_input_cpu(Image<const T> window, GreyTable table, Contrast contrast, Image<float> out);

// A batch on a CUDA stream, equal to the CPU's to the bit; crops are windows of device images, the rest is as for
// detection_inputs_cuda. target: what is written, as FLOAT or HALF.
void segmentation_inputs_cuda(const std::vector<DeviceSource>& crops, const double* windows, DeviceTarget target,
                              Kept kept, int32_t* status, void* stream);

}  // namespace mammofast
