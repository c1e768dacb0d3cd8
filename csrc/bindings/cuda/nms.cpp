#include "../../nms/nms.h"

#include <optional>

#include "../../core/launch.h"
#include "../../core/scratch.h"
#include "device_array.h"
#include "register.h"

namespace mammofast::bindings {
namespace {

// Integers of any size.
std::optional<AnyView> groups_of(const DeviceGuard& guard, py::handle groups, const Extents& shape) {
    if (groups.is_none()) return std::nullopt;
    const DType dtype = AnyView(guard, "groups", groups).dtype();
    if (dtype.kind != 'i' && dtype.kind != 'u')
        throw std::invalid_argument("groups: got " + dtype.name() + ", expected integers");
    return AnyView(guard, "groups", groups, dtype, shape, false);
}

py::tuple nms_batch(py::handle boxes, py::handle scores, py::handle counts, double iou_threshold, py::handle groups,
                    uintptr_t stream, const py::tuple& out) {
    const DeviceGuard guard(boxes, stream);
    const View<const float> corners(guard, "boxes", boxes, {"n", "capacity", 4});
    const int64_t n = corners.size(0), capacity = corners.size(1);
    const View<const float> confidences(guard, "scores", scores, {n, capacity});
    const View<const int32_t> many(guard, "counts", counts, {n});
    const auto group = groups_of(guard, groups, {n, capacity});
    const Output<int32_t> indices(guard, "out indices", out[0], {n, capacity});
    const Output<int32_t> kept(guard, "out counts", out[1], {n});
    const Output<int32_t> status(guard, "out status", out[2], {n});
    {
        py::gil_scoped_release release;
        nms_cuda({corners.data(), confidences.data(), many.data(), group ? group->memory() : nullptr,
                  group ? group->dtype().bytes : 0, n, capacity},
                 iou_threshold, indices.data(), kept.data(), status.data(), guard.stream());
    }
    return py::make_tuple(indices.object(), kept.object(), status.object());
}

// Waits for the stream to learn how many are kept. None where boxes or scores are not sound.
py::object nms(py::handle boxes, py::handle scores, double iou_threshold, py::handle groups, uintptr_t stream) {
    const DeviceGuard guard(boxes, stream);
    const View<const float> corners(guard, "boxes", boxes, {"n", 4});
    const int64_t n = corners.size(0);
    const View<const float> confidences(guard, "scores", scores, {n});
    const auto group = groups_of(guard, groups, {n});
    const Scratch<int32_t> indices(n, guard.stream()), found(2, guard.stream());  // how many are kept, status
    int32_t kept_and_status[2] = {};
    {
        py::gil_scoped_release release;
        nms_cuda({corners.data(), confidences.data(), nullptr, group ? group->memory() : nullptr,
                  group ? group->dtype().bytes : 0, 1, n},
                 iou_threshold, indices.data(), found.data(), found.data() + 1, guard.stream());
        const auto queue = static_cast<cudaStream_t>(guard.stream());
        check(cudaMemcpyAsync(kept_and_status, found.data(), sizeof kept_and_status, cudaMemcpyDeviceToHost, queue),
              "nms");
        check(cudaStreamSynchronize(queue), "nms");
    }
    if (kept_and_status[1] != 0) return py::none();
    const int64_t kept = kept_and_status[0];
    const Output<int64_t> wide(guard, "out", py::none(), {kept});
    nms_indices_cuda(indices.data(), kept, wide.data(), guard.stream());
    return wide.object();
}

}  // namespace

void register_nms(py::module_& module) {
    using namespace py::literals;
    module.def("nms", &nms, "boxes"_a, "scores"_a, "iou_threshold"_a, "groups"_a, "stream"_a,
               "Kept indices, int64 (k,), or None where boxes or scores are not sound; waits for the stream.");
    module.def("nms_batch", &nms_batch, "boxes"_a, "scores"_a, "counts"_a, "iou_threshold"_a, "groups"_a, "stream"_a,
               "out"_a, "Kept indices, int32 (n, capacity), how many, int32 (n,), and status, int32 (n,).");
}

}  // namespace mammofast::bindings
