#include "../confidence_mask/confidence_mask.h"

#include "arrays.h"
#include "register.h"

namespace mammofast::bindings {
namespace {

Packed<float> confidence_mask(const Packed<float>& boxes, const Packed<float>& scores, int64_t n_scales, int64_t rows,
                              int64_t cols) {
    const float *corners = boxes.data(), *confidences = scores.data();
    const int64_t n = scores.shape(0);
    Packed<float> mask({rows, cols});
    const Image<float> out = image_of(mask);
    {
        py::gil_scoped_release release;
        confidence_mask_cpu(corners, confidences, n, n_scales, out);
    }
    return mask;
}

}  // namespace

void register_confidence_mask(py::module_& module) {
    module.def("confidence_mask", &confidence_mask, py::arg("boxes").noconvert(), py::arg("scores").noconvert(),
               py::arg("n_scales"), py::arg("rows"), py::arg("cols"), "Eq. 1, float32 (rows, cols).");
}

}  // namespace mammofast::bindings
