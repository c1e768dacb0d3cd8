// What the kernels of nms.cu and nms_rank.cu share.
#pragma once

#include "../core/launch.h"
#include "nms.h"
#include "nms_math.h"

namespace mammofast::nms {

using Word = unsigned long long;  // bits of 64 boxes; CUDA's functions know no uint64_t

constexpr unsigned FULL = 0xffffffffu;
constexpr int WARP = 32;
constexpr int THREADS = 256;
constexpr int BLOCKS = 4;  // of those at once on a multiprocessor: leaves 64 registers a thread
constexpr int CHUNK = 64;  // boxes to a word

struct alignas(16) RankedBox {
    float corner[4];
};

// One launch chain; arrays hold one row for each of its images.
struct Work {
    NmsBatch batch;
    int64_t first_image;
    IouThreshold threshold;
    int64_t words;  // 32-bit words of gone; even
    int rows;       // of a matrix

    RankedBox* boxes;  // by rank
    int64_t* groups;   // by rank, or null
    int32_t* order;    // index of the box of a rank
    uint32_t* gone;    // a bit for each rank: struck out, or past the last box
    Word* matrix;      // [chunk][row]: which boxes of the chunk the row's box overlaps, for the chunks up to its own
    int32_t* before;   // how many boxes the stripes before the last one kept

    int32_t* indices;  // these three are the whole batch's
    int32_t* kept;
    int32_t* status;

    __device__ Word* word(int64_t row_of_images, int chunk, int row) const {
        return matrix + (row_of_images * (rows / CHUNK) + chunk) * rows + row;
    }
    __device__ int32_t count(int64_t image) const {
        const int64_t n = batch.counts ? batch.counts[image] : batch.capacity;
        return static_cast<int32_t>(n < 0 || n > batch.capacity ? 0 : n);
    }
    __device__ bool counts_are_sound(int64_t image) const {
        return !batch.counts || (batch.counts[image] >= 0 && batch.counts[image] <= batch.capacity);
    }
    __device__ int64_t group(int64_t index) const {
        switch (batch.group_bytes) {
            case 1: return static_cast<const int8_t*>(batch.groups)[index];
            case 2: return static_cast<const int16_t*>(batch.groups)[index];
            case 4: return static_cast<const int32_t*>(batch.groups)[index];
            default: return static_cast<const int64_t*>(batch.groups)[index];
        }
    }
};

// Blocks for each of so many images: as many as there can be tiles of work, or the card is full.
inline unsigned blocks_each(int64_t tiles, unsigned images) {
    const int64_t share = blocks_at_once(BLOCKS) / images;
    return static_cast<unsigned>(share < 1 ? 1 : share < tiles ? share : tiles);
}

// Fills boxes, groups and order by rank and gone, sets indices to -1 and adds to status: the first launch of all.
void rank_boxes(const Work& work, unsigned images, void* stream);

}  // namespace mammofast::nms
