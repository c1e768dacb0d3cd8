// CUDA on a machine without a card: enough of it to run mammofast's kernels and their bindings, from their own sources.
//
// What is queued on a stream runs when somebody waits for it and not before, each stream by itself, so an op that
// forgets to wait or to order its work shows. Blocks run one after the other; the threads of a block are fibers that
// stop at barriers, in one of three orders. Memory is 0xCD until it is written, 0x5B in the backward order, so that
// results show whoever reads it before; and 0xDD once it is freed.
// Not modelled: threads that interleave between barriers, several devices, errors that stay.
#include <sys/mman.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "cuda_runtime.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
extern unsigned char __start_cuda_shared[] __attribute__((weak)), __stop_cuda_shared[] __attribute__((weak));

namespace {

constexpr unsigned MAX_THREADS = 1024, WARP = 32;
constexpr size_t STACK_BYTES = 256 * 1024, GUARD_BYTES = 4096;
constexpr size_t MAX_SHARED_BYTES = 99 * 1024;  // what the smallest of the supported cards gives a block
constexpr unsigned char FREED = 0xDD;

std::recursive_mutex mutex;
using Lock = std::lock_guard<std::recursive_mutex>;
std::string failure;  // of a kernel, until a wait reports it
int order_kind = 0;   // of threads and blocks: 0 forward, 1 backward, 2 shuffled
std::mt19937 order_generator;

unsigned char unwritten() { return order_kind == 1 ? 0x5B : 0xCD; }

std::vector<unsigned> order_of(unsigned n) {
    std::vector<unsigned> order(n);
    std::iota(order.begin(), order.end(), 0u);
    if (order_kind == 1) std::reverse(order.begin(), order.end());
    if (order_kind == 2) std::shuffle(order.begin(), order.end(), order_generator);
    return order;
}

// ---- fibers

#ifdef __x86_64__
using Context = void*;  // the stack pointer, with the registers that a call preserves above it
extern "C" __attribute__((visibility("hidden"))) void cuda_on_host_switch(Context* from, Context to);
asm(R"(
.text
.hidden cuda_on_host_switch
.globl cuda_on_host_switch
cuda_on_host_switch:
    pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
    ret
)");
void change(Context& from, Context& to) { cuda_on_host_switch(&from, to); }
void prepare(Context& context, char* stack, void (*entry)()) {
    auto* top = reinterpret_cast<void**>(stack + STACK_BYTES) - 8;
    std::fill(top, top + 8, nullptr);
    top[6] = reinterpret_cast<void*>(entry);
    context = top;
}
#else
using Context = ucontext_t;
void change(Context& from, Context& to) { swapcontext(&from, &to); }
void prepare(Context& context, char* stack, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&context, entry, 0);
}
#endif

enum class Wait { NOTHING, WARP, BLOCK, ALL_DONE };

struct Fiber {
    Context context{};
    char* stack = nullptr;
    bool ready = false;  // whether its stack holds a thread that has come to its end, or none yet
    Wait wait = Wait::NOTHING;
    cuda_on_host::Site site{};
    bool vote = false;
    bool parity = false;  // which of the warp's two tables it exchanges through next
};

std::vector<Fiber> fibers(MAX_THREADS);
uint64_t exchanged[MAX_THREADS / WARP][2][WARP];
Context scheduler;
unsigned current, ballot;
const std::function<void()>* body;
void* dynamic_memory;

void fiber_main() {
    for (;;) {
        (*body)();
        fibers[current].wait = Wait::ALL_DONE;
        fibers[current].site = {};  // wherever it waited last
        change(fibers[current].context, scheduler);
    }
}

void pause(Wait wait, const cuda_on_host::Site& site) {
    Fiber& fiber = fibers[current];
    fiber.wait = wait;
    fiber.site = site;
    change(fiber.context, scheduler);
}

