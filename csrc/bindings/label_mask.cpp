#include "../label_mask/label_mask.h"

#include "arrays.h"
#include "register.h"

namespace mammofast::bindings {
namespace {

py::tuple label_mask(const py::array& mask, Packed<int32_t>& labels) {
    const Image<const uint8_t> source = const_image_of<uint8_t>(mask);
    const Image<int32_t> out = image_of(labels);
    std::vector<Component> found;
    {
        py::gil_scoped_release release;
        found = label_mask_cpu(source, out);
    }
    const auto k = static_cast<py::ssize_t>(found.size());
    Packed<int32_t> boxes({k, py::ssize_t{4}});
    Packed<int64_t> areas(k);
    int32_t* corners = boxes.mutable_data();
    for (py::ssize_t i = 0; i < k; ++i) {
        const Component& component = found[i];
        corners[4 * i] = component.x_min, corners[4 * i + 1] = component.y_min;
        corners[4 * i + 2] = component.x_max, corners[4 * i + 3] = component.y_max;
        areas.mutable_data()[i] = component.area;
    }
    return py::make_tuple(boxes, areas);
}

}  // namespace

void register_label_mask(py::module_& module) {
    module.def("label_mask", &label_mask, py::arg("mask"), py::arg("labels").noconvert(),
               "Fills labels, int32 zeros (rows, cols); returns boxes int32 (k, 4) and areas int64 (k,).");
}

}  // namespace mammofast::bindings
