#include "../../collect_boxes/collect_boxes.h"

#include <pybind11/stl.h>

#include <string>

#include "device_array.h"
#include "register.h"

namespace mammofast::bindings {
namespace {

// parts: (boxes, scores, indices, counts, status of finding, status of keeping) each.
py::tuple collect_boxes(const std::vector<py::tuple>& parts, int64_t capacity, uintptr_t stream, const py::tuple& out) {
    const DeviceGuard guard(parts.at(0)[0], stream);
    KeptParts kept{static_cast<int>(parts.size()), {}};
    int64_t n = 0;
    for (int i = 0; i < kept.n; ++i) {
        const std::string where = "parts[" + std::to_string(i) + "] ";
        const auto name = [&](const char* what) { return where + what; };
        const py::tuple& part = parts[i];
        const View<const float> boxes(guard, name("boxes").c_str(), part[0],
                                      {i == 0 ? Extent("n") : Extent(n), "capacity", 4});
        n = boxes.size(0);
        const int64_t room = boxes.size(1);
        kept.part[i] = {
            boxes.data(),
            View<const float>(guard, name("scores").c_str(), part[1], {n, room}).data(),
            View<const int32_t>(guard, name("indices").c_str(), part[2], {n, room}).data(),
            View<const int32_t>(guard, name("counts").c_str(), part[3], {n}).data(),
            View<const int32_t>(guard, name("status").c_str(), part[4], {n}).data(),
            View<const int32_t>(guard, name("kept status").c_str(), part[5], {n}).data(),
            room,
        };
    }
    const Output<float> boxes(guard, "out boxes", out[0], {n, capacity, 4});
    const Output<float> scores(guard, "out scores", out[1], {n, capacity});
    const Output<int32_t> part_of(guard, "out parts", out[2], {n, capacity});
    const Output<int32_t> counts(guard, "out counts", out[3], {n});
    const Output<int32_t> status(guard, "out status", out[4], {n});
    {
        py::gil_scoped_release release;
        collect_boxes_cuda(
            kept, {boxes.data(), scores.data(), part_of.data(), counts.data(), status.data(), n, capacity},
            guard.stream());
    }
    return py::make_tuple(boxes.object(), scores.object(), part_of.object(), counts.object(), status.object());
}

}  // namespace

void register_collect_boxes(py::module_& module) {
    using namespace py::literals;
    module.attr("MOST_PARTS") = MOST_PARTS;
    module.def("collect_boxes", &collect_boxes, "parts"_a, "capacity"_a, "stream"_a, "out"_a,
               "Boxes (n, capacity, 4), scores and parts (n, capacity), counts and status (n,).");
}

}  // namespace mammofast::bindings