std::string described(unsigned thread) {
    const Fiber& fiber = fibers[thread];
    const std::string who = "thread " + std::to_string(thread) + " of block " + std::to_string(blockIdx.x);
    if (fiber.wait == Wait::ALL_DONE) return who + " has returned";
    return who + " waits at " + fiber.site.file_name() + ":" + std::to_string(fiber.site.line());
}

// Whether threads first..last-1 all wait for the same; says so where not.
bool together(unsigned first, unsigned last) {
    for (unsigned i = first + 1; i < last; ++i) {
        const bool same = fibers[i].wait == fibers[first].wait && fibers[i].site.line() == fibers[first].site.line();
        if (same) continue;
        failure = "a barrier that not all threads reach: " + described(first) + ", " + described(i);
        return false;
    }
    return true;
}

// Lets threads go on that all came to one barrier; false once all have returned, or where they never can.
bool release(unsigned n) {
    bool released = false;
    for (unsigned warp = 0; warp < n; warp += WARP) {
        const unsigned end = std::min(warp + WARP, n);
        const auto waits = [](const Fiber& fiber) { return fiber.wait == Wait::WARP; };
        if (std::none_of(&fibers[warp], &fibers[end], waits)) continue;
        if (end - warp < WARP) failure = "a warp's operation in a warp of " + std::to_string(end - warp) + " threads";
        if (end - warp < WARP || !together(warp, end)) return false;
        for (unsigned i = warp; i < end; ++i) fibers[i].wait = Wait::NOTHING;
        released = true;
    }
    if (released) return true;
    if (!together(0, n) || fibers[0].wait == Wait::ALL_DONE) return false;
    ballot = 0;
    for (unsigned i = 0; i < n; ++i) {
        ballot += fibers[i].vote;
        fibers[i].wait = Wait::NOTHING;
    }
    return true;
}

void run_block(unsigned n) {
    for (unsigned i = 0; i < n; ++i) {
        Fiber& fiber = fibers[i];
        if (fiber.stack == nullptr) {
            fiber.stack = static_cast<char*>(mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE,
                                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
            mprotect(fiber.stack, GUARD_BYTES, PROT_NONE);  // a stack that overflows ends here
        }
        if (!fiber.ready) prepare(fiber.context, fiber.stack, fiber_main);
        fiber.ready = true;
        fiber.wait = Wait::NOTHING;
        fiber.parity = false;
    }
    const std::vector<unsigned> order = order_of(n);
    do {
        for (const unsigned i : order) {
            if (fibers[i].wait != Wait::NOTHING) continue;
            current = i;
            threadIdx = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
            change(scheduler, fibers[i].context);
        }
    } while (release(n));
    if (!failure.empty())
        for (Fiber& fiber : fibers) fiber.ready = false;
}

__attribute__((no_sanitize("address"))) void forget_shared() {
    volatile unsigned char* byte = __start_cuda_shared;
    const unsigned char value = unwritten();
    for (; byte + 8 <= __stop_cuda_shared; byte += 8)
        *reinterpret_cast<volatile uint64_t*>(byte) = 0x0101010101010101u * value;
    for (; byte < __stop_cuda_shared; ++byte) *byte = value;
}

void run_grid(const cudaLaunchConfig_t& config, const std::function<void()>& thread) {
    if (!failure.empty()) return;
    gridDim = config.gridDim;
    blockDim = config.blockDim;
    body = &thread;
    for (const unsigned block : order_of(gridDim.x * gridDim.y * gridDim.z)) {
        blockIdx = {block % gridDim.x, block / gridDim.x % gridDim.y, block / (gridDim.x * gridDim.y)};
        forget_shared();
        // Of its exact size, so that AddressSanitizer sees where it ends.
        if (posix_memalign(&dynamic_memory, 16, config.dynamicSmemBytes) != 0) std::abort();
        std::memset(dynamic_memory, unwritten(), config.dynamicSmemBytes);
        run_block(blockDim.x * blockDim.y * blockDim.z);
        std::free(dynamic_memory);
        if (!failure.empty()) return;
    }
}

// ---- streams and memory

struct Stream {
    std::deque<std::function<void()>> queue;
    uint64_t queued = 0, done = 0;
};
std::map<cudaStream_t, Stream> streams;
std::map<const char*, size_t> allocations;
long waits = 0;

Stream& stream_at(cudaStream_t handle) { return streams[handle == nullptr ? cudaStreamLegacy : handle]; }

cudaError_t enqueue(cudaStream_t handle, std::function<void()> work) {
    const Lock lock(mutex);
    Stream& stream = stream_at(handle);
    stream.queue.push_back(std::move(work));
    ++stream.queued;
    return cudaSuccess;
}

void run(cudaStream_t handle, uint64_t until) {
    Stream& stream = stream_at(handle);
    while (stream.done < until && !stream.queue.empty()) {
        const auto work = std::move(stream.queue.front());
        stream.queue.pop_front();
        work();
        ++stream.done;
    }
}

}  // namespace

