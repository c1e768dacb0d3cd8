#include "../../components/components.h"

#include <pybind11/numpy.h>

#include <algorithm>
#include <string>
#include <vector>

#include "../../core/scratch.h"
#include "device_array.h"
#include "register.h"

namespace mammofast::bindings {
namespace {

Labels labels_of(const View<const int32_t>& labels) {
    const int64_t rows = labels.size(0), cols = labels.size(1);
    if (rows > INT32_MAX || cols > INT32_MAX || (cols > 0 && rows > INT32_MAX / cols))
        throw std::invalid_argument("labels: got " + labels.described() + ", expected less than 2^31 pixels");
    return {labels.data(), static_cast<int32_t>(rows), static_cast<int32_t>(cols)};
}

py::object component_sums(py::handle labels, py::handle probabilities, int32_t x_min, int32_t y_min, int32_t x_max,
                          int32_t y_max, int64_t capacity, uintptr_t stream, const py::object& out) {
    const DeviceGuard guard(labels, stream);
    const View<const int32_t> source(guard, "labels", labels, {"rows", "cols"});
    const View<const float> map(guard, "probabilities", probabilities, {"rows", "cols"});
    if (map.size(0) < 1 || map.size(1) < 1)
        throw std::invalid_argument("probabilities: got " + map.described() + ", expected at least one");
    const Output<int64_t> sums(guard, "out", out, {capacity});
    {
        py::gil_scoped_release release;
        component_sums_cuda(labels_of(source),
                            {map.data(), static_cast<int32_t>(map.size(0)), static_cast<int32_t>(map.size(1)), x_min,
                             y_min, x_max, y_max},
                            capacity, sums.data(), guard.stream());
    }
    return sums.object();
}

// numbers: int32 (k,), boxes: int32 (k, 4), on the host.
py::object component_bits(py::handle labels, const py::array_t<int32_t, py::array::c_style>& numbers,
                          const py::array_t<int32_t, py::array::c_style>& boxes, uintptr_t stream,
                          const py::object& out) {
    const DeviceGuard guard(labels, stream);
    const View<const int32_t> source(guard, "labels", labels, {"rows", "cols"});
    const Labels image = labels_of(source);
    std::vector<Piece> pieces;
    int64_t bytes = 0, most = 0;
    for (py::ssize_t i = 0; i < numbers.shape(0); ++i) {
        const int32_t* box = boxes.data(i, 0);
        const bool inside = box[0] >= 0 && box[1] >= 0 && box[0] <= box[2] && box[1] <= box[3] &&
                            box[2] <= image.cols && box[3] <= image.rows;
        if (!inside)
            throw std::invalid_argument("boxes[" + std::to_string(i) + "]: got (" + std::to_string(box[0]) + ", " +
                                        std::to_string(box[1]) + ", " + std::to_string(box[2]) + ", " +
                                        std::to_string(box[3]) + "), expected one inside " + source.described());
        pieces.push_back({numbers.at(i), box[0], box[1], box[2], box[3], bytes});
        const int64_t own = pieces.back().row_bytes() * (box[3] - box[1]);
        bytes += own, most = std::max(most, own);
    }
    const Output<uint8_t> bits(guard, "out", out, {bytes});
    {
        py::gil_scoped_release release;
        const Scratch<Piece> there(static_cast<int64_t>(pieces.size()), guard.stream());
        // CUDA has read pageable memory when the call returns.
        check(cudaMemcpyAsync(there.data(), pieces.data(), pieces.size() * sizeof(Piece), cudaMemcpyHostToDevice,
                              static_cast<cudaStream_t>(guard.stream())),
              "copy to the device");
        component_bits_cuda(image, there.data(), static_cast<int64_t>(pieces.size()), most, bits.data(),
                            guard.stream());
    }
    return bits.object();
}

}  // namespace

void register_components(py::module_& module) {
    using namespace py::literals;
    module.def("component_sums", &component_sums, "labels"_a, "probabilities"_a, "x_min"_a, "y_min"_a, "x_max"_a,
               "y_max"_a, "capacity"_a, "stream"_a, "out"_a, "Sums in units of 2^-30, int64 (capacity,).");
    module.def("component_bits", &component_bits, "labels"_a, "numbers"_a, "boxes"_a, "stream"_a, "out"_a,
               "Masks of a bit a pixel, one after the other, uint8.");
}

}  // namespace mammofast::bindings
