#include "../decode_yolo/decode_yolo.h"

#include <optional>
#include <utility>

#include "arrays.h"
#include "register.h"
#include "yolo_heads.h"

namespace mammofast::bindings {
namespace {

// arrays: contiguous, all float32 or all float16, (channels, rows, cols). frame: (rows, cols) or None.
py::tuple decode_yolo(const std::vector<py::array>& arrays, const std::vector<int32_t>& strides, const Anchors& anchors,
                      double threshold, const std::optional<std::pair<int32_t, int32_t>>& frame) {
    YoloHeads heads = describe_heads(strides, anchors);
    for (int i = 0; i < heads.n; ++i) {
        heads.head[i].values = arrays[i].data();
        heads.head[i].rows = static_cast<int32_t>(arrays[i].shape(1));
        heads.head[i].cols = static_cast<int32_t>(arrays[i].shape(2));
        heads.half = arrays[i].itemsize() == 2;
    }
    const YoloFrame shown = frame ? YoloFrame{frame->first, frame->second} : YoloFrame{};
    YoloBoxes found;
    {
        py::gil_scoped_release release;
        found = decode_yolo_cpu(heads, threshold, frame ? &shown : nullptr);
    }
    const auto n = static_cast<py::ssize_t>(found.scores.size());
    return py::make_tuple(Packed<float>({n, py::ssize_t{4}}, found.boxes.data()),
                          Packed<float>(n, found.scores.data()));
}

}  // namespace

void register_decode_yolo(py::module_& module) {
    module.def("decode_yolo", &decode_yolo, py::arg("heads"), py::arg("strides"), py::arg("anchors"),
               py::arg("threshold"), py::arg("frame"), "Boxes float32 (k, 4), scores float32 (k,).");
    module.attr("YOLO_ANCHORS") = YOLO_ANCHORS;
    module.attr("YOLO_CHANNELS") = YOLO_CHANNELS;
    module.attr("YOLO_MOST_HEADS") = YOLO_MOST_HEADS;
}

}  // namespace mammofast::bindings
