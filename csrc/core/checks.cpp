#include "checks.h"

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

// The counts below have no early exit, so that they vectorize; bad input is looked at again to say what is wrong.
MAMMOFAST_SIMD int64_t count_bad_boxes(const float* boxes, int64_t n) {
    int64_t bad = 0;
    for (int64_t i = 0; i < n; ++i) bad += !is_sound_box(boxes + 4 * i);
    return bad;
}

MAMMOFAST_SIMD int64_t count_bad_scores(const float* scores, int64_t n) {
    int64_t bad = 0;
    for (int64_t i = 0; i < n; ++i) bad += !is_sound_score(scores[i]);
    return bad;
}

MAMMOFAST_SIMD int64_t count_not_finite(const float* values, int64_t n) {
    int64_t bad = 0;
    for (int64_t i = 0; i < n; ++i) bad += !is_finite(values[i]);
    return bad;
}

template <typename T>
void check_order(const T* boxes, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        if (boxes[4 * i + 2] < boxes[4 * i]) fail_box(boxes, i, "x_max >= x_min");
        if (boxes[4 * i + 3] < boxes[4 * i + 1]) fail_box(boxes, i, "y_max >= y_min");
    }
}

}  // namespace

void check_boxes(const float* boxes, int64_t n) {
    if (count_bad_boxes(boxes, n) == 0) return;
    for (int64_t i = 0; i < 4 * n; ++i)
        if (!is_finite(boxes[i])) fail_box(boxes, i / 4, "finite coordinates");
    check_order(boxes, n);
}

void check_boxes(const int32_t* boxes, int64_t n) { check_order(boxes, n); }

void check_scores(const float* scores, int64_t n) {
    if (count_bad_scores(scores, n) == 0) return;
    int64_t i = 0;
    while (is_sound_score(scores[i])) ++i;
    std::ostringstream message;
    message << "scores: got " << scores[i] << " at index " << i << ", expected values in [0, 1]";
    throw std::invalid_argument(message.str());
}

void check_finite(const char* name, const float* values, int64_t n) {
    if (count_not_finite(values, n) != 0) fail_not_finite(name);
}

void fail_not_finite(const char* name) {
    throw std::invalid_argument(std::string(name) + ": got NaN or Inf, expected finite values");
}

}  // namespace mammofast
