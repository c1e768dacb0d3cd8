// Images as a detector's inputs at several sizes, in one pass over their pixels.
//
// Pixels go through the grey map (core/grey.h) and are resampled (core/resample.h) to where each target has its image
// (core/placement.h).
#pragma once

#include <cstdint>
#include <vector>

#include "../core/array.h"
#include "../core/grey.h"
#include "../core/placement.h"
#include "../core/types.h"

namespace mammofast {

// One image; targets are filled whole. Throws std::invalid_argument for NaN or Inf among the pixels or in the table.
template <typename T>
void detection_inputs_cpu(Image<const T> pixels, GreyTable table, Contrast contrast,
                          const std::vector<Image<float>>& targets, Fit fit);

// An image on a device, its table's values too.
struct DeviceSource {
    PixelType type;
    const void* pixels;
    int64_t rows, cols;
    int64_t row_step;  // pixels from row to row
    GreyTable table;
    Contrast contrast;  // unless the batch has windows; then it goes by the one of this index
    int64_t window;
};

// What is kept of a resampled value. LEVEL: 8 bits, see segmentation_inputs/equalize.h.
enum class Kept : int32_t { FLOAT, HALF, LEVEL };

// One size for all images: (images, rows, cols) values, contiguous.
struct DeviceTarget {
    void* out;
    int64_t rows, cols;
};

// The same for a batch on a CUDA stream, float32 values equal to the CPU's to the bit; pointers are the device's.
// windows: null, or contrast windows, (low, high) each.
// status: one int32 an image, to which bits of core/status.h are added: STATUS_NOT_FINITE for NaN or Inf among the
// pixels or in the table, STATUS_UNSOUND for a window that is not low < high.
void detection_inputs_cuda(const std::vector<DeviceSource>& images, const double* windows,
                           const std::vector<DeviceTarget>& targets, Kept kept, Fit fit, int32_t* status,
                           void* stream);

}  // namespace mammofast
