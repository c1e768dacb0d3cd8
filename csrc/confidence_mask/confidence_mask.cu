// Two kernels: the first turns boxes into votes and finds each image's strongest, the second sums the votes over each
// pixel. A block of the second owns a tile of one image, keeps the votes that reach it in shared memory, and a thread
// sums four neighbouring pixels; most tiles meet few votes, so the writes of the mask are what it costs.
#include "../core/checks.h"
#include "../core/launch.h"
#include "../core/scratch.h"
#include "../core/status.h"
#include "confidence_mask.h"

namespace mammofast {
namespace {

constexpr int THREADS = 256;
constexpr int THREADS_A_ROW = 32, PIXELS_A_THREAD = 4;
constexpr int TILE_COLS = THREADS_A_ROW * PIXELS_A_THREAD, TILE_ROWS = THREADS / THREADS_A_ROW;

__device__ int64_t n_boxes(const ConfidenceMaskBatch& batch, int64_t image) {
    if (batch.counts == nullptr) return batch.capacity;
    const int64_t count = batch.counts[image];
    return 0 <= count && count <= batch.capacity ? count : 0;
}

// votes: n x capacity; strongest: n, zeros.
__global__ void __launch_bounds__(THREADS) make_votes(ConfidenceMaskBatch batch, Vote* votes, int32_t* strongest) {
    const int64_t stride = int64_t(gridDim.x) * blockDim.x;
    for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < batch.n * batch.capacity; i += stride) {
        const int64_t image = i / batch.capacity, index = i % batch.capacity, count = n_boxes(batch, image);
        if (index == 0 && batch.counts != nullptr && batch.counts[image] != count)
            atomicOr(batch.status + image, STATUS_UNSOUND);
        if (index >= count) continue;
        Vote vote{0, 0, 0, 0, 0};  // covers no pixel
        if (!is_sound_box(batch.boxes + 4 * i) || !is_sound_score(batch.scores[i]))
            atomicOr(batch.status + image, STATUS_UNSOUND);
        else
            vote = make_vote(batch.boxes + 4 * i, batch.scores[i], batch.rows, batch.cols);
        if (vote.counts())
            atomicMax(strongest + image, vote.weight);
        else
            vote = Vote{0, 0, 0, 0, 0};
        votes[i] = vote;
    }
}

__global__ void __launch_bounds__(THREADS)
    sum_votes(ConfidenceMaskBatch batch, const Vote* votes, const int32_t* strongest) {
    __shared__ Vote near[THREADS];
    __shared__ int n_near;
    const int64_t across = (batch.cols + TILE_COLS - 1) / TILE_COLS, down = (batch.rows + TILE_ROWS - 1) / TILE_ROWS;
    // Every thread of a block makes the same number of turns, since all of them look for votes.
    for (int64_t tile = blockIdx.x; tile < batch.n * down * across; tile += gridDim.x) {
        const int64_t image = tile / (down * across), count = n_boxes(batch, image);
        const int64_t top = tile / across % down * TILE_ROWS, left = tile % across * TILE_COLS;
        const int64_t y = top + threadIdx.x / THREADS_A_ROW;
        const int64_t x = left + threadIdx.x % THREADS_A_ROW * PIXELS_A_THREAD;
        int64_t sums[PIXELS_A_THREAD] = {0, 0, 0, 0};
        for (int64_t begin = 0; begin < count; begin += THREADS) {
            __syncthreads();
            if (threadIdx.x == 0) n_near = 0;
            __syncthreads();
            if (begin + threadIdx.x < count) {
                const Vote vote = votes[image * batch.capacity + begin + threadIdx.x];
                // In any order: integers add up to the same.
                if (vote.x_min < left + TILE_COLS && vote.x_max > left && vote.y_min < top + TILE_ROWS &&
                    vote.y_max > top)
                    near[atomicAdd(&n_near, 1)] = vote;
            }
            __syncthreads();
            for (int i = 0; i < n_near; ++i) {
                const Vote& vote = near[i];
                if (y < vote.y_min || y >= vote.y_max) continue;
                for (int pixel = 0; pixel < PIXELS_A_THREAD; ++pixel)
                    if (vote.x_min <= x + pixel && x + pixel < vote.x_max) sums[pixel] += vote.weight;
            }
        }
        if (y >= batch.rows) continue;
        float* out = batch.masks + (image * batch.rows + y) * batch.cols;
        const int64_t most = strongest[image] > 0 ? strongest[image] : 1;
        for (int pixel = 0; pixel < PIXELS_A_THREAD; ++pixel)
            if (x + pixel < batch.cols) out[x + pixel] = relative_score(sums[pixel], batch.n_scales, most);
    }
}

}  // namespace

void confidence_mask_cuda(const ConfidenceMaskBatch& batch, void* stream) {
    if (batch.n == 0) return;
    const auto queue = static_cast<cudaStream_t>(stream);
    const Scratch<Vote> votes(batch.n * batch.capacity, stream);
    const Scratch<int32_t> strongest(batch.n, stream);
    check(cudaMemsetAsync(batch.status, 0, batch.n * sizeof(int32_t), queue), "confidence_mask: clearing");
    check(cudaMemsetAsync(strongest.data(), 0, batch.n * sizeof(int32_t), queue), "confidence_mask: clearing");
    if (batch.capacity > 0)
        launch("confidence_mask: make_votes", make_votes, blocks_for(batch.n * batch.capacity, THREADS), THREADS, 0,
               stream, batch, votes.data(), strongest.data());
    if (batch.rows == 0 || batch.cols == 0) return;
    const int64_t tiles = batch.n * ((batch.rows + TILE_ROWS - 1) / TILE_ROWS) *
                          ((batch.cols + TILE_COLS - 1) / TILE_COLS);
    launch("confidence_mask: sum_votes", sum_votes, blocks_for(tiles, 1), THREADS, 0, stream, batch, votes.data(),
           strongest.data());
}

}  // namespace mammofast
