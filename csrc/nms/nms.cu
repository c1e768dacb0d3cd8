// Boxes are ranked, then taken in stripes of consecutive ranks. Of a stripe a matrix of bits says which boxes overlap
// which; one block an image walks it in rank order, 64 boxes at a time; what that keeps strikes boxes out of later
// stripes. The host knows how many boxes there may be, never how many there are: blocks take tiles of what there is in
// turns, and a launch for a stripe that nobody reaches is one look at the counts by no more blocks than fill the card.
#include <algorithm>
#include <stdexcept>
#include <string>

#include "../core/scratch.h"
#include "nms.h"
#include "work.cuh"

namespace mammofast {
namespace nms {
namespace {

constexpr int STRIPE = 4096;                  // ranks to a stripe; a matrix takes 2 MiB
constexpr int KEEPERS = 1024;                 // threads that walk a matrix
constexpr int WORDS_EACH = STRIPE / KEEPERS;  // of a row that one of them looks at
constexpr int64_t MOST_SCRATCH = int64_t(32) << 20;   // of matrices, unless one image takes more
constexpr int64_t MOST_IMAGES = 1 << 15;              // to a launch

__device__ int32_t parts_of(int32_t n, int32_t size) { return n > 0 ? (n + size - 1) / size : 0; }

// The matrix of the stripe that begins at rank `first`; a tile: a row a thread, a chunk of columns.
__global__ void __launch_bounds__(THREADS) overlap_matrix(Work work, int32_t first) {
    __shared__ RankedBox columns[CHUNK];
    __shared__ int64_t groups[CHUNK];
    const int32_t left = work.count(work.first_image + blockIdx.y) - first, count = min(left, work.rows);
    const int32_t chunks = parts_of(count, CHUNK), tiles = chunks * parts_of(count, THREADS);
    const int64_t ranked = blockIdx.y * work.batch.capacity + first;
    const uint32_t* gone = work.gone + blockIdx.y * work.words + first / WARP;
    for (int32_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int32_t chunk = tile % chunks, first_row = tile / chunks * THREADS;
        if (chunk * CHUNK >= first_row + THREADS) continue;
        const int32_t row = first_row + threadIdx.x, first_column = chunk * CHUNK;
        const int32_t columns_there = min(count - first_column, CHUNK);
        __syncthreads();  // the tile before
        if (static_cast<int32_t>(threadIdx.x) < columns_there) {
            columns[threadIdx.x] = work.boxes[ranked + first_column + threadIdx.x];
            if (work.groups) groups[threadIdx.x] = work.groups[ranked + first_column + threadIdx.x];
        }
        __syncthreads();
        if (row >= count || row / CHUNK < chunk) continue;

        Word word = 0;
        const bool open = !(gone[row / WARP] >> row % WARP & 1) && (gone[2 * chunk] & gone[2 * chunk + 1]) != FULL;
        if (open) {
            const RankedBox box = work.boxes[ranked + row];
            const int64_t group = work.groups ? work.groups[ranked + row] : 0;
            for (int i = 0; i < columns_there; ++i) {
                const float* other = columns[i].corner;
                const bool touch = (other[0] < box.corner[2]) & (box.corner[0] < other[2]) &
                                   (other[1] < box.corner[3]) & (box.corner[1] < other[3]);
                if (!touch || (work.groups && groups[i] != group)) continue;
                word |= Word(boxes_overlap(box.corner, other, work.threshold)) << i;
            }
        }
        *work.word(blockIdx.y, chunk, row) = word;
    }
}

__device__ Word ballot_of_two(bool low, bool high) {
    const Word bits = __ballot_sync(FULL, low);
    return bits | Word(__ballot_sync(FULL, high)) << WARP;
}

// One warp: which of a chunk's boxes stay, of those in `open`. low, high: what boxes lane and lane + 32 overlap.
// In each turn those with no better open box before them stay, and what they overlap goes: few turns, at most 64.
__device__ Word best_of_chunk(Word open, Word low, Word high) {
    const int lane = threadIdx.x % WARP;
    low &= (Word(1) << lane) - 1;
    high &= (Word(1) << (lane + WARP)) - 1;
    Word best = 0;
    while (open) {
        const Word stay =
            ballot_of_two((open >> lane & 1) && !(low & open), (open >> (lane + WARP) & 1) && !(high & open));
        best |= stay;
        open &= ~stay;
        open &= ~ballot_of_two((low & stay) != 0, (high & stay) != 0);
    }
    return best;
}

// One block an image. Threads share out a chunk's 64 rows and, 16 to a row, the words before the chunk: what of them is
// kept decides. The matrix does not depend on what is kept, so that each chunk's words come while the one before it is
// decided.
__global__ void __launch_bounds__(KEEPERS) keep_best(Work work, int32_t first) {
    constexpr int CHUNKS = STRIPE / CHUNK, PARTS = KEEPERS / CHUNK;
    __shared__ Word gone[CHUNKS], kept[CHUNKS];
    __shared__ uint32_t struck[2];
    __shared__ int32_t begins[CHUNKS];
    const int64_t image = work.first_image + blockIdx.x;
    const int32_t left = work.status[image] == 0 ? work.count(image) - first : 0;
    if (first > 0 && left <= 0) return;
    const int n = left < 0 ? 0 : left < work.rows ? left : work.rows, chunks = (n + CHUNK - 1) / CHUNK;
    const int t = threadIdx.x, lane = t % WARP, row = t % CHUNK, part = t / CHUNK;
    const int32_t before = first == 0 ? 0 : work.kept[image];

    if (t < chunks) {
        const uint32_t* words = work.gone + blockIdx.x * work.words + first / WARP + 2 * t;
        gone[t] = words[0] | Word(words[1]) << WARP;
        kept[t] = 0;
    }
    if (t < 2) struck[t] = 0;
    __syncthreads();

    const auto next = [&](int chunk) {
        do ++chunk;
        while (chunk < chunks && gone[chunk] == ~Word(0));
        return chunk;
    };
    Word overlaps[WORDS_EACH], low = 0, high = 0;  // low, high: the chunk with itself
    const auto look_at = [&](int chunk, int in_chunk, int other) {
        const bool there = other <= chunk && chunk * CHUNK + in_chunk < n;
        return there ? *work.word(blockIdx.x, other, chunk * CHUNK + in_chunk) : Word(0);
    };
    const auto fetch = [&](int chunk) {
        for (int i = 0; i < WORDS_EACH; ++i)
            overlaps[i] = part + i * PARTS < chunk ? look_at(chunk, row, part + i * PARTS) : Word(0);
        if (t < WARP) low = look_at(chunk, lane, chunk), high = look_at(chunk, lane + WARP, chunk);
    };
    int chunk = next(-1);
    if (chunk < chunks) fetch(chunk);
    while (chunk < chunks) {
        bool hit = false;
        for (int i = 0; i < WORDS_EACH; ++i) hit |= part + i * PARTS < chunk && (overlaps[i] & kept[part + i * PARTS]);
        const uint32_t hits = __ballot_sync(FULL, hit);
        if (lane == 0 && hits) atomicOr(&struck[t / WARP % 2], hits);
        const Word own_low = low, own_high = high;
        const int following = next(chunk);
        if (following < chunks) fetch(following);
        __syncthreads();
        if (t < WARP) {
            const Word best = best_of_chunk(~(gone[chunk] | struck[0] | Word(struck[1]) << WARP), own_low, own_high);
            __syncwarp();
            if (lane == 0) kept[chunk] = best;
            if (lane < 2) struck[lane] = 0;
        }
        __syncthreads();
        chunk = following;
    }

    if (t == 0) {
        int32_t total = before;
        for (int c = 0; c < chunks; ++c) begins[c] = total, total += __popcll(kept[c]);
        work.before[blockIdx.x] = before;
        work.kept[image] = total;
    }
    __syncthreads();
    for (int i = t; i < n; i += KEEPERS) {
        const Word stay = kept[i / CHUNK], below = (Word(1) << i % CHUNK) - 1;
        if (stay >> i % CHUNK & 1)
            work.indices[image * work.batch.capacity + begins[i / CHUNK] + __popcll(stay & below)] =
                work.order[blockIdx.x * work.batch.capacity + first + i];
    }
}

// Strikes boxes of the ranks from `first` on that overlap some of those that the stripe before it kept. A tile: a box a
// thread, THREADS kept ones.
__global__ void __launch_bounds__(THREADS) strike_later(Work work, int32_t first) {
    __shared__ RankedBox best[THREADS];
    __shared__ int64_t groups[THREADS];
    const int64_t image = work.first_image + blockIdx.y, boxes = image * work.batch.capacity;
    const int32_t before = work.before[blockIdx.y], kept = work.kept[image] - before, count = work.count(image);
    const int32_t parts = parts_of(kept, THREADS), tiles = parts * parts_of(count - first, THREADS);
    for (int32_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int32_t begin = tile % parts * THREADS, rank = first + tile / parts * THREADS + threadIdx.x;
        const int32_t n = min(kept - begin, THREADS);
        __syncthreads();  // the tile before
        if (static_cast<int32_t>(threadIdx.x) < n) {
            const int64_t index = boxes + work.indices[boxes + before + begin + threadIdx.x];
            const float* box = work.batch.boxes + 4 * index;
            best[threadIdx.x] = RankedBox{{box[0], box[1], box[2], box[3]}};
            if (work.groups) groups[threadIdx.x] = work.group(index);
        }
        __syncthreads();
        uint32_t* gone = work.gone + blockIdx.y * work.words + rank / WARP;
        bool struck = false;
        if (rank < count && !(*gone >> threadIdx.x % WARP & 1)) {
            const int64_t ranked = blockIdx.y * work.batch.capacity + rank;
            const RankedBox box = work.boxes[ranked];
            const int64_t group = work.groups ? work.groups[ranked] : 0;
            for (int i = 0; i < n && !struck; ++i) {
                const float* other = best[i].corner;
                const bool touch = (other[0] < box.corner[2]) & (box.corner[0] < other[2]) &
                                   (other[1] < box.corner[3]) & (box.corner[1] < other[3]);
                if (!touch || (work.groups && groups[i] != group)) continue;
                struck = boxes_overlap(box.corner, other, work.threshold);
            }
        }
        const uint32_t bits = __ballot_sync(FULL, struck);
        if (bits && threadIdx.x % WARP == 0) atomicOr(gone, bits);
    }
}

__global__ void __launch_bounds__(THREADS) widen(const int32_t* narrow, int64_t n, int64_t* wide) {
    const int64_t step = int64_t(gridDim.x) * blockDim.x;
    for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) wide[i] = narrow[i];
}

}  // namespace
}  // namespace nms