struct OpaqueEvent {
    cudaStream_t stream = cudaStreamLegacy;
    uint64_t position = 0;
};

namespace cuda_on_host {

void* dynamic_shared() { return dynamic_memory; }
unsigned lane() { return current % WARP; }

int block_barrier(bool vote, const Site& site) {
    fibers[current].vote = vote;
    pause(Wait::BLOCK, site);
    return static_cast<int>(ballot);
}

void warp_barrier(const Site& site) { pause(Wait::WARP, site); }

const uint64_t* exchange(unsigned mask, uint64_t value, const Site& site) {
    if (mask != ~0u) std::fprintf(stderr, "%s:%u: a mask that is not full\n", site.file_name(), site.line());
    if (mask != ~0u) std::abort();
    uint64_t* table = exchanged[current / WARP][fibers[current].parity];
    fibers[current].parity = !fibers[current].parity;
    table[lane()] = value;
    pause(Wait::WARP, site);
    return table;
}

cudaError_t launch(const cudaLaunchConfig_t& config, std::function<void()> thread) {
    const dim3 &grid = config.gridDim, &block = config.blockDim;
    const uint64_t threads = uint64_t(block.x) * block.y * block.z;
    if (threads == 0 || threads > MAX_THREADS || block.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
        grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535 || config.dynamicSmemBytes > MAX_SHARED_BYTES)
        return cudaErrorInvalidConfiguration;
    return enqueue(config.stream, [config, thread = std::move(thread)] { run_grid(config, thread); });
}

}  // namespace cuda_on_host

// For the tests: the order of threads and blocks; how often the host has waited; what is allocated when all is done.
extern "C" __attribute__((visibility("default"))) void cuda_on_host_order(int kind, unsigned seed) {
    const Lock lock(mutex);
    order_kind = kind;
    order_generator.seed(seed);
}
extern "C" __attribute__((visibility("default"))) long cuda_on_host_waits() { return waits; }
extern "C" __attribute__((visibility("default"))) long cuda_on_host_allocations() {
    const Lock lock(mutex);
    for (auto& [handle, stream] : streams) run(handle, stream.queued);
    return static_cast<long>(allocations.size());
}

const char* cudaGetErrorString(cudaError_t status) {
    static std::string text;
    switch (status) {
        case cudaSuccess: return "no error";
        case cudaErrorMemoryAllocation: return "out of memory";
        case cudaErrorInvalidConfiguration: return "invalid configuration argument";
        case cudaErrorLaunchFailure: text = std::exchange(failure, ""); return text.c_str();
        default: return "invalid argument";
    }
}

