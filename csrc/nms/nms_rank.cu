// The rank of a box is how many come before it, by falling score, ties by lower index: n comparisons a box, one launch.
#include <cstring>

#include "../core/checks.h"
#include "../core/status.h"
#include "nms.h"
#include "work.cuh"

namespace mammofast::nms {
namespace {

constexpr int KEYS = 2048;  // shared at a time

// Rises with the score and is above 0; -0 is 0, and what is unsound has some rank, too.
__device__ uint32_t key_of(float score) {
    if (!is_sound_score(score)) return 1;
    const float positive = score + 0.0f;
    uint32_t bits = 0;
    memcpy(&bits, &positive, sizeof bits);
    return bits + 1;
}

// All ranks count as gone that have no box; the blocks of an image share out its whole capacity.
__device__ void clear(const Work& work, int64_t image, int32_t count) {
    const int64_t begin = int64_t(blockIdx.x) * THREADS + threadIdx.x, step = int64_t(gridDim.x) * THREADS;
    int32_t* indices = work.indices + image * work.batch.capacity;
    for (int64_t i = begin; i < work.batch.capacity; i += step) indices[i] = -1;
    for (int64_t word = begin; word < work.words; word += step) {
        const int64_t there = count - word * WARP;
        work.gone[blockIdx.y * work.words + word] = there <= 0 ? FULL : there >= WARP ? 0 : FULL << there;
    }
}

// A block ranks 32 boxes in each of its turns: a box a lane, each warp compares them with its share of all the others.
__global__ void __launch_bounds__(THREADS) count_those_before(Work work) {
    __shared__ uint4 keys[KEYS / 4];
    __shared__ int32_t ahead[THREADS / WARP][WARP];
    const int64_t image = work.first_image + blockIdx.y, boxes = image * work.batch.capacity;
    const int64_t row = blockIdx.y * work.batch.capacity;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int32_t count = work.count(image);
    clear(work, image, count);
    if (blockIdx.x == 0 && threadIdx.x == 0 && !work.counts_are_sound(image))
        atomicOr(work.status + image, STATUS_UNSOUND);

    const float* scores = work.batch.scores + boxes;
    for (int64_t first = int64_t(blockIdx.x) * WARP; first < count; first += int64_t(gridDim.x) * WARP) {
        const int64_t mine = first + lane;
        const uint32_t key = mine < count ? key_of(scores[mine]) : 0;
        int32_t rank = 0;
        for (int32_t begin = 0; begin < count; begin += KEYS) {
            const int32_t there = count - begin < KEYS ? count - begin : KEYS;
            __syncthreads();
            for (int i = threadIdx.x; i < (there + 3) / 4 * 4; i += THREADS)
                reinterpret_cast<uint32_t*>(keys)[i] = i < there ? key_of(scores[begin + i]) : 0;
            __syncthreads();
            for (int quad = warp; quad * 4 < there; quad += THREADS / WARP) {
                const uint4 other = keys[quad];
                const uint32_t bound = begin + quad * 4 < first ? key - 1 : key;  // of equal scores earlier boxes first
                rank += (other.x > bound) + (other.y > bound) + (other.z > bound) + (other.w > bound);
            }
        }
        ahead[warp][lane] = rank;
        __syncthreads();
        if (warp != 0) continue;
        rank = 0;
        for (int w = 0; w < THREADS / WARP; ++w) rank += ahead[w][lane];
        for (int other = 0; other < WARP; ++other) rank += (__shfl_sync(FULL, key, other) == key) & (other < lane);
        if (mine >= count) continue;

        const float* box = work.batch.boxes + 4 * (boxes + mine);
        if (!is_sound_box(box) || !is_sound_score(scores[mine])) atomicOr(work.status + image, STATUS_UNSOUND);
        work.boxes[row + rank] = RankedBox{{box[0], box[1], box[2], box[3]}};
        work.order[row + rank] = static_cast<int32_t>(mine);
        if (work.groups) work.groups[row + rank] = work.group(boxes + mine);
    }
}

}  // namespace

void rank_boxes(const Work& work, unsigned images, void* stream) {
    const dim3 blocks(blocks_each(work.words, images), images);
    launch("nms, ranking", count_those_before, blocks, THREADS, 0, stream, work);
}

}  // namespace mammofast::nms