void nms_cuda(const NmsBatch& batch, double iou_threshold, int32_t* indices, int32_t* kept, int32_t* status,
              void* stream) {
    using namespace nms;
    if (batch.capacity > NMS_MAX_CAPACITY)
        throw std::invalid_argument("boxes: got room for " + std::to_string(batch.capacity) +
                                    " boxes an image, expected at most " + std::to_string(NMS_MAX_CAPACITY));
    if (batch.images == 0) return;
    check(cudaMemsetAsync(status, 0, batch.images * sizeof *status, static_cast<cudaStream_t>(stream)), "nms");

    const int64_t chunks = std::max<int64_t>((batch.capacity + CHUNK - 1) / CHUNK, 1);
    const int rows = static_cast<int>(std::min<int64_t>(chunks * CHUNK, STRIPE));
    const int64_t words = 2 * chunks, matrix = int64_t(rows) * (rows / CHUNK);
    const int64_t at_once = std::clamp<int64_t>(MOST_SCRATCH / int64_t(matrix * sizeof(Word)), 1,
                                                std::min(batch.images, MOST_IMAGES));
    const int64_t boxes = at_once * batch.capacity;
    const Scratch<RankedBox> ranked(boxes, stream);
    const Scratch<int64_t> groups(batch.groups ? boxes : 0, stream);
    const Scratch<int32_t> order(boxes, stream), before(at_once, stream);
    const Scratch<uint32_t> gone(at_once * words, stream);
    const Scratch<Word> overlaps(at_once * matrix, stream);

    const auto parts = [](int64_t n, int64_t size) { return (n + size - 1) / size; };
    for (int64_t first_image = 0; first_image < batch.images; first_image += at_once) {
        const unsigned images = static_cast<unsigned>(std::min(at_once, batch.images - first_image));
        const Work work{batch, first_image, make_threshold(iou_threshold), words, rows,
                        ranked.data(), batch.groups ? groups.data() : nullptr, order.data(), gone.data(),
                        overlaps.data(), before.data(), indices, kept, status};
        rank_boxes(work, images, stream);
        for (int64_t first = 0; first == 0 || first < batch.capacity; first += rows) {
            const dim3 tiles(blocks_each(rows / CHUNK * parts(rows, THREADS), images), images);
            launch("nms, overlaps", overlap_matrix, tiles, THREADS, 0, stream, work, static_cast<int32_t>(first));
            launch("nms, keeping", keep_best, images, KEEPERS, 0, stream, work, static_cast<int32_t>(first));
            const int64_t later = first + rows;
            if (later >= batch.capacity) break;
            const int64_t most = parts(batch.capacity - later, THREADS) * parts(rows, THREADS);
            const dim3 strikes(blocks_each(most, images), images);
            launch("nms, striking", strike_later, strikes, THREADS, 0, stream, work, static_cast<int32_t>(later));
        }
    }
}

void nms_indices_cuda(const int32_t* indices, int64_t n, int64_t* wide, void* stream) {
    if (n == 0) return;
    launch("nms, indices", nms::widen, blocks_for(n, nms::THREADS), nms::THREADS, 0, stream, indices, n, wide);
}

}  // namespace mammofast
