#include "../fuse_boxes/fuse_boxes.h"

#include "../core/votes.h"
#include "arrays.h"
#include "register.h"

namespace mammofast::bindings {
namespace {

py::tuple fuse_boxes(const Packed<float>& boxes, const Packed<float>& scores, int64_t n_scales, int64_t rows,
                     int64_t cols, int64_t num, int64_t den) {
    const float *corners = boxes.data(), *confidences = scores.data();
    const int64_t n = scores.shape(0);
    Fusion fusion;
    {
        py::gil_scoped_release release;
        fusion = fuse_boxes_cpu(corners, confidences, n, {rows, cols}, num, den);
    }

    const auto k = static_cast<py::ssize_t>(fusion.boxes.size());
    Packed<int32_t> fused({k, py::ssize_t{4}});
    Packed<float> relative(k), absolute(k);
    int32_t* corner = fused.mutable_data();
    float *score = relative.mutable_data(), *confidence = absolute.mutable_data();
    for (const FusedBox& box : fusion.boxes) {
        *corner++ = box.x_min, *corner++ = box.y_min, *corner++ = box.x_max, *corner++ = box.y_max;
        *score++ = relative_score(box.peak, n_scales, fusion.strongest);
        *confidence++ = relative_score(box.peak, n_scales, static_cast<int64_t>(VOTE_ONE));
    }
    return py::make_tuple(fused, relative, absolute);
}

}  // namespace

void register_fuse_boxes(py::module_& module) {
    module.def("fuse_boxes", &fuse_boxes, py::arg("boxes").noconvert(), py::arg("scores").noconvert(),
               py::arg("n_scales"), py::arg("rows"), py::arg("cols"), py::arg("num"), py::arg("den"),
               "Boxes int32 (k, 4), scores and confidences float32 (k,); num / den is threshold times n_scales.");
}

}  // namespace mammofast::bindings
