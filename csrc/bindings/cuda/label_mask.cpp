#include "../../label_mask/label_mask.h"

#include <limits>
#include <optional>
#include <string>

#include "../../core/status.h"
#include "device_array.h"
#include "register.h"
#include "trimmed.h"

namespace mammofast::bindings {
namespace {

constexpr int64_t LIKELY_COMPONENTS = 1024;

// Pixels are counted in int32.
void check_pixels(int64_t rows, int64_t cols) {
    constexpr int64_t MOST = std::numeric_limits<int32_t>::max();
    if (rows > MOST || cols > MOST || (cols > 0 && rows > MOST / cols))
        throw std::invalid_argument("mask: got " + std::to_string(rows) + " x " + std::to_string(cols) +
                                    " pixels, expected less than 2^31 on a CUDA device");
}

const uint8_t* bytes_of(const View<const bool>& mask) { return reinterpret_cast<const uint8_t*>(mask.data()); }

py::tuple label_mask(py::handle mask, uintptr_t stream) {
    const DeviceGuard guard(mask, stream);
    const View<const bool> source(guard, "mask", mask, {"rows", "cols"});
    const int64_t rows = source.size(0), cols = source.size(1), most = (rows + 1) / 2 * ((cols + 1) / 2);
    check_pixels(rows, cols);
    const Output<int32_t> labels(guard, "labels", py::none(), {rows, cols});
    std::optional<Scratch<int32_t>> boxes;
    std::optional<Scratch<int64_t>> areas;
    int32_t count = 0;
    {
        py::gil_scoped_release release;
        const Scratch<int32_t> found(1, guard.stream()), status(1, guard.stream());
        for (int64_t capacity : {LIKELY_COMPONENTS, most}) {
            boxes.emplace(4 * capacity, guard.stream());
            areas.emplace(capacity, guard.stream());
            label_mask_cuda({bytes_of(source), 1, rows, cols},
                            {labels.data(), boxes->data(), areas->data(), found.data(), status.data(), capacity},
                            guard.stream());
            if (host_value(status, guard) != STATUS_OVERFLOW) break;
        }
        count = host_value(found, guard);
    }
    return py::make_tuple(labels.object(), trimmed(*boxes, guard, {count, 4}), trimmed(*areas, guard, {count}));
}

py::tuple label_mask_batch(py::handle masks, int64_t capacity, uintptr_t stream, const py::tuple& out) {
    const DeviceGuard guard(masks, stream);
    const View<const bool> source(guard, "masks", masks, {"n", "rows", "cols"});
    const int64_t n = source.size(0), rows = source.size(1), cols = source.size(2);
    check_pixels(rows, cols);
    const Output<int32_t> labels(guard, "out[0]", out[0], {n, rows, cols});
    const Output<int32_t> boxes(guard, "out[1]", out[1], {n, capacity, 4});
    const Output<int64_t> areas(guard, "out[2]", out[2], {n, capacity});
    const Output<int32_t> counts(guard, "out[3]", out[3], {n}), status(guard, "out[4]", out[4], {n});
    {
        py::gil_scoped_release release;
        label_mask_cuda({bytes_of(source), n, rows, cols},
                        {labels.data(), boxes.data(), areas.data(), counts.data(), status.data(), capacity},
                        guard.stream());
    }
    return py::make_tuple(labels.object(), boxes.object(), areas.object(), counts.object(), status.object());
}

}  // namespace

void register_label_mask(py::module_& module) {
    using namespace py::literals;
    module.def("label_mask", &label_mask, "mask"_a, "stream"_a,
               "Labels int32 (rows, cols), boxes int32 (k, 4), areas int64 (k,); waits.");
    module.def("label_mask_batch", &label_mask_batch, "masks"_a, "capacity"_a, "stream"_a, "out"_a,
               "Labels int32 (n, rows, cols), boxes int32 (n, capacity, 4), areas int64 (n, capacity), counts and "
               "status int32 (n,).");
}

}  // namespace mammofast::bindings
