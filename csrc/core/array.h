// What kernels see of an image: a pointer and its extents. No ownership, no Python.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace mammofast {

// rows x cols values; values of a row are adjacent, rows are row_step values apart (negative for a flipped view).
template <typename T>
struct Image {
    T* data;
    int64_t rows;
    int64_t cols;
    int64_t row_step;

    MAMMOFAST_HD T* row(int64_t index) const { return data + index * row_step; }
};

struct Shape {
    int64_t rows;
    int64_t cols;
};

}  // namespace mammofast
