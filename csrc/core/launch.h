// Launching kernels. No kernel is launched with <<<>>> and none names its dynamic shared memory itself: the tests
// compile the same sources as plain C++, with a cuda_runtime.h of their own (tests/cuda_on_host).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

namespace mammofast {

// A request for more shared memory than this must be announced to CUDA first.
constexpr size_t PLAIN_SHARED_BYTES = 48 * 1024;
constexpr int64_t MAX_BLOCKS = 1 << 16;  // grid-stride loops do the rest

// The device has no room: Python sees MemoryError, and a pipeline tries once more, alone.
class OutOfMemory : public std::bad_alloc {
  public:
    explicit OutOfMemory(std::string words) : words_(std::move(words)) {}
    const char* what() const noexcept override { return words_.c_str(); }

  private:
    std::string words_;
};

// Throws std::runtime_error "what: CUDA's message", OutOfMemory where that is the matter.
inline void check(cudaError_t status, const char* what) {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // else the next call of anyone in this process would report it once more
    const std::string words = std::string(what) + ": " + cudaGetErrorString(status);
    if (status == cudaErrorMemoryAllocation) throw OutOfMemory(words);
    throw std::runtime_error(words);
}

// Blocks that give each of n elements a thread; at least one, at most MAX_BLOCKS.
inline unsigned blocks_for(int64_t n, int threads) {
    const int64_t blocks = (n + threads - 1) / threads;
    return static_cast<unsigned>(blocks < 1 ? 1 : blocks < MAX_BLOCKS ? blocks : MAX_BLOCKS);
}

// How many blocks the current device works on at once, of kernels that leave room for `each` on a multiprocessor. Where
// only the device knows how much there is to do, so many share it in turns: what a launch costs then follows the work,
// not the room for it.
inline int64_t blocks_at_once(int each) {
    int device = 0, multiprocessors = 0;
    check(cudaGetDevice(&device), "device");
    check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device), "device");
    return int64_t(multiprocessors) * each;
}

// Queues kernel(arguments...) on the stream and returns; throws where CUDA refuses the launch.
template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, void* stream,
            Arguments&&... arguments) {
    if (shared_bytes > PLAIN_SHARED_BYTES)
        check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(shared_bytes)),
              name);
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = static_cast<cudaStream_t>(stream);
    check(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...), name);
}

#if defined(__CUDACC__) || defined(CUDA_ON_HOST)
// The block's dynamic shared memory, aligned to 16 bytes; its values are undefined when a block begins.
template <typename T>
__device__ T* dynamic_shared() {
#ifdef __CUDACC__
    extern __shared__ __align__(16) unsigned char mammofast_dynamic_shared[];
    return reinterpret_cast<T*>(mammofast_dynamic_shared);
#else
    return static_cast<T*>(cuda_on_host::dynamic_shared());
#endif
}
#endif

}  // namespace mammofast
