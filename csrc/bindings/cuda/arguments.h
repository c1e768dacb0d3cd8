// Arguments that may be one of two kinds.
#pragma once

#include <pybind11/numpy.h>

#include <optional>

#include "../../core/launch.h"
#include "device_array.h"

namespace mammofast::bindings {

// Calls visit with a View<const float>, or a View<const uint16_t> of the bits of half precision.
template <typename Visit>
auto with_real_view(const DeviceGuard& guard, const char* name, py::handle array, const Extents& shape, Visit visit) {
    if (AnyView(guard, name, array).dtype() == HALF)
        return visit(View<const uint16_t>(guard, name, array, shape, HALF));
    return visit(View<const float>(guard, name, array, shape));
}

// An array on the device, or a contiguous NumPy array of the same type and shape, which is copied there.
template <typename T>
class Copied {
  public:
    Copied(const DeviceGuard& guard, const char* name, py::handle array, const Extents& shape) {
        if (!py::isinstance<py::array>(array)) {
            data_ = View<const T>(guard, name, array, shape).data();
            return;
        }
        const auto values = py::reinterpret_borrow<py::array_t<T, py::array::c_style>>(array);
        copy_.emplace(guard, dtype_of<T>(), std::vector<int64_t>(values.shape(), values.shape() + values.ndim()));
        data_ = static_cast<const T*>(copy_->data());
        // CUDA has read pageable memory when the call returns.
        check(cudaMemcpyAsync(copy_->data(), values.data(), copy_->bytes(), cudaMemcpyHostToDevice,
                              static_cast<cudaStream_t>(guard.stream())),
              "copy to the device");
    }

    const T* data() const { return data_; }

  private:
    std::optional<DeviceArray> copy_;  // its memory is returned in the stream's order
    const T* data_;
};

}  // namespace mammofast::bindings
