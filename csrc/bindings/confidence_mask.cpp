#include "../confidence_mask/confidence_mask.h"

#include <memory>

#include "../core/device.h"
#include "arrays.h"
#include "device_array.h"
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

#ifdef MAMMOFAST_WITH_CUDA

// Device pointers of contiguous float32 boxes (n, 4) and scores (n,); a stream as __cuda_array_interface__ names it.
std::unique_ptr<DeviceArray> confidence_mask_on_device(uintptr_t boxes, uintptr_t scores, int64_t n, int64_t n_scales,
                                                       int64_t rows, int64_t cols, uintptr_t stream) {
    py::gil_scoped_release release;
    const DeviceGuard guard(reinterpret_cast<const void*>(boxes));
    auto mask = std::make_unique<DeviceArray>(rows, cols, stream);
    confidence_mask_cuda(reinterpret_cast<const float*>(boxes), reinterpret_cast<const float*>(scores), n, n_scales,
                         mask->image(), reinterpret_cast<void*>(stream));
    return mask;
}

// https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html, version 3
py::dict array_interface(const DeviceArray& array) {
    const Image<float> image = array.image();
    py::dict interface;
    interface["version"] = 3;
    interface["typestr"] = "<f4";
    interface["shape"] = py::make_tuple(image.rows, image.cols);
    interface["strides"] = py::none();
    interface["data"] = py::make_tuple(reinterpret_cast<uintptr_t>(image.data), false);
    interface["stream"] = array.stream();
    return interface;
}

#endif

}  // namespace

void register_confidence_mask(py::module_& module) {
    module.def("confidence_mask", &confidence_mask, py::arg("boxes").noconvert(), py::arg("scores").noconvert(),
               py::arg("n_scales"), py::arg("rows"), py::arg("cols"), "Eq. 1, float32 (rows, cols).");
#ifdef MAMMOFAST_WITH_CUDA
    py::class_<DeviceArray>(module, "DeviceArray", "A float32 array (rows, cols) on a CUDA device.")
        .def_property_readonly("__cuda_array_interface__", &array_interface);
    module.def("confidence_mask_on_device", &confidence_mask_on_device, py::arg("boxes"), py::arg("scores"),
               py::arg("n"), py::arg("n_scales"), py::arg("rows"), py::arg("cols"), py::arg("stream"),
               "Eq. 1 on the CUDA device that holds the boxes.");
#endif
}

}  // namespace mammofast::bindings
