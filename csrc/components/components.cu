// Sums: a thread a pixel, warps of neighbours; where those that are set are all of one component, one of them adds for
// all. They are integers, so that no order of threads shows. Bits: a thread a byte.
#include "../core/launch.h"
#include "components.h"

namespace mammofast {
namespace {

constexpr int THREADS = 256;
constexpr int WARP = 32;
constexpr int BLOCKS = 8;  // at once on a multiprocessor
constexpr unsigned ALL_LANES = 0xffffffffu;
constexpr int64_t MOST_PIECES = 1 << 15;  // to a launch

// Which of `size` values, stretched from begin to end, pixel i lies in.
__device__ int32_t nearest(int32_t i, int32_t size, int32_t begin, int32_t end) {
    const int64_t place = (2 * (int64_t(i) - begin) + 1) * size / (2 * (int64_t(end) - begin));
    return static_cast<int32_t>(place < 0 ? 0 : place < size ? place : size - 1);
}

__global__ void __launch_bounds__(THREADS) add(const Labels labels, const ProbabilityMap map, int64_t capacity,
                                               int64_t* sums) {
    const int64_t pixels = int64_t(labels.rows) * labels.cols, step = int64_t(gridDim.x) * THREADS;
    const int64_t lane = threadIdx.x % WARP, warp = int64_t(blockIdx.x) * THREADS + threadIdx.x - lane;
    for (int64_t first = warp; first < pixels; first += step) {
        const int64_t i = first + lane;
        const int32_t label = i < pixels ? labels.labels[i] : 0;
        const bool counts = label > 0 && label <= capacity;
        const unsigned some = __ballot_sync(ALL_LANES, counts);
        if (some == 0) continue;
        long long value = 0;
        if (counts) {
            const int32_t row = nearest(static_cast<int32_t>(i / labels.cols), map.rows, map.y_min, map.y_max);
            const int32_t col = nearest(static_cast<int32_t>(i % labels.cols), map.cols, map.x_min, map.x_max);
            const double probability = map.values[int64_t(row) * map.cols + col];
            value = static_cast<long long>(floor(probability * PROBABILITY_ONE + 0.5));
        }
        const int32_t one = __shfl_sync(ALL_LANES, label, __ffs(some) - 1);
        auto* sum = reinterpret_cast<unsigned long long*>(sums) - 1;
        if (__all_sync(ALL_LANES, !counts || label == one)) {
            for (int other = WARP / 2; other > 0; other /= 2) value += __shfl_xor_sync(ALL_LANES, value, other);
            if (lane == 0) atomicAdd(&sum[one], static_cast<unsigned long long>(value));
        } else if (counts) {
            atomicAdd(&sum[label], static_cast<unsigned long long>(value));
        }
    }
}

__global__ void __launch_bounds__(THREADS) pack(const Labels labels, const Piece* pieces, uint8_t* bits) {
    const Piece piece = pieces[blockIdx.y];
    const int32_t row_bytes = (piece.x_max - piece.x_min + 7) / 8;
    const int64_t bytes = int64_t(row_bytes) * (piece.y_max - piece.y_min), step = int64_t(gridDim.x) * THREADS;
    for (int64_t i = int64_t(blockIdx.x) * THREADS + threadIdx.x; i < bytes; i += step) {
        const int32_t row = piece.y_min + static_cast<int32_t>(i / row_bytes);
        const int32_t col = piece.x_min + static_cast<int32_t>(i % row_bytes) * 8;
        const int32_t* label = labels.labels + int64_t(row) * labels.cols + col;
        unsigned byte = 0;
        for (int bit = 0; bit < 8 && col + bit < piece.x_max; ++bit)
            byte |= unsigned(label[bit] == piece.number + 1) << (7 - bit);
        bits[piece.offset + i] = static_cast<uint8_t>(byte);
    }
}

}  // namespace

void component_sums_cuda(const Labels& labels, const ProbabilityMap& map, int64_t capacity, int64_t* sums,
                         void* stream) {
    if (capacity == 0) return;
    check(cudaMemsetAsync(sums, 0, capacity * sizeof *sums, static_cast<cudaStream_t>(stream)), "component_sums");
    const int64_t pixels = int64_t(labels.rows) * labels.cols;
    if (pixels == 0) return;
    const int64_t wanted = blocks_for(pixels, THREADS), most = blocks_at_once(BLOCKS);
    launch("component_sums", add, dim3(static_cast<unsigned>(wanted < most ? wanted : most)), dim3(THREADS), 0, stream,
           labels, map, capacity, sums);
}

void component_bits_cuda(const Labels& labels, const Piece* pieces, int64_t n, int64_t most_bytes, uint8_t* bits,
                         void* stream) {
    if (most_bytes == 0) return;
    for (int64_t first = 0; first < n; first += MOST_PIECES) {
        const auto count = static_cast<unsigned>(n - first < MOST_PIECES ? n - first : MOST_PIECES);
        const int64_t wanted = blocks_for(most_bytes, THREADS), most = blocks_at_once(BLOCKS);
        const dim3 grid(static_cast<unsigned>(wanted < most ? wanted : most), count);
        launch("component_bits", pack, grid, dim3(THREADS), 0, stream, labels, pieces + first, bits);
    }
}

}  // namespace mammofast
