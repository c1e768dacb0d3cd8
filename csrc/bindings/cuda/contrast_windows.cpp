#include "../../contrast_windows/contrast_windows.h"

#include "device_images.h"
#include "register.h"

namespace mammofast::bindings {
namespace {

py::tuple contrast_windows(const py::list& images, const py::list& tables, bool min_max, double low_part,
                           double high_part, uintptr_t stream, const py::tuple& out) {
    const DeviceGuard guard(first_of(images), stream);
    const DeviceImages sources(guard, "images", images, tables);
    const Output<double> windows(guard, "out[0]", out[0], {sources.size(), 2});
    const Output<int32_t> status = new_status(guard, out[1], sources.size());
    {
        py::gil_scoped_release release;
        contrast_windows_cuda(sources.sources(), {min_max, low_part, high_part}, windows.data(), status.data(),
                              guard.stream());
    }
    return py::make_tuple(windows.object(), status.object());
}

}  // namespace

void register_contrast_windows(py::module_& module) {
    using namespace py::literals;
    module.def("contrast_windows", &contrast_windows, "images"_a, "tables"_a, "min_max"_a, "low_part"_a, "high_part"_a,
               "stream"_a, "out"_a, "low and high of each image, float64 (n, 2), and status, int32 (n,).");
}

}  // namespace mammofast::bindings
