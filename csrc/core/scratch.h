// Memory from a pool in the order of a stream: taking and returning it neither waits nor asks the driver for pages.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>

#include "launch.h"

namespace mammofast {

// What the pool keeps for the next call when a stream is waited for; CUDA would hand all of it back.
constexpr uint64_t KEPT_POOL_BYTES = uint64_t(1) << 30;
constexpr int MAX_DEVICES = 64;

// The current device's pool: our own, since the default one and its settings belong to the whole process.
inline cudaMemPool_t device_pool() {
    static std::mutex mutex;
    static std::array<cudaMemPool_t, MAX_DEVICES> pools{};
    int device = 0;
    check(cudaGetDevice(&device), "device");
    const std::lock_guard<std::mutex> lock(mutex);
    cudaMemPool_t& pool = pools.at(device);
    if (pool == nullptr) {
        cudaMemPoolProps properties{};
        properties.allocType = cudaMemAllocationTypePinned;
        properties.location.type = cudaMemLocationTypeDevice;
        properties.location.id = device;
        check(cudaMemPoolCreate(&pool, &properties), "memory pool");
        uint64_t kept = KEPT_POOL_BYTES;
        check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept), "memory pool");
    }
    return pool;
}

// Bytes of the current device, free to use by what is queued on the stream from here on.
inline void* allocate(size_t bytes, void* stream) {
    void* memory = nullptr;
    const std::string what = "allocating " + std::to_string(bytes) + " bytes on the CUDA device";
    check(cudaMallocFromPoolAsync(&memory, bytes > 0 ? bytes : 1, device_pool(), static_cast<cudaStream_t>(stream)),
          what.c_str());
    return memory;
}

// count values for the kernels that are queued on the stream while this lives; uninitialised.
template <typename T>
class Scratch {
  public:
    Scratch(int64_t count, void* stream)
        : data_(static_cast<T*>(allocate(static_cast<size_t>(count) * sizeof(T), stream))), stream_(stream) {}
    ~Scratch() { cudaFreeAsync(data_, static_cast<cudaStream_t>(stream_)); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    T* data() const { return data_; }

  private:
    T* data_;
    void* stream_;
};

}  // namespace mammofast
