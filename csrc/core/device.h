// The CUDA device that an array lives on, current for as long as a guard lives.
#pragma once

#ifdef MAMMOFAST_WITH_CUDA

#include <cuda_runtime_api.h>

namespace mammofast {

class DeviceGuard {
  public:
    // A pointer that no device knows, such as that of an empty array, changes nothing.
    explicit DeviceGuard(const void* pointer) {
        cudaPointerAttributes attributes{};
        if (cudaGetDevice(&before_) != cudaSuccess) before_ = -1;
        const bool known = pointer != nullptr && cudaPointerGetAttributes(&attributes, pointer) == cudaSuccess;
        if (known && attributes.type != cudaMemoryTypeUnregistered) cudaSetDevice(attributes.device);
    }
    ~DeviceGuard() {
        if (before_ >= 0) cudaSetDevice(before_);
    }
    DeviceGuard(const DeviceGuard&) = delete;
    DeviceGuard& operator=(const DeviceGuard&) = delete;

  private:
    int before_ = -1;
};

}  // namespace mammofast

#endif
