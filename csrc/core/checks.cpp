#include "checks.h"

#include <cmath>
#include <sstream>
#include <stdexcept>

#include "simd.h"

namespace mammofast {
namespace {

template <typename T>
[[noreturn]] void fail_box(const T* boxes, int64_t index, const char* expected) {
    const T* box = boxes + 4 * index;
    std::ostringstream message;
    message << "boxes: got (" << box[0] << ", " << box[1] << ", " << box[2] << ", " << box[3] << ") at index " << index
            << ", expected " << expected;
    throw std::invalid_argument(message.str());
}

// A difference of finite float32 values is finite in double; NaN and Inf fail both comparisons below.
constexpr double LARGEST = 3.4028234663852886e38;

MAMMOFAST_SIMD int64_t count_bad_boxes(const float* boxes, int64_t n) {
    int64_t bad = 0;
    for (int64_t i = 0; i < n; ++i) {
        const float* box = boxes + 4 * i;
        bool finite = true;
        for (int k = 0; k < 4; ++k) finite &= std::fabs(box[k]) <= LARGEST;
        bad += !(finite & (box[0] <= box[2]) & (box[1] <= box[3]));
    }
    return bad;
}

MAMMOFAST_SIMD int64_t count_bad_scores(const float* scores, int64_t n) {
    int64_t bad = 0;
    for (int64_t i = 0; i < n; ++i) bad += !((scores[i] >= 0.0f) & (scores[i] <= 1.0f));
    return bad;
}

MAMMOFAST_SIMD int64_t count_not_finite(const float* values, int64_t n) {
    int64_t bad = 0;
    for (int64_t i = 0; i < n; ++i) bad += !(std::fabs(values[i]) <= LARGEST);
    return bad;
}

}  // namespace

void check_boxes(const float* boxes, int64_t n) {
    if (count_bad_boxes(boxes, n) == 0) return;
    for (int64_t i = 0; i < n; ++i) {
        const float* box = boxes + 4 * i;
        for (int k = 0; k < 4; ++k)
            if (!std::isfinite(box[k])) fail_box(boxes, i, "finite coordinates");
        if (box[2] < box[0]) fail_box(boxes, i, "x_max >= x_min");
        if (box[3] < box[1]) fail_box(boxes, i, "y_max >= y_min");
    }
}

void check_boxes(const int32_t* boxes, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        const int32_t* box = boxes + 4 * i;
        if (box[2] < box[0]) fail_box(boxes, i, "x_max >= x_min");
        if (box[3] < box[1]) fail_box(boxes, i, "y_max >= y_min");
    }
}

void check_scores(const float* scores, int64_t n) {
    if (count_bad_scores(scores, n) == 0) return;
    for (int64_t i = 0; i < n; ++i) {
        if (scores[i] >= 0.0f && scores[i] <= 1.0f) continue;
        std::ostringstream message;
        message << "scores: got " << scores[i] << " at index " << i << ", expected values in [0, 1]";
        throw std::invalid_argument(message.str());
    }
}

void check_finite(const char* name, const float* values, int64_t n) {
    if (count_not_finite(values, n) != 0) fail_not_finite(name);
}

void fail_not_finite(const char* name) {
    throw std::invalid_argument(std::string(name) + ": got NaN or Inf, expected finite values");
}

}  // namespace mammofast
