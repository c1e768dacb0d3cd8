#include "../nms/nms.h"

#include <optional>

#include "arrays.h"
#include "register.h"

namespace mammofast::bindings {
namespace {

Packed<int64_t> nms(const Packed<float>& boxes, const Packed<float>& scores, double iou_threshold,
                    const std::optional<Packed<int64_t>>& groups) {
    const float *corners = boxes.data(), *confidences = scores.data();
    const int64_t* group = groups ? groups->data() : nullptr;
    const int64_t n = scores.shape(0);
    std::vector<int64_t> kept;
    {
        py::gil_scoped_release release;
        kept = nms_cpu(corners, confidences, group, n, iou_threshold);
    }
    return Packed<int64_t>(static_cast<py::ssize_t>(kept.size()), kept.data());
}

}  // namespace

void register_nms(py::module_& module) {
    module.def("nms", &nms, py::arg("boxes").noconvert(), py::arg("scores").noconvert(), py::arg("iou_threshold"),
               py::arg("groups").noconvert() = py::none(), "Kept indices, int64 (k,).");
}

}  // namespace mammofast::bindings
