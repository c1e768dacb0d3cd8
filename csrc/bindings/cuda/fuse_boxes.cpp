#include "../../fuse_boxes/fuse_boxes.h"

#include <optional>
#include <string>

#include "../../core/status.h"
#include "device_array.h"
#include "register.h"
#include "trimmed.h"

namespace mammofast::bindings {
namespace {

// Memory for the results of one image.
struct Padded {
    Padded(int64_t capacity, void* stream)
        : boxes(4 * capacity, stream), scores(capacity, stream), confidence(capacity, stream), count(1, stream),
          status(1, stream), capacity(capacity) {}

    FusedBatch batch() const {
        return {boxes.data(), scores.data(), confidence.data(), count.data(), status.data(), capacity};
    }

    Scratch<int32_t> boxes;
    Scratch<float> scores, confidence;
    Scratch<int32_t> count, status;
    int64_t capacity;
};

py::object fuse_boxes(py::handle boxes, py::handle scores, int64_t n_scales, int32_t rows, int32_t cols, int64_t num,
                      int64_t den, uintptr_t stream) {
    const DeviceGuard guard(boxes, stream);
    const View<const float> corners(guard, "boxes", boxes, {"n", 4});
    const int64_t n = corners.size(0);
    const View<const float> confidences(guard, "scores", scores, {n});
    if (n > MOST_FUSED_BOXES)
        throw std::invalid_argument("boxes: got " + std::to_string(n) + " boxes, expected at most " +
                                    std::to_string(MOST_FUSED_BOXES) + " on a CUDA device; NumPy arrays may be longer");
    std::optional<Padded> found;
    int32_t count = 0, status = 0;
    {
        py::gil_scoped_release release;
        const Scratch<int32_t> facts(3, guard.stream());
        const int32_t values[3] = {static_cast<int32_t>(n), rows, cols};
        check(cudaMemcpyAsync(facts.data(), values, sizeof values, cudaMemcpyHostToDevice,
                              static_cast<cudaStream_t>(guard.stream())),
              "copy to the device");
        const BoxBatch batch{corners.data(), confidences.data(), facts.data(), facts.data() + 1, 1, n};
        for (const int64_t capacity : {n, n * n}) {  // hardly ever more components than boxes, never more than n * n
            found.emplace(capacity, guard.stream());
            fuse_boxes_cuda(batch, n_scales, num, den, found->batch(), guard.stream());
            status = host_value(found->status, guard);
            if (status != STATUS_OVERFLOW) break;
        }
        count = host_value(found->count, guard);
    }
    if (status & STATUS_UNSOUND) return py::none();
    return py::make_tuple(trimmed(found->boxes, guard, {count, 4}), trimmed(found->scores, guard, {count}),
                          trimmed(found->confidence, guard, {count}));
}

py::tuple fuse_boxes_batch(py::handle boxes, py::handle scores, py::handle counts, int64_t n_scales, py::handle shapes,
                           int64_t num, int64_t den, int64_t capacity, uintptr_t stream, const py::tuple& out) {
    const DeviceGuard guard(boxes, stream);
    const View<const float> corners(guard, "boxes", boxes, {"n", "capacity", 4});
    const int64_t n = corners.size(0);
    const View<const float> confidences(guard, "scores", scores, {n, corners.size(1)});
    const View<const int32_t> many(guard, "counts", counts, {n});
    const View<const int32_t> sizes(guard, "shapes", shapes, {n, 2});
    const Output<int32_t> fused(guard, "out[0]", out[0], {n, capacity, 4});
    const Output<float> relative(guard, "out[1]", out[1], {n, capacity});
    const Output<float> absolute(guard, "out[2]", out[2], {n, capacity});
    const Output<int32_t> found(guard, "out[3]", out[3], {n}), status(guard, "out[4]", out[4], {n});
    {
        py::gil_scoped_release release;
        fuse_boxes_cuda({corners.data(), confidences.data(), many.data(), sizes.data(), n, corners.size(1)}, n_scales,
                        num, den,
                        {fused.data(), relative.data(), absolute.data(), found.data(), status.data(), capacity},
                        guard.stream());
    }
    return py::make_tuple(fused.object(), relative.object(), absolute.object(), found.object(), status.object());
}

}  // namespace

void register_fuse_boxes(py::module_& module) {
    using namespace py::literals;
    module.attr("MOST_FUSED_BOXES") = MOST_FUSED_BOXES;
    module.def("fuse_boxes", &fuse_boxes, "boxes"_a, "scores"_a, "n_scales"_a, "rows"_a, "cols"_a, "num"_a, "den"_a,
               "stream"_a, "Boxes, scores and confidences as the CPU's, None where values are not sound; waits.");
    module.def("fuse_boxes_batch", &fuse_boxes_batch, "boxes"_a, "scores"_a, "counts"_a, "n_scales"_a, "shapes"_a,
               "num"_a, "den"_a, "capacity"_a, "stream"_a, "out"_a,
               "Boxes int32 (n, capacity, 4), scores and confidences float32 (n, capacity), counts and status int32.");
}

}  // namespace mammofast::bindings
