#include "../../roi_align/roi_align.h"

#include "arguments.h"
#include "register.h"

namespace mammofast::bindings {
namespace {

// batch_index: int64 on the host or the device, or int32 on the device.
py::tuple roi_align(py::handle features, py::handle boxes, py::handle batch_index, int64_t rows, int64_t cols,
                    float spatial_scale, int64_t sampling_ratio, uintptr_t stream,
                    const py::tuple& out) {
    const DeviceGuard guard(features, stream);
    return with_real_view(guard, "features", features, {"n", "c", "h", "w"}, [&](const auto& maps) {
        using T = std::remove_reference_t<decltype(*maps.data())>;
        const View<const float> corners(guard, "boxes", boxes, {"k", 4});
        const int64_t k = corners.size(0);
        const FeatureStack<std::remove_const_t<T>> stack{maps.data(), maps.size(0), maps.size(1), maps.size(2),
                                                         maps.size(3)};
        const Output<float> aligned(guard, "out[0]", out[0], {k, stack.channels, rows, cols});
        const Output<int32_t> status(guard, "out[1]", out[1], {stack.n});
        const auto align = [&](const auto& images) {
            py::gil_scoped_release release;
            roi_align_cuda(stack, corners.data(), images.data(), k, RoiGrid{rows, cols, spatial_scale, sampling_ratio},
                           aligned.data(), status.data(), guard.stream());
        };
        if (py::isinstance<py::array>(batch_index) ||
            AnyView(guard, "batch_index", batch_index).dtype() == dtype_of<int64_t>())
            align(Copied<int64_t>(guard, "batch_index", batch_index, {k}));
        else
            align(View<const int32_t>(guard, "batch_index", batch_index, {k}));
        return py::make_tuple(aligned.object(), status.object());
    });
}

}  // namespace

void register_roi_align(py::module_& module) {
    using namespace py::literals;
    module.def("roi_align", &roi_align, "features"_a, "boxes"_a, "batch_index"_a, "rows"_a, "cols"_a,
               "spatial_scale"_a, "sampling_ratio"_a, "stream"_a, "out"_a,
               "Averages, float32 (k, channels, rows, cols), and status, int32 (n,).");
}

}  // namespace mammofast::bindings
