#include "../paste_masks/paste_masks.h"

#include "arrays.h"
#include "register.h"

namespace mammofast::bindings {
namespace {

void paste_masks(const Packed<float>& crops, const Packed<int32_t>& boxes, float threshold, Packed<bool>& mask) {
    const Crops views{crops.data(), crops.shape(0), crops.shape(1), crops.shape(2)};
    const int32_t* corners = boxes.data();
    const Image<uint8_t> out{reinterpret_cast<uint8_t*>(mask.mutable_data()), mask.shape(0), mask.shape(1),
                             mask.shape(1)};
    py::gil_scoped_release release;
    paste_masks_cpu(views, corners, threshold, out);
}

}  // namespace

void register_paste_masks(py::module_& module) {
    module.def("paste_masks", &paste_masks, py::arg("crops").noconvert(), py::arg("boxes").noconvert(),
               py::arg("threshold"), py::arg("mask").noconvert(), "Adds to mask, bool (rows, cols), in place.");
}

}  // namespace mammofast::bindings
