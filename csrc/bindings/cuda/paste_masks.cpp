#include "../../paste_masks/paste_masks.h"

#include "arguments.h"
#include "register.h"

namespace mammofast::bindings {
namespace {

constexpr DType BOOL{'b', 1};

template <typename T>
CropStack<T> stack_of(const View<const T>& crops) {
    return {crops.data(), crops.size(0), crops.size(1), crops.size(2)};
}

// boxes: on the host or the device. images: int32 (k,), or None where all crops go to one mask, which then has no axis
// for images.
py::tuple paste_masks(py::handle crops, py::handle boxes, py::handle images, int64_t n, int64_t rows, int64_t cols,
                      float threshold, uintptr_t stream, const py::tuple& out) {
    const DeviceGuard guard(crops, stream);
    return with_real_view(guard, "crops", crops, {"n", "h", "w"}, [&](const auto& values) {
        const Copied<int32_t> corners(guard, "boxes", boxes, {values.size(0), 4});
        const int32_t* places = nullptr;
        std::vector<int64_t> shape{rows, cols};
        if (!images.is_none()) {
            places = View<const int32_t>(guard, "images", images, {values.size(0)}).data();
            shape.insert(shape.begin(), n);
        }
        const Output<uint8_t> masks(guard, "out[0]", out[0], shape, BOOL);
        const Output<int32_t> status(guard, "out[1]", out[1], {n});
        {
            py::gil_scoped_release release;
            paste_masks_cuda(stack_of(values), corners.data(), places, threshold,
                             MaskStack{masks.data(), n, rows, cols}, status.data(), guard.stream());
        }
        return py::make_tuple(masks.object(), status.object());
    });
}

// shapes: int32 (k, 2) on the host.
py::tuple paste_packed(py::handle crops, const py::array_t<int32_t, py::array::c_style>& shapes, float threshold,
                       uintptr_t stream, const py::tuple& out) {
    const DeviceGuard guard(crops, stream);
    return with_real_view(guard, "crops", crops, {shapes.shape(0), "h", "w"}, [&](const auto& values) {
        const int64_t k = values.size(0);
        std::vector<Window> windows(k);
        int64_t bytes = 0;
        for (int64_t i = 0; i < k; ++i) {
            windows[i] = {shapes.at(i, 0), shapes.at(i, 1), bytes};
            bytes += windows[i].rows * windows[i].row_bytes();
        }
        const Output<uint8_t> bits(guard, "out[0]", out[0], {bytes});
        const Output<int32_t> areas(guard, "out[1]", out[1], {k});
        const Output<int32_t> boxes(guard, "out[2]", out[2], {k, 4});
        const Output<int32_t> status(guard, "out[3]", out[3], {k});
        {
            py::gil_scoped_release release;
            paste_packed_cuda(stack_of(values), windows.data(), threshold,
                              PackedMasks{bits.data(), areas.data(), boxes.data(), status.data()}, guard.stream());
        }
        return py::make_tuple(bits.object(), areas.object(), boxes.object(), status.object());
    });
}

}  // namespace

void register_paste_masks(py::module_& module) {
    using namespace py::literals;
    module.def("paste_masks", &paste_masks, "crops"_a, "boxes"_a, "images"_a, "n"_a, "rows"_a, "cols"_a, "threshold"_a,
               "stream"_a, "out"_a, "Masks, bool (n, rows, cols) or (rows, cols), and status, int32 (n,).");
    module.def("paste_packed", &paste_packed, "crops"_a, "shapes"_a.noconvert(), "threshold"_a, "stream"_a, "out"_a,
               "Bits, uint8; areas, int32 (k,); boxes, int32 (k, 4); status, int32 (k,).");
}

}  // namespace mammofast::bindings
