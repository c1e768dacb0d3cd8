// RoI Align: the map under each box, averaged in a grid of bins (He et al. 2017, arXiv 1703.06870).
//
// ONNX RoiAlign with coordinate_transformation_mode half_pixel and mode avg; torchvision's aligned=True.
// features: float32 n x channels x rows x cols, finite. boxes: float32 k x (x_min, y_min, x_max, y_max), finite, not
// inside out; times spatial_scale they are in pixels of the map. images: k indices into n.
// sampling_ratio: samples along a side of each bin, or 0 for ceil(bin), about one for every pixel; a box so large that
// this is more than MOST_ADAPTIVE_SAMPLES throws. A sample outside the map counts as 0.
#pragma once

#include <cstdint>

namespace mammofast {

template <typename T>
struct FeatureStack {
    const T* data;
    int64_t n, channels, rows, cols;  // channels, rows and cols at least 1
};

using FeatureMaps = FeatureStack<float>;

struct RoiGrid {
    int64_t rows, cols;  // bins, at least 1
    float spatial_scale;
    int64_t sampling_ratio;
};

// out: k x channels x grid.rows x grid.cols, every value of which is written.
void roi_align_cpu(FeatureMaps features, const float* boxes, const int64_t* images, int64_t k, RoiGrid grid,
                   float* out);

// The same on a CUDA stream, to the bit. T is float, or uint16_t for the bits of half precision; Index is int32_t or
// int64_t. Nothing waits: what is wrong with an image's values is said in status, one for each of n (core/status.h).
// A box that is not sound is all zeros, and so is one whose image is outside 0..n-1, which is not wrong.
template <typename T, typename Index>
void roi_align_cuda(FeatureStack<T> features, const float* boxes, const Index* images, int64_t k, RoiGrid grid,
                    float* out, int32_t* status, void* stream);

}  // namespace mammofast
