// The heads of a detector as Python describes them, for both faces of decode_yolo. Numbers have been checked in Python.
#pragma once

#include <pybind11/stl.h>

#include <array>
#include <vector>

#include "../decode_yolo/decode_yolo.h"

namespace mammofast::bindings {

using Anchors = std::vector<std::array<double, 2>>;

inline YoloHeads describe_heads(const std::vector<int32_t>& strides, const Anchors& anchors) {
    YoloHeads heads{};
    heads.n = static_cast<int>(strides.size());
    for (int i = 0; i < heads.n; ++i) {
        heads.head[i].stride = strides[i];
        for (int a = 0; a < YOLO_ANCHORS; ++a)
            for (int side = 0; side < 2; ++side) heads.head[i].anchors[a][side] = anchors[i * YOLO_ANCHORS + a][side];
    }
    return heads;
}

}  // namespace mammofast::bindings
