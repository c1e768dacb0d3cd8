// Where an image goes in a network's input.
#pragma once

#include <cstdint>

#include "array.h"
#include "host_device.h"

namespace mammofast {

enum class Fit : int32_t {
    STRETCH,    // each axis by itself, the whole input is image
    LETTERBOX,  // rows and columns by one factor, centred, the rest is PADDING
};

constexpr float PADDING = 0.5f;  // darknet's grey

// The image as rows x cols pixels of the input, the first at (top, left).
struct Placement {
    int32_t top, left, rows, cols;
};

// (side * target / source), halves up, in 1..limit.
MAMMOFAST_HD int32_t scaled_side(int64_t side, int64_t target, int64_t source, int64_t limit) {
    const int64_t rounded = side * target / source + (side * target % source * 2 >= source);
    return static_cast<int32_t>(rounded < 1 ? 1 : rounded > limit ? limit : rounded);
}

MAMMOFAST_HD Placement placed(Shape source, Shape target, Fit fit) {
    int32_t rows = static_cast<int32_t>(target.rows), cols = static_cast<int32_t>(target.cols);
    if (fit == Fit::LETTERBOX) {
        if (source.rows * target.cols >= source.cols * target.rows)
            cols = scaled_side(source.cols, target.rows, source.rows, target.cols);
        else
            rows = scaled_side(source.rows, target.cols, source.cols, target.rows);
    }
    return {static_cast<int32_t>((target.rows - rows) / 2), static_cast<int32_t>((target.cols - cols) / 2), rows, cols};
}

}  // namespace mammofast
