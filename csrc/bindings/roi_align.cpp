#include "../roi_align/roi_align.h"

#include "arrays.h"
#include "register.h"

namespace mammofast::bindings {
namespace {

Packed<float> roi_align(const Packed<float>& features, const Packed<float>& boxes, const Packed<int64_t>& batch_index,
                        int64_t rows, int64_t cols, float spatial_scale, int64_t sampling_ratio) {
    const FeatureMaps maps{features.data(), features.shape(0), features.shape(1), features.shape(2), features.shape(3)};
    const float* corners = boxes.data();
    const int64_t *images = batch_index.data(), k = boxes.shape(0);
    Packed<float> aligned({static_cast<py::ssize_t>(k), static_cast<py::ssize_t>(maps.channels),
                           static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(cols)});
    float* out = aligned.mutable_data();
    {
        py::gil_scoped_release release;
        roi_align_cpu(maps, corners, images, k, {rows, cols, spatial_scale, sampling_ratio}, out);
    }
    return aligned;
}

}  // namespace

void register_roi_align(py::module_& module) {
    module.def("roi_align", &roi_align, py::arg("features").noconvert(), py::arg("boxes").noconvert(),
               py::arg("batch_index").noconvert(), py::arg("rows"), py::arg("cols"), py::arg("spatial_scale"),
               py::arg("sampling_ratio"), "Averages, float32 (k, channels, rows, cols).");
}

}  // namespace mammofast::bindings
