// Crops of probabilities stretched to their boxes, thresholded and OR-merged into one mask.
//
// crops: float32 n x h x w, finite, h and w >= 1. boxes: int32 n x (x_min, y_min, x_max, y_max), not inside out.
// Bilinear between pixel centres, edges repeated (core/bilinear.h); a pixel is set where the value >= threshold.
// A box that leaves the image is stretched whole, then clipped; an empty box paints nothing.
#pragma once

#include <cstdint>

#include "../core/array.h"

namespace mammofast {

template <typename T>
struct CropStack {
    const T* data;
    int64_t n, rows, cols;
};

using Crops = CropStack<float>;

// mask: zeros and ones; ones are added.
void paste_masks_cpu(Crops crops, const int32_t* boxes, float threshold, Image<uint8_t> mask);

// The same on a CUDA stream, for the crops of many images at once. T is float, or uint16_t for the bits of half
// precision. Nothing waits; what is wrong with an image's values is said in status, one for each (core/status.h).
//
// images: which of the n masks each crop goes to, outside 0..n-1: none; null where all go to the first.
// masks: n x rows x cols, zeros and ones. Every value is written, and so is every status.
struct MaskStack {
    uint8_t* data;
    int64_t n, rows, cols;
};
template <typename T>
void paste_masks_cuda(CropStack<T> crops, const int32_t* boxes, const int32_t* images, float threshold, MaskStack masks,
                      int32_t* status, void* stream);

// Each crop in a mask of its own, a bit a pixel: what there is to download.
struct Window {
    int32_t rows, cols;
    int64_t begin;  // its first byte in bits

    MAMMOFAST_HD int64_t row_bytes() const { return (int64_t(cols) + 7) / 8; }
};

// Per crop, on the device.
struct PackedMasks {
    uint8_t* bits;    // rows padded to bytes, the first pixel in a byte's highest bit
    int32_t* areas;   // set pixels
    int32_t* boxes;   // the smallest one that holds them, in the window's pixels; zeros where there are none
    int32_t* status;  // core/status.h
};

// windows: crops.n of them, on the host, of fewer than 2^31 pixels each. Every byte, area, box and status is written.
template <typename T>
void paste_packed_cuda(CropStack<T> crops, const Window* windows, float threshold, PackedMasks masks, void* stream);

}  // namespace mammofast
