#include "../segmentation_inputs/segmentation_inputs.h"

#include "arrays.h"
#include "register.h"

namespace mammofast::bindings {
namespace {

void segmentation_input(const py::array& window, const py::object& values, int64_t first, double low, double high,
                        Packed<float>& out) {
    with_pixel_type(window, [&](auto pixel) {
        using T = decltype(pixel);
        const Image<const T> source = const_image_of<T>(window);
        const GreyTable table = grey_table_of(values, first);
        const Image<float> target = image_of(out);
        py::gil_scoped_release release;
        segmentation_input_cpu(source, table, {low, high}, target);
    });
}

}  // namespace

void register_segmentation_inputs(py::module_& module) {
    module.def("segmentation_input", &segmentation_input, py::arg("window"), py::arg("values"), py::arg("first"),
               py::arg("low"), py::arg("high"), py::arg("out").noconvert(), "Fills out, float32 (rows, cols).");
}

}  // namespace mammofast::bindings
