// From padded results to arrays of exactly as many values as there are: what ops do that wait for the device once.
#pragma once

#include "../../core/launch.h"
#include "../../core/scratch.h"
#include "device_array.h"

namespace mammofast::bindings {

// The first value of device memory; waits for the stream.
template <typename T>
T host_value(const Scratch<T>& memory, const DeviceGuard& guard) {
    T value{};
    const auto stream = static_cast<cudaStream_t>(guard.stream());
    check(cudaMemcpyAsync(&value, memory.data(), sizeof(T), cudaMemcpyDeviceToHost, stream), "copy to the host");
    check(cudaStreamSynchronize(stream), "copy to the host");
    return value;
}

// A new array of the shape, copied from the beginning of the memory.
template <typename T>
py::object trimmed(const Scratch<T>& memory, const DeviceGuard& guard, std::vector<int64_t> shape) {
    auto array = std::make_unique<DeviceArray>(guard, dtype_of<T>(), std::move(shape));
    check(cudaMemcpyAsync(array->data(), memory.data(), array->bytes(), cudaMemcpyDeviceToDevice,
                          static_cast<cudaStream_t>(guard.stream())),
          "copy on the device");
    return py::cast(std::move(array));
}

}  // namespace mammofast::bindings
