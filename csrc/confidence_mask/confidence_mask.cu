// Two kernels: the first turns boxes into votes and finds the strongest, the second sums the votes over each pixel, a
// thread a pixel; a block shares its votes through shared memory, a tile at a time.
#include <memory>
#include <stdexcept>
#include <string>

#include "../core/checks.h"
#include "confidence_mask.h"

namespace mammofast {
namespace {

constexpr int THREADS = 256;
constexpr int MAX_BLOCKS = 1 << 16;  // grid-stride loops do the rest

struct Summary {
    int32_t strongest;
    int32_t unsound;  // 1 where a box or a score is not what the contract asks
};

struct Parameters {
    const Vote* votes;
    int64_t n_votes;
    int64_t n_scales;
    int64_t strongest;
    Image<float> out;
};

void check(cudaError_t status, const char* step) {
    if (status != cudaSuccess)
        throw std::runtime_error(std::string("confidence_mask: ") + step + ": " + cudaGetErrorString(status));
}

int blocks_for(int64_t n) {
    const int64_t blocks = (n + THREADS - 1) / THREADS;
    return static_cast<int>(blocks < MAX_BLOCKS ? blocks : MAX_BLOCKS);
}

__global__ void make_votes(const float* boxes, const float* scores, int64_t n, Shape shape, Vote* votes,
                           Summary* summary) {
    const int64_t stride = int64_t(gridDim.x) * blockDim.x;
    for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) {
        if (!is_sound_box(boxes + 4 * i) || !is_sound_score(scores[i])) {
            atomicExch(&summary->unsound, 1);
            continue;
        }
        Vote vote = make_vote(boxes + 4 * i, scores[i], shape.rows, shape.cols);
        if (vote.counts())
            atomicMax(&summary->strongest, vote.weight);
        else
            vote = Vote{0, 0, 0, 0, 0};  // covers no pixel
        votes[i] = vote;
    }
}

__global__ void sum_votes(Parameters p) {
    __shared__ Vote tile[THREADS];
    const int64_t pixels = p.out.rows * p.out.cols, stride = int64_t(gridDim.x) * blockDim.x;
    // Every thread of a block makes the same number of turns, since all of them fill the tile.
    for (int64_t first = int64_t(blockIdx.x) * blockDim.x; first < pixels; first += stride) {
        const int64_t pixel = first + threadIdx.x;
        const int64_t y = pixel / p.out.cols, x = pixel % p.out.cols;
        int64_t sum = 0;
        for (int64_t begin = 0; begin < p.n_votes; begin += THREADS) {
            const int64_t count = p.n_votes - begin < THREADS ? p.n_votes - begin : THREADS;
            __syncthreads();
            if (threadIdx.x < count) tile[threadIdx.x] = p.votes[begin + threadIdx.x];
            __syncthreads();
            for (int64_t i = 0; i < count; ++i) {
                const Vote& vote = tile[i];
                if (vote.x_min <= x && x < vote.x_max && vote.y_min <= y && y < vote.y_max) sum += vote.weight;
            }
        }
        if (pixel < pixels) p.out.row(y)[x] = relative_score(sum, p.n_scales, p.strongest);
    }
}

}  // namespace

void confidence_mask_cuda(const float* boxes, const float* scores, int64_t n, int64_t n_scales, Image<float> out,
                          void* stream_handle) {
    const auto stream = static_cast<cudaStream_t>(stream_handle);
    const int64_t pixels = out.rows * out.cols;

    const auto release = [stream](void* memory) { cudaFreeAsync(memory, stream); };
    void* memory = nullptr;
    check(cudaMallocAsync(&memory, sizeof(Summary) + n * sizeof(Vote), stream), "allocation");
    const std::unique_ptr<void, decltype(release)> scratch(memory, release);
    auto* summary = static_cast<Summary*>(memory);
    auto* votes = reinterpret_cast<Vote*>(summary + 1);

    Summary found{};
    if (n > 0) {
        check(cudaMemsetAsync(summary, 0, sizeof(Summary), stream), "clearing");
        make_votes<<<blocks_for(n), THREADS, 0, stream>>>(boxes, scores, n, {out.rows, out.cols}, votes, summary);
        check(cudaGetLastError(), "launch of make_votes");
        check(cudaMemcpyAsync(&found, summary, sizeof found, cudaMemcpyDeviceToHost, stream), "copy");
        check(cudaStreamSynchronize(stream), "make_votes");
    }
    if (found.unsound)
        throw std::invalid_argument(
            "boxes, scores: got NaN, Inf, a box inside out or a score outside [0, 1], expected none");
    if (pixels == 0) return;

    const int64_t strongest = found.strongest > 0 ? found.strongest : 1;
    sum_votes<<<blocks_for(pixels), THREADS, 0, stream>>>({votes, n, n_scales, strongest, out});
    check(cudaGetLastError(), "launch of sum_votes");
}

}  // namespace mammofast
