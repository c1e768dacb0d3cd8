#include "../detection_inputs/detection_inputs.h"

#include <utility>

#include "arrays.h"
#include "register.h"

namespace mammofast::bindings {
namespace {

py::list detection_inputs(const py::array& pixels, const py::object& values, int64_t first, double low, double high,
                          const std::vector<std::pair<int64_t, int64_t>>& shapes, bool letterbox) {
    return with_pixel_type(pixels, [&](auto pixel) {
        using T = decltype(pixel);
        py::list arrays;
        std::vector<Image<float>> targets;
        for (const auto& [rows, cols] : shapes) {
            Packed<float> array({rows, cols});
            targets.push_back(image_of(array));
            arrays.append(array);
        }
        const Image<const T> source = const_image_of<T>(pixels);
        const GreyTable table = grey_table_of(values, first);
        py::gil_scoped_release release;
        detection_inputs_cpu(source, table, {low, high}, targets, letterbox ? Fit::LETTERBOX : Fit::STRETCH);
        return arrays;
    });
}

}  // namespace

void register_detection_inputs(py::module_& module) {
    module.def("detection_inputs", &detection_inputs, py::arg("pixels"), py::arg("values"), py::arg("first"),
               py::arg("low"), py::arg("high"), py::arg("shapes"), py::arg("letterbox"),
               "One float32 array a shape.");
}

}  // namespace mammofast::bindings
