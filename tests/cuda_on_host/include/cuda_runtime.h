// CUDA's device side as plain C++: kernels are functions, the threads of a block fibers. See cuda_on_host.cpp.
//
// __shared__ variables lie in a section of their own, which is overwritten before each block. Names differ from CUDA
// nowhere; what is missing here is not allowed in mammofast's kernels (no CUB, no textures, no inline PTX).
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <source_location>
#include <tuple>
#include <type_traits>

#include "cuda_runtime_api.h"

#define CUDA_ON_HOST
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static __attribute__((section("cuda_shared")))

using std::max;
using std::min;

struct uint3 {
    unsigned x, y, z;
};
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

#define CUDA_ON_HOST_VECTORS(T, NAME, SIZE)                                        \
    struct alignas(2 * SIZE) NAME##2 { T x, y; };                                  \
    struct alignas(4 * SIZE > 16 ? 16 : 4 * SIZE) NAME##4 { T x, y, z, w; };       \
    inline NAME##2 make_##NAME##2(T x, T y) { return {x, y}; }                     \
    inline NAME##4 make_##NAME##4(T x, T y, T z, T w) { return {x, y, z, w}; }
CUDA_ON_HOST_VECTORS(unsigned char, uchar, 1)
CUDA_ON_HOST_VECTORS(short, short, 2)
CUDA_ON_HOST_VECTORS(unsigned short, ushort, 2)
CUDA_ON_HOST_VECTORS(int, int, 4)
CUDA_ON_HOST_VECTORS(unsigned, uint, 4)
CUDA_ON_HOST_VECTORS(float, float, 4)
CUDA_ON_HOST_VECTORS(double, double, 8)

namespace cuda_on_host {

using Site = std::source_location;

void* dynamic_shared();
// Waits until every thread of the block has come here, or the launch fails; returns how many came with true.
int block_barrier(bool vote, const Site& site);
void warp_barrier(const Site& site);
// Each lane gives a value; returns the warp's 32.
const uint64_t* exchange(unsigned mask, uint64_t value, const Site& site);
unsigned lane();
cudaError_t launch(const cudaLaunchConfig_t& config, std::function<void()> thread);

template <typename T>
T shuffle(unsigned mask, T value, unsigned source, const Site& site) {
    static_assert(sizeof(T) <= sizeof(uint64_t));
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = exchange(mask, bits, site)[source % 32];
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <typename T, typename Change>
T atomically(T* place, Change change) {
    const T old = *place;
    *place = static_cast<T>(change(old));
    return old;
}

}  // namespace cuda_on_host

#define SITE cuda_on_host::Site site = cuda_on_host::Site::current()
inline void __syncthreads(SITE) { cuda_on_host::block_barrier(false, site); }
inline int __syncthreads_count(int vote, SITE) { return cuda_on_host::block_barrier(vote != 0, site); }
inline int __syncthreads_or(int vote, SITE) { return cuda_on_host::block_barrier(vote != 0, site) > 0; }
inline int __syncthreads_and(int vote, SITE) { return cuda_on_host::block_barrier(vote == 0, site) == 0; }
inline void __syncwarp(unsigned = ~0u, SITE) { cuda_on_host::warp_barrier(site); }
inline void __threadfence() {}
inline void __threadfence_block() {}

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, SITE) {
    const unsigned first = cuda_on_host::lane() / width * width;
    return cuda_on_host::shuffle(mask, value, first + source % width, site);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, SITE) {
    const unsigned lane = cuda_on_host::lane();
    return cuda_on_host::shuffle(mask, value, lane % width < delta ? lane : lane - delta, site);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, SITE) {
    const unsigned lane = cuda_on_host::lane();
    return cuda_on_host::shuffle(mask, value, lane % width + delta >= unsigned(width) ? lane : lane + delta, site);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, SITE) {
    const unsigned lane = cuda_on_host::lane(), source = lane ^ lanes;
    return cuda_on_host::shuffle(mask, value, source / width > lane / width ? lane : source, site);
}
inline unsigned __ballot_sync(unsigned mask, int vote, SITE) {
    const uint64_t* votes = cuda_on_host::exchange(mask, vote != 0, site);
    unsigned ballot = 0;
    for (unsigned lane = 0; lane < 32; ++lane) ballot |= unsigned(votes[lane]) << lane;
    return ballot;
}
inline int __any_sync(unsigned mask, int vote, SITE) { return __ballot_sync(mask, vote, site) != 0; }
inline int __all_sync(unsigned mask, int vote, SITE) { return __ballot_sync(mask, vote, site) == ~0u; }
#undef SITE

// The other operand may be of another type, as CUDA's overloads allow.
template <typename T>
T atomicAdd(T* place, std::type_identity_t<T> value) {
    return cuda_on_host::atomically(place, [=](T old) { return old + value; });
}
template <typename T>
T atomicMax(T* place, std::type_identity_t<T> value) {
    return cuda_on_host::atomically(place, [=](T old) { return std::max(old, value); });
}
template <typename T>
T atomicMin(T* place, std::type_identity_t<T> value) {
    return cuda_on_host::atomically(place, [=](T old) { return std::min(old, value); });
}
template <typename T>
T atomicOr(T* place, std::type_identity_t<T> value) {
    return cuda_on_host::atomically(place, [=](T old) { return old | value; });
}
template <typename T>
T atomicAnd(T* place, std::type_identity_t<T> value) {
    return cuda_on_host::atomically(place, [=](T old) { return old & value; });
}
template <typename T>
T atomicExch(T* place, std::type_identity_t<T> value) {
    return cuda_on_host::atomically(place, [=](T) { return value; });
}
template <typename T>
T atomicCAS(T* place, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
    return cuda_on_host::atomically(place, [=](T old) { return old == expected ? value : old; });
}

inline int __popc(unsigned bits) { return std::popcount(bits); }
inline int __popcll(unsigned long long bits) { return std::popcount(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline int __ffsll(long long bits) { return __builtin_ffsll(bits); }
inline int __clz(int bits) { return std::countl_zero(static_cast<unsigned>(bits)); }
inline int __clzll(long long bits) { return std::countl_zero(static_cast<unsigned long long>(bits)); }
template <typename T>
T __ldg(const T* place) {
    return *place;
}
inline int __float_as_int(float value) { return std::bit_cast<int>(value); }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline float __int_as_float(int bits) { return std::bit_cast<float>(bits); }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
    std::tuple<Parameters...> kept{std::forward<Arguments>(arguments)...};
    return cuda_on_host::launch(*config, [kernel, kept] { std::apply(kernel, kept); });
}
