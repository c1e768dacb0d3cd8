// DLPack's exchange of arrays (https://dmlc.github.io/dlpack/latest/c_api.html), the part of it that this folder uses.
#pragma once

#include <cstdint>

namespace mammofast::bindings::dlpack {

constexpr int32_t CUDA = 2, CUDA_MANAGED = 13;                   // kinds of devices
constexpr uint8_t INT = 0, UINT = 1, FLOAT = 2, BOOL = 6;        // kinds of values
constexpr const char* UNREAD = "dltensor";                       // a capsule's name
constexpr const char* READ = "used_dltensor";                    // and once somebody has taken its array

struct Tensor {
    void* data;
    int32_t device_type, device_id;
    int32_t n_axes;
    uint8_t kind, bits;
    uint16_t lanes;
    int64_t* shape;
    int64_t* strides;  // in values; null where C-contiguous
    uint64_t byte_offset;
};

struct ManagedTensor {
    Tensor tensor;
    void* owner;
    void (*release)(ManagedTensor*);
};

}  // namespace mammofast::bindings::dlpack
