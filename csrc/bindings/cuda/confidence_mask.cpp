#include "../../confidence_mask/confidence_mask.h"

#include "device_array.h"
#include "register.h"

namespace mammofast::bindings {
namespace {

py::tuple confidence_mask(py::handle boxes, py::handle scores, int64_t n_scales, int64_t rows, int64_t cols,
                          uintptr_t stream) {
    const DeviceGuard guard(boxes, stream);
    const View<const float> corners(guard, "boxes", boxes, {"n", 4});
    const View<const float> confidences(guard, "scores", scores, {corners.size(0)});
    const Output<float> mask(guard, "out", py::none(), {rows, cols});
    const Output<int32_t> status(guard, "status", py::none(), {1});
    {
        py::gil_scoped_release release;
        confidence_mask_cuda({corners.data(), confidences.data(), nullptr, 1, corners.size(0), n_scales, rows, cols,
                              mask.data(), status.data()},
                             guard.stream());
    }
    return py::make_tuple(mask.object(), status.object());
}

py::tuple confidence_mask_batch(py::handle boxes, py::handle scores, py::handle counts, int64_t n_scales, int64_t rows,
                                int64_t cols, uintptr_t stream, py::object out) {
    const DeviceGuard guard(boxes, stream);
    const View<const float> corners(guard, "boxes", boxes, {"n", "capacity", 4});
    const int64_t n = corners.size(0), capacity = corners.size(1);
    const View<const float> confidences(guard, "scores", scores, {n, capacity});
    const View<const int32_t> many(guard, "counts", counts, {n});
    const Output<float> masks(guard, "out", std::move(out), {n, rows, cols});
    const Output<int32_t> status(guard, "status", py::none(), {n});
    {
        py::gil_scoped_release release;
        confidence_mask_cuda({corners.data(), confidences.data(), many.data(), n, capacity, n_scales, rows, cols,
                              masks.data(), status.data()},
                             guard.stream());
    }
    return py::make_tuple(masks.object(), status.object());
}

}  // namespace

void register_confidence_mask(py::module_& module) {
    using namespace py::literals;
    module.def("confidence_mask", &confidence_mask, "boxes"_a, "scores"_a, "n_scales"_a, "rows"_a, "cols"_a, "stream"_a,
               "Eq. 1, float32 (rows, cols), and status, int32 (1,).");
    module.def("confidence_mask_batch", &confidence_mask_batch, "boxes"_a, "scores"_a, "counts"_a, "n_scales"_a,
               "rows"_a, "cols"_a, "stream"_a, "out"_a, "Eq. 1, float32 (n, rows, cols), and status, int32 (n,).");
}

}  // namespace mammofast::bindings
