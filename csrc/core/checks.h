// Checks of values. Shapes and types are checked in Python (mammofast/ops/_checks.py); values are looked at here, once,
// where an op begins. Each throws std::invalid_argument, which Python sees as ValueError.
#pragma once

#include <cstdint>

#include "array.h"

namespace mammofast {

// boxes: n x (x_min, y_min, x_max, y_max), finite and not inside out.
void check_boxes(const float* boxes, int64_t n);
void check_boxes(const int32_t* boxes, int64_t n);

// scores: n values in [0, 1].
void check_scores(const float* scores, int64_t n);

// values: n finite values; name is the argument's.
void check_finite(const char* name, const float* values, int64_t n);

[[noreturn]] void fail_not_finite(const char* name);

}  // namespace mammofast
