// What a kernel can get wrong, and what the tests' CUDA says to it; what its operations give where nothing is wrong.
// One case a run, named by the first argument; "half" turns floats on standard input into half precision and back.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "../../csrc/core/half.h"
#include "../../csrc/core/scratch.h"

using namespace mammofast;

extern "C" void cuda_on_host_order(int kind, unsigned seed);

namespace {

constexpr int N = 64;

__global__ void past_shared(int* out, int place) {
    __shared__ int array[N];
    int* volatile values = array;  // not for the compiler to see through
    values[threadIdx.x + place] = 1;
    __syncthreads();
    out[threadIdx.x] = values[threadIdx.x];
}

__global__ void past_dynamic_shared(int* out, int place) {
    int* values = dynamic_shared<int>();
    values[threadIdx.x + place] = 1;
    __syncthreads();
    out[threadIdx.x] = values[threadIdx.x];
}

__global__ void past_global(int* out, int place) { out[threadIdx.x + place] = 1; }

__global__ void past_a_threads_own(int* out, int place) {
    int values[4] = {0, 1, 2, 3};
    out[threadIdx.x] = values[threadIdx.x % 4 + place];
}

__global__ void overflow(int* out, int place) { out[threadIdx.x] = 0x7fffffff + place * int(threadIdx.x); }

__global__ void some_skip_a_barrier(int* out, int place) {
    if (int(threadIdx.x) < place) return;
    __syncthreads();
    out[threadIdx.x] = 0;
}

__global__ void two_barriers(int* out, int place) {
    if (int(threadIdx.x) < place)
        __syncthreads();
    else
        __syncthreads();
    out[threadIdx.x] = 0;
}

__global__ void half_a_warp(int* out, int) {
    out[threadIdx.x] = threadIdx.x % 32 < 16 ? __any_sync(~0u, 1) : 0;
}

// The last thread to come wins: a race.
__global__ void race(int* out, int) { out[0] = threadIdx.x; }

__global__ void unwritten(int* out, int) { out[threadIdx.x] += 1; }

__global__ void missing_barrier(int* out, int) {
    __shared__ int values[N];
    values[threadIdx.x] = 1;
    out[threadIdx.x] = values[N - 1 - threadIdx.x];
}

// Every operation once; each thread adds up what it was told.
__global__ void operations(int* out, int) {
    __shared__ int counter;
    const int lane = threadIdx.x % 32, thread = threadIdx.x;
    if (thread == 0) counter = 0;
    __syncthreads();
    atomicAdd(&counter, thread);
    const int three = __syncthreads_count(thread < 3), any = __syncthreads_or(thread == 5);
    const int all = __syncthreads_and(thread != 5);
    int sum = thread;
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
    int running = 1;
    for (int step = 1; step < 32; step *= 2) {
        const int before = __shfl_up_sync(~0u, running, step);
        if (lane >= step) running += before;
    }
    const int next = __shfl_down_sync(~0u, lane, 1), first = __shfl_sync(~0u, thread, 0);
    const unsigned odd = __ballot_sync(~0u, lane % 2);
    const int expected = thread < 32 ? 496 : 496 + 32 * 32;
    const bool right = counter == N * (N - 1) / 2 && three == 3 && any == 1 && all == 0 && sum == expected &&
                       running == lane + 1 && next == (lane < 31 ? lane + 1 : 31) && first == thread - lane &&
                       odd == 0xaaaaaaaau && __all_sync(~0u, 1) && !__any_sync(~0u, 0) && __popc(odd) == 16 &&
                       __ffs(8) == 4 && __clz(1) == 31;
    out[thread] = 7;
    out[thread] = right && atomicCAS(out + thread, 7, 9) == 7 && atomicExch(out + thread, 3) == 9;
}

}  // namespace

int main(int, char** words) {
    const std::string name = words[1];
    if (name == "half") {
        for (float value; std::fread(&value, sizeof value, 1, stdin) == 1;) {
            const uint16_t half = half_bits(value);
            const float back = half_value(half);
            std::fwrite(&half, sizeof half, 1, stdout);
            std::fwrite(&back, sizeof back, 1, stdout);
        }
        return 0;
    }
    const int place = std::atoi(words[2]), order = std::atoi(words[3]);
    const std::map<std::string, void (*)(int*, int)> kernels = {
        {"past_shared", past_shared},
        {"past_dynamic_shared", past_dynamic_shared},
        {"past_global", past_global},
        {"past_a_threads_own", past_a_threads_own},
        {"overflow", overflow},
        {"some_skip_a_barrier", some_skip_a_barrier},
        {"two_barriers", two_barriers},
        {"half_a_warp", half_a_warp},
        {"race", race},
        {"unwritten", unwritten},
        {"missing_barrier", missing_barrier},
        {"operations", operations},
    };
    cuda_on_host_order(order, 7);
    try {
        int values[N] = {};
        Scratch<int> out(N, nullptr);
        launch(name.c_str(), kernels.at(name), 1, N, N * sizeof(int), nullptr, out.data(), place);
        check(cudaMemcpyAsync(values, out.data(), sizeof values, cudaMemcpyDeviceToHost, nullptr), "copy");
        if (values[0] != 0 || values[N - 1] != 0) return std::puts("ran before anyone waited"), 1;
        check(cudaStreamSynchronize(nullptr), name.c_str());
        for (const int value : values) std::printf("%d ", value);
    } catch (const std::runtime_error& error) {
        std::puts(error.what());
    }
}
