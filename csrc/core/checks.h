// Checks of values. Shapes and types are checked in Python (mammofast/ops/_checks.py); values are looked at here, once,
// where an op begins. Each throws std::invalid_argument, which Python sees as ValueError.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace mammofast {

template <typename T>
MAMMOFAST_HD bool is_finite(T value) {
    return value - value == T(0);  // Inf - Inf and NaN - NaN are NaN; loops over it vectorize
}

// Finite and not inside out.
MAMMOFAST_HD bool is_sound_box(const float* box) {
    return is_finite(box[0]) & is_finite(box[1]) & is_finite(box[2]) & is_finite(box[3]) & (box[0] <= box[2]) &
           (box[1] <= box[3]);
}

MAMMOFAST_HD bool is_sound_score(float score) { return (score >= 0.0f) & (score <= 1.0f); }

// boxes: n x (x_min, y_min, x_max, y_max), finite and not inside out.
void check_boxes(const float* boxes, int64_t n);
void check_boxes(const int32_t* boxes, int64_t n);

// scores: n values in [0, 1].
void check_scores(const float* scores, int64_t n);

// values: n finite values; name is the argument's.
void check_finite(const char* name, const float* values, int64_t n);

[[noreturn]] void fail_not_finite(const char* name);

}  // namespace mammofast
