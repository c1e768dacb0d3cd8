#include "../../segmentation_inputs/segmentation_inputs.h"

#include <pybind11/stl.h>

#include "device_images.h"
#include "register.h"

namespace mammofast::bindings {
namespace {

py::tuple run(const DeviceGuard& guard, const DeviceImages& crops, const double* windows, int64_t rows, int64_t cols,
              bool half, const py::tuple& out) {
    const std::vector<int64_t> shape{crops.size(), 1, rows, cols};
    const Output<int32_t> status = new_status(guard, out[1], crops.size());
    const auto fill = [&](void* data, py::object object) {
        {
            py::gil_scoped_release release;
            segmentation_inputs_cuda(crops.sources(), windows, {data, rows, cols}, half ? Kept::HALF : Kept::FLOAT,
                                     status.data(), guard.stream());
        }
        return py::make_tuple(std::move(object), status.object());
    };
    if (half) {
        const Output<uint16_t> batch(guard, "out[0]", out[0], shape, HALF);
        return fill(batch.data(), batch.object());
    }
    const Output<float> batch(guard, "out[0]", out[0], shape);
    return fill(batch.data(), batch.object());
}

py::tuple segmentation_inputs(const py::list& windows, const py::list& tables, const Contrasts& contrasts, int64_t rows,
                              int64_t cols, uintptr_t stream) {
    const DeviceGuard guard(first_of(windows), stream);
    const DeviceImages crops(guard, "windows", windows, tables, contrasts);
    return run(guard, crops, nullptr, rows, cols, false, py::make_tuple(py::none(), py::none()));
}

py::tuple segmentation_inputs_batch(const py::list& crops, const py::list& tables, py::handle windows,
                                    const std::vector<int64_t>& image_of, int64_t rows, int64_t cols, bool half,
                                    uintptr_t stream, const py::tuple& out) {
    const DeviceGuard guard(first_of(crops), stream);
    const DeviceImages sources(guard, "crops", crops, tables, {}, image_of);
    const View<const double> contrasts(guard, "windows", windows, {"n", 2});
    for (const int64_t image : image_of)
        if (image < 0 || image >= contrasts.size(0))
            throw std::invalid_argument("image_of: got " + std::to_string(image) + ", expected the index of one of " +
                                        std::to_string(contrasts.size(0)) + " windows");
    return run(guard, sources, contrasts.data(), rows, cols, half, out);
}

}  // namespace

void register_segmentation_inputs(py::module_& module) {
    using namespace py::literals;
    module.def("segmentation_inputs", &segmentation_inputs, "windows"_a, "tables"_a, "contrasts"_a, "rows"_a, "cols"_a,
               "stream"_a, "float32 (n, 1, rows, cols), and status, int32 (n,).");
    module.def("segmentation_inputs_batch", &segmentation_inputs_batch, "crops"_a, "tables"_a, "windows"_a,
               "image_of"_a, "rows"_a, "cols"_a, "half"_a, "stream"_a, "out"_a,
               "An array (n, 1, rows, cols), and status, int32 (n,).");
}

}  // namespace mammofast::bindings
