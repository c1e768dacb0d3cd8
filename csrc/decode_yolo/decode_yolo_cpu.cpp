#include "decode_yolo.h"

#include "../core/checks.h"
#include "../core/simd.h"
#include "decode_yolo_math.h"

namespace mammofast {
namespace {

// No early exit, so that it vectorizes.
MAMMOFAST_SIMD bool all_finite(const float* values, int64_t n) {
    int64_t bad = 0;
    for (int64_t i = 0; i < n; ++i) bad += !is_finite(values[i]);
    return bad == 0;
}

MAMMOFAST_SIMD bool all_finite(const uint16_t* halves, int64_t n) {
    int64_t bad = 0;
    for (int64_t i = 0; i < n; ++i) bad += (halves[i] & 0x7c00u) == 0x7c00u;
    return bad == 0;
}

template <typename T>
void decode(const YoloHead& head, double threshold, const YoloFrame* frame, YoloBoxes& found) {
    const auto* values = static_cast<const T*>(head.values);
    const int64_t plane = int64_t(head.rows) * head.cols;
    if (!all_finite(values, YOLO_ANCHORS * YOLO_CHANNELS * plane)) fail_not_finite("heads");
    const float least = least_logit(threshold);
    const Stretch stretch = make_stretch(frame, head);
    for (int anchor = 0; anchor < YOLO_ANCHORS; ++anchor) {
        const T* first = values + anchor * YOLO_CHANNELS * plane;
        for (int64_t i = 0; i < plane; ++i) {
            if (value_of(first[4 * plane + i]) < least || value_of(first[5 * plane + i]) < least) continue;
            const double score = yolo_score(first + i, plane);
            if (!(score >= threshold)) continue;
            float box[4];
            yolo_box(first + i, plane, static_cast<int32_t>(i / head.cols), static_cast<int32_t>(i % head.cols),
                     head.anchors[anchor], head.stride, stretch, box);
            found.boxes.insert(found.boxes.end(), box, box + 4);
            found.scores.push_back(static_cast<float>(score));
        }
    }
}

}  // namespace

YoloBoxes decode_yolo_cpu(const YoloHeads& heads, double threshold, const YoloFrame* frame) {
    YoloBoxes found;
    for (int i = 0; i < heads.n; ++i)
        heads.half ? decode<uint16_t>(heads.head[i], threshold, frame, found)
                   : decode<float>(heads.head[i], threshold, frame, found);
    return found;
}

}  // namespace mammofast