cudaError_t cudaGetLastError() { return cudaSuccess; }
// A thread's device: 0, which it has not touched yet, until it sets one. Setting one makes a context there.
constexpr int DEVICES = 2;
thread_local int thread_device = -1;
int contexts = 0;  // a bit for each device
int get_current(void** context) { return *context = thread_device < 0 ? nullptr : &contexts, 0; }
cudaError_t cudaGetDevice(int* device) { return *device = thread_device < 0 ? 0 : thread_device, cudaSuccess; }
cudaError_t cudaSetDevice(int device) {
    if (device < 0 || device >= DEVICES) return cudaErrorInvalidValue;
    const Lock lock(mutex);
    contexts |= 1 << (thread_device = device);
    return cudaSuccess;
}
extern "C" __attribute__((visibility("default"))) int cuda_on_host_contexts() { return std::exchange(contexts, 0); }
extern "C" __attribute__((visibility("default"))) int cuda_on_host_current() { return thread_device; }
extern "C" __attribute__((visibility("default"))) void cuda_on_host_set_current(int device) { thread_device = device; }
cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult*) {
    if (std::string(symbol) != "cuCtxGetCurrent") return cudaErrorInvalidValue;
    return *function = reinterpret_cast<void*>(&get_current), cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
cudaError_t cudaDriverGetVersion(int* version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int value) {
    return static_cast<size_t>(value) <= MAX_SHARED_BYTES ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
    *properties = {"the host", 8, 0, 1};
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    *value = attribute == cudaDevAttrMultiProcessorCount ? 2 : MAX_SHARED_BYTES;
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
    const Lock lock(mutex);
    const auto* place = static_cast<const char*>(pointer);
    auto next = allocations.upper_bound(place);
    const bool known = next != allocations.begin() && (--next, place < next->first + next->second);
    *attributes = {known ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered, known ? 0 : -1, nullptr, nullptr};
    return cudaSuccess;
}

cudaError_t cudaMallocAsync(void** memory, size_t bytes, cudaStream_t) {
    const Lock lock(mutex);
    if (bytes > size_t(1) << 40 || posix_memalign(memory, 256, bytes) != 0) return cudaErrorMemoryAllocation;
    std::memset(*memory, unwritten(), bytes);
    allocations[static_cast<char*>(*memory)] = bytes;
    return cudaSuccess;
}
cudaError_t cudaMallocFromPoolAsync(void** memory, size_t bytes, cudaMemPool_t, cudaStream_t stream) {
    return cudaMallocAsync(memory, bytes, stream);
}
cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps*) {
    *pool = reinterpret_cast<cudaMemPool_t>(0x1);
    return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }
cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream) {
    return enqueue(stream, [memory] {
        const auto found = allocations.find(static_cast<char*>(memory));
        if (found == allocations.end()) std::abort();  // freed twice, or never allocated
        std::memset(memory, FREED, found->second);
        allocations.erase(found);
        std::free(memory);
    });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    if (bytes == 0) return cudaSuccess;
    if (kind != cudaMemcpyHostToDevice) return enqueue(stream, [=] { std::memcpy(to, from, bytes); });
    const std::vector<char> kept(static_cast<const char*>(from), static_cast<const char*>(from) + bytes);
    return enqueue(stream, [=] { std::memcpy(to, kept.data(), bytes); });  // CUDA has read it when the call returns
}
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
    if (bytes == 0) return cudaSuccess;
    return enqueue(stream, [=] { std::memset(memory, value, bytes); });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    const Lock lock(mutex);
    ++waits;
    run(stream, stream_at(stream).queued);
    return failure.empty() ? cudaSuccess : cudaErrorLaunchFailure;
}
cudaError_t cudaDeviceSynchronize() {
    const Lock lock(mutex);
    ++waits;
    for (auto& [handle, stream] : streams) run(handle, stream.queued);
    return failure.empty() ? cudaSuccess : cudaErrorLaunchFailure;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return *event = new OpaqueEvent, cudaSuccess; }
cudaError_t cudaEventDestroy(cudaEvent_t event) { return delete event, cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    const Lock lock(mutex);
    *event = {stream, stream_at(stream).queued};
    return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    return enqueue(stream, [kept = *event] { run(kept.stream, kept.position); });
}
