// Memory on a CUDA device that Python owns and other libraries read through __cuda_array_interface__.
#pragma once

#ifdef MAMMOFAST_WITH_CUDA

#include <cuda_runtime_api.h>

#include <cstdint>

#include "../core/array.h"

namespace mammofast::bindings {

// float32 rows x cols on the device that is current when it is made.
class DeviceArray {
  public:
    DeviceArray(int64_t rows, int64_t cols, uintptr_t stream);
    ~DeviceArray();
    DeviceArray(const DeviceArray&) = delete;
    DeviceArray& operator=(const DeviceArray&) = delete;

    Image<float> image() const { return {data_, rows_, cols_, cols_}; }
    uintptr_t stream() const { return stream_; }

  private:
    float* data_ = nullptr;
    int64_t rows_, cols_;
    uintptr_t stream_;  // where the values are being written
};

}  // namespace mammofast::bindings

#endif
