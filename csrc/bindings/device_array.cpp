#include "device_array.h"

#ifdef MAMMOFAST_WITH_CUDA

#include <algorithm>
#include <stdexcept>
#include <string>

namespace mammofast::bindings {

DeviceArray::DeviceArray(int64_t rows, int64_t cols, uintptr_t stream) : rows_(rows), cols_(cols), stream_(stream) {
    const size_t bytes = std::max<size_t>(static_cast<size_t>(rows) * static_cast<size_t>(cols) * sizeof(float), 1);
    void* memory = nullptr;
    const cudaError_t status = cudaMalloc(&memory, bytes);
    if (status != cudaSuccess)
        throw std::runtime_error("allocating " + std::to_string(bytes) +
                                 " bytes on the CUDA device: " + cudaGetErrorString(status));
    data_ = static_cast<float*>(memory);
}

DeviceArray::~DeviceArray() { cudaFree(data_); }

}  // namespace mammofast::bindings

#endif
