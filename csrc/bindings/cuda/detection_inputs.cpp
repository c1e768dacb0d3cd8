#include "../../detection_inputs/detection_inputs.h"

#include <pybind11/stl.h>

#include "device_images.h"
#include "register.h"

namespace mammofast::bindings {
namespace {

using Shapes = std::vector<std::pair<int64_t, int64_t>>;

// Where the inputs of one size go: the caller's array, or a new one.
struct Target {
    Target(const DeviceGuard& guard, const std::string& name, py::object given, std::vector<int64_t> shape, bool half)
        : data(nullptr) {
        if (half) {
            const Output<uint16_t> output(guard, name.c_str(), std::move(given), std::move(shape), HALF);
            data = output.data(), object = output.object();
        } else {
            const Output<float> output(guard, name.c_str(), std::move(given), std::move(shape));
            data = output.data(), object = output.object();
        }
    }

    void* data;
    py::object object;
};

// The outputs and the status.
py::tuple run(const DeviceGuard& guard, const DeviceImages& images, const double* windows, const Shapes& shapes,
              bool letterbox, bool half, bool lone, const py::tuple& out) {
    py::list made;
    std::vector<DeviceTarget> targets;
    for (size_t t = 0; t < shapes.size(); ++t) {
        const auto [rows, cols] = shapes[t];
        const std::vector<int64_t> shape =
            lone ? std::vector<int64_t>{rows, cols} : std::vector<int64_t>{images.size(), 1, rows, cols};
        const Target target(guard, "out[" + std::to_string(t) + "]", out[t], shape, half);
        targets.push_back({target.data, rows, cols});
        made.append(target.object);
    }
    const Output<int32_t> status = new_status(guard, out[shapes.size()], images.size());
    {
        py::gil_scoped_release release;
        detection_inputs_cuda(images.sources(), windows, targets, half ? Kept::HALF : Kept::FLOAT,
                              letterbox ? Fit::LETTERBOX : Fit::STRETCH, status.data(), guard.stream());
    }
    return py::make_tuple(made, status.object());
}

py::tuple detection_inputs(py::handle pixels, py::handle table, double low, double high, const Shapes& shapes,
                           bool letterbox, uintptr_t stream) {
    const DeviceGuard guard(pixels, stream);
    py::list image, tables;
    image.append(pixels), tables.append(table);
    const DeviceImages images(guard, "pixels", image, tables, Contrasts(1, {low, high}));
    const py::tuple out = py::tuple(py::list(py::make_tuple(py::none())) * py::int_(shapes.size() + 1));
    return run(guard, images, nullptr, shapes, letterbox, false, true, out);
}

py::tuple detection_inputs_batch(const py::list& images, const py::list& tables, py::handle windows,
                                 const Shapes& shapes, bool letterbox, bool half, uintptr_t stream,
                                 const py::tuple& out) {
    const DeviceGuard guard(first_of(images), stream);
    const DeviceImages sources(guard, "images", images, tables);
    const double* contrast = windows_or_null(guard, windows, sources.size());
    return run(guard, sources, contrast, shapes, letterbox, half, false, out);
}

}  // namespace

void register_detection_inputs(py::module_& module) {
    using namespace py::literals;
    module.def("detection_inputs", &detection_inputs, "pixels"_a, "table"_a, "low"_a, "high"_a, "shapes"_a,
               "letterbox"_a, "stream"_a, "A float32 array (rows, cols) a shape, and status, int32 (1,).");
    module.def("detection_inputs_batch", &detection_inputs_batch, "images"_a, "tables"_a, "windows"_a, "shapes"_a,
               "letterbox"_a, "half"_a, "stream"_a, "out"_a,
               "An array (n, 1, rows, cols) a shape, and status, int32 (n,).");
}

}  // namespace mammofast::bindings
