// Half precision (IEEE 754 binary16) as its 16 bits: to nearest, ties to even; the same bits on the host and a device.
#pragma once

#ifdef __CUDACC__
#include <cuda_fp16.h>
#endif

#include <bit>
#include <cstdint>

#include "host_device.h"

namespace mammofast {

MAMMOFAST_HD uint16_t half_bits(float value) {
#ifdef __CUDA_ARCH__
    return __half_as_ushort(__float2half_rn(value));
#else
    const uint32_t bits = std::bit_cast<uint32_t>(value), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) return 0x7fff;                                   // NaN, as a device writes it
    if (size >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);   // what rounds past 65504
    if (size < 0x38800000u)                                                  // subnormal: adding 0.5 leaves its bits
        return static_cast<uint16_t>(
            sign | (std::bit_cast<uint32_t>(std::bit_cast<float>(size) + 0.5f) - std::bit_cast<uint32_t>(0.5f)));
    const uint32_t odd = size >> 13 & 1;
    return static_cast<uint16_t>(sign | (size - 0x38000000u + 0xfffu + odd) >> 13);
#endif
}

MAMMOFAST_HD float half_value(uint16_t half) {
#ifdef __CUDA_ARCH__
    return __half2float(__ushort_as_half(half));
#else
    const uint32_t sign = uint32_t(half & 0x8000u) << 16, size = half & 0x7fffu;
    if (size >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | (size & 0x3ffu) << 13);
    if (size >= 0x400u) return std::bit_cast<float>(sign | ((size << 13) + 0x38000000u));
    const float tiny = static_cast<float>(size) * 0x1p-24f;
    return sign ? -tiny : tiny;
#endif
}

// For kernels that take float32 and half precision alike.
MAMMOFAST_HD float value_of(float value) { return value; }
MAMMOFAST_HD float value_of(uint16_t half) { return half_value(half); }

}  // namespace mammofast
