// Which presentation values of an image become 0 and 1 (mammofast/methods/contrast.py), without its pixels leaving the
// device.
#pragma once

#include <cstdint>
#include <vector>

#include "../detection_inputs/detection_inputs.h"

namespace mammofast {

// Either the smallest and the largest presentation value, or parts of the pixels (0..1) that lie at or below the two;
// then the smallest value, air or collimator, is left out unless it is the only one.
struct ContrastRule {
    bool min_max;
    double low_part, high_part;
};

// windows: (low, high) of each image, high > low. Pixels: integers of at most 16 bits; their contrast is not read.
// status: as for detection_inputs_cuda.
void contrast_windows_cuda(const std::vector<DeviceSource>& images, ContrastRule rule, double* windows, int32_t* status,
                           void* stream);

}  // namespace mammofast
