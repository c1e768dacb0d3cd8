// Masks become words of 32 pixels, runs of pixels within a word the nodes of a union-find whose parents lie in the
// labels, each at its first pixel. Seven kernels: pack, join, count the roots of each row, sum those up, number the
// roots, measure the components, paint. A warp takes a row, a lane a word of it; only packing and painting look at
// pixels. Numbers follow the roots, which are the components' first pixels: no result depends on the order of threads.
#include "../core/launch.h"
#include "../core/scan.cuh"
#include "../core/scratch.h"
#include "../core/status.h"
#include "../core/union_find.cuh"
#include "label_mask.h"

namespace mammofast {
namespace {

constexpr int THREADS = 256;
constexpr int BLOCKS = 4;  // at once on a multiprocessor: leaves 64 registers a thread, which no kernel here fills
constexpr unsigned ALL_LANES = 0xffffffffu;

struct Task {
    MaskBatch batch;
    LabelBatch found;
    int64_t lines, words;  // rows of all images; words of a row
    unsigned* bits;        // (lines, words)
    int32_t* roots;        // (lines,): roots of a row, then of all rows of the image above it
};

// One row of one image.
struct Line {
    int64_t image;
    int32_t row, cols;
    int64_t words;
    const unsigned* bits;
    int32_t* parents;  // of the image, by pixel

    // The line above where there is one.
    __device__ unsigned word(int64_t index) const { return index >= 0 && index < words ? bits[index] : 0; }
    __device__ int32_t pixel(int64_t index) const { return row * cols + static_cast<int32_t>(32 * index); }
    __device__ Line above() const { return {image, row - 1, cols, words, bits - words, parents}; }
};

// Runs of ones in a word: [begin, end) of the one that holds a set bit.
__device__ int32_t run_begin(unsigned bits, int32_t bit) { return 32 - __clz(~(bits | ~0u << bit)); }

__device__ int32_t run_end(unsigned bits, int32_t bit) {
    const unsigned gaps = ~bits & ~0u << bit;
    return gaps ? __ffs(gaps) - 1 : 32;
}

__device__ unsigned bits_from(int32_t bit) { return bit < 32 ? ~0u << bit : 0; }

// Calls visit(begin, end) for each run of a word.
template <typename Visit>
__device__ void for_each_run(unsigned bits, Visit visit) {
    for (unsigned left = bits; left;) {
        const int32_t begin = __ffs(left) - 1, end = run_end(bits, begin);
        visit(begin, end);
        left &= bits_from(end);
    }
}

// Calls visit(line) for all rows of all images, a warp a row.
template <typename Visit>
__device__ void for_each_line(const Task& task, Visit visit) {
    const int64_t warps = int64_t(gridDim.x) * (THREADS / 32);
    for (int64_t i = (int64_t(blockIdx.x) * THREADS + threadIdx.x) / 32; i < task.lines; i += warps) {
        const int64_t image = i / task.batch.rows, pixels = task.batch.rows * task.batch.cols;
        visit(Line{image, static_cast<int32_t>(i % task.batch.rows), static_cast<int32_t>(task.batch.cols), task.words,
                   task.bits + i * task.words, task.found.labels + image * pixels},
              i);
    }
}

// Calls visit(index) of the words of a row, a lane a word; the lanes past its end are called too.
template <typename Visit>
__device__ void for_each_word(const Line& line, Visit visit) {
    for (int64_t first = 0; first < line.words; first += 32) visit(first + threadIdx.x % 32);
}

__device__ int32_t sum_of_warp(int32_t value) {
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(ALL_LANES, value, step);
    return value;
}

__global__ void __launch_bounds__(THREADS, BLOCKS) pack_mask(const Task task) {
    constexpr int AHEAD = 4;  // words whose pixels are asked for before the first is looked at
    const int32_t lane = threadIdx.x % 32;
    for_each_line(task, [&](const Line& line, int64_t index) {
        const uint8_t* mask = task.batch.masks + index * line.cols;
        for (int64_t first = 0; first < line.words; first += AHEAD) {
            uint8_t pixels[AHEAD];
            for (int k = 0; k < AHEAD; ++k) {
                const int64_t col = 32 * (first + k) + lane;
                pixels[k] = col < line.cols ? mask[col] : 0;
            }
            for (int k = 0; k < AHEAD; ++k) {
                const unsigned bits = __ballot_sync(ALL_LANES, pixels[k] != 0);
                if (first + k >= line.words) continue;
                if (lane == 0) task.bits[index * line.words + first + k] = bits;
                const int32_t pixel = line.pixel(first + k) + lane;
                if (pixels[k] && run_begin(bits, lane) == lane) line.parents[pixel] = pixel;
            }
        }
    });
}

__global__ void __launch_bounds__(THREADS, BLOCKS) join_runs(const Task task) {
    for_each_line(task, [&](const Line& line, int64_t) {
        for_each_word(line, [&](int64_t index) {
            const unsigned bits = line.word(index), left = line.word(index - 1);
            if (bits == 0) return;
            const auto join = [&](int32_t pixel, int32_t other) { unite<Memory::GLOBAL>(line.parents, pixel, other); };
            const int32_t pixel = line.pixel(index);
            if (bits & 1 && left >> 31) join(pixel, pixel - 32 + run_begin(left, 31));
            if (line.row == 0) return;

            const Line above = line.above();
            const unsigned up = above.word(index), up_left = above.word(index - 1), up_right = above.word(index + 1);
            const int32_t up_pixel = above.pixel(index);
            for_each_run(bits, [&](int32_t begin, int32_t end) {
                const unsigned run = bits_from(begin) & ~bits_from(end);
                for (unsigned touched = up & (run | run << 1 | run >> 1); touched;) {
                    const int32_t bit = __ffs(touched) - 1;
                    join(pixel + begin, up_pixel + run_begin(up, bit));
                    touched &= bits_from(run_end(up, bit));
                }
                if (begin == 0 && up_left >> 31) join(pixel, up_pixel - 32 + run_begin(up_left, 31));
                if (end == 32 && up_right & 1) join(pixel + begin, up_pixel + 32);
            });
        });
    });
}

// Runs of a word that are roots, as the bits of their first pixels.
__device__ unsigned roots_of(const Line& line, int64_t index) {
    unsigned roots = 0;
    for_each_run(line.word(index), [&](int32_t begin, int32_t) {
        const int32_t pixel = line.pixel(index) + begin;
        if (line.parents[pixel] == pixel) roots |= 1u << begin;
    });
    return roots;
}

__global__ void __launch_bounds__(THREADS, BLOCKS) count_roots(const Task task) {
    for_each_line(task, [&](const Line& line, int64_t index) {
        int32_t count = 0;
        for_each_word(line, [&](int64_t word) { count += __popc(roots_of(line, word)); });
        count = sum_of_warp(count);
        if (threadIdx.x % 32 == 0) task.roots[index] = count;
    });
}

// A block an image.
__global__ void __launch_bounds__(THREADS, BLOCKS) sum_roots(const Task task) {
    const LabelBatch& found = task.found;
    for (int64_t image = blockIdx.x; image < task.batch.images; image += gridDim.x) {
        const int32_t count = exclusive_scan(task.roots + image * task.batch.rows, task.batch.rows);
        for (int64_t i = count + int64_t(threadIdx.x); i < found.capacity; i += THREADS) {
            found.areas[image * found.capacity + i] = 0;
            for (int side = 0; side < 4; ++side) found.boxes[4 * (image * found.capacity + i) + side] = 0;
        }
        if (threadIdx.x == 0) {
            const bool fits = count <= found.capacity;
            found.counts[image] = fits ? count : static_cast<int32_t>(found.capacity);
            found.status[image] = fits ? 0 : STATUS_OVERFLOW;
        }
    }
}

// A root's parent becomes ~number.
__global__ void __launch_bounds__(THREADS, BLOCKS) number_roots(const Task task) {
    const LabelBatch& found = task.found;
    for_each_line(task, [&](const Line& line, int64_t index) {
        int32_t number = task.roots[index];
        for_each_word(line, [&](int64_t word) {
            const unsigned roots = roots_of(line, word);
            const int32_t count = __popc(roots);
            int32_t before = count;
            for (int step = 1; step < 32; step *= 2) {
                const int32_t other = __shfl_up_sync(ALL_LANES, before, step);
                if (int(threadIdx.x % 32) >= step) before += other;
            }
            int32_t own = number + before - count;
            number += __shfl_sync(ALL_LANES, before, 31);
            for (unsigned left = roots; left; left &= left - 1, ++own) {
                line.parents[line.pixel(word) + __ffs(left) - 1] = ~own;
                if (own >= found.capacity) continue;
                const int64_t place = line.image * found.capacity + own;
                int32_t* box = found.boxes + 4 * place;
                box[0] = line.cols, box[1] = line.row, box[2] = 0, box[3] = 0;
                found.areas[place] = 0;
            }
        });
    });
}

// What a row has of a component.
struct Piece {
    int32_t number;  // of the component; -1: nothing
    int32_t x_min, x_max, area;
};

// Reads before it writes: most rows of a component change nothing but its area.
__device__ void add_piece(const Task& task, const Line& line, const Piece& piece) {
    if (piece.number < 0 || piece.number >= task.found.capacity) return;
    const int64_t place = line.image * task.found.capacity + piece.number;
    volatile int32_t* box = task.found.boxes + 4 * place;
    int32_t* corners = task.found.boxes + 4 * place;
    if (piece.x_min < box[0]) atomicMin(&corners[0], piece.x_min);
    if (piece.x_max > box[2]) atomicMax(&corners[2], piece.x_max);
    if (line.row + 1 > box[3]) atomicMax(&corners[3], line.row + 1);
    atomicAdd(reinterpret_cast<unsigned long long*>(&task.found.areas[place]),
              static_cast<unsigned long long>(piece.area));
}

// Adds the pieces of 32 lanes: as one where all are of one component, as inside a large one.
__device__ void add_pieces(const Task& task, const Line& line, Piece piece) {
    const unsigned some = __ballot_sync(ALL_LANES, piece.number >= 0);
    if (some == 0) return;
    const int32_t number = __shfl_sync(ALL_LANES, piece.number, __ffs(some) - 1);
    if (!__all_sync(ALL_LANES, piece.number < 0 || piece.number == number)) {
        add_piece(task, line, piece);
        return;
    }
    for (int step = 16; step > 0; step /= 2) {
        const int32_t x_min = __shfl_xor_sync(ALL_LANES, piece.x_min, step);
        const int32_t x_max = __shfl_xor_sync(ALL_LANES, piece.x_max, step);
        if (x_min < piece.x_min) piece.x_min = x_min;
        if (x_max > piece.x_max) piece.x_max = x_max;
    }
    piece.number = number, piece.area = sum_of_warp(piece.area);
    if (threadIdx.x % 32 == 0) add_piece(task, line, piece);
}

// Every node's parent becomes ~number of its component; boxes and areas grow.
__global__ void __launch_bounds__(THREADS, BLOCKS) measure_components(const Task task) {
    for_each_line(task, [&](const Line& line, int64_t) {
        for_each_word(line, [&](int64_t index) {
            const Piece nothing{-1, line.cols, 0, 0};
            Piece last = nothing;  // of the word; those before it are added one by one
            for_each_run(line.word(index), [&](int32_t begin, int32_t end) {
                const int32_t pixel = line.pixel(index) + begin;
                int32_t node = pixel;
                while (node >= 0) node = parent_of<Memory::GLOBAL>(line.parents, node);
                if (line.parents[pixel] != node) line.parents[pixel] = node;
                const int32_t x = static_cast<int32_t>(32 * index);
                add_piece(task, line, last);
                last = {~node, x + begin, x + end, end - begin};
            });
            add_pieces(task, line, last);
        });
    });
}

__global__ void __launch_bounds__(THREADS, BLOCKS) paint_labels(const Task task) {
    const int32_t lane = threadIdx.x % 32;
    for_each_line(task, [&](const Line& line, int64_t) {
        for (int64_t index = 0; index < line.words; ++index) {
            const unsigned bits = line.word(index);
            const bool kept = bits >> lane & 1;
            const int32_t pixel = line.pixel(index) + lane, begin = kept ? run_begin(bits, lane) : lane;
            const int32_t own = kept && begin == lane ? line.parents[pixel] : 0;
            const int32_t node = __shfl_sync(ALL_LANES, own, begin);
            if (32 * index + lane < line.cols) line.parents[pixel] = kept ? ~node + 1 : 0;
        }
    });
}

}  // namespace

void label_mask_cuda(const MaskBatch& batch, const LabelBatch& found, void* stream) {
    if (batch.images == 0) return;
    const int64_t lines = batch.images * batch.rows, words = (batch.cols + 31) / 32;
    const Scratch<unsigned> bits(lines * words, stream);
    const Scratch<int32_t> roots(lines, stream);
    const Task task{batch, found, lines, words, bits.data(), roots.data()};
    const unsigned blocks = blocks_for(32 * lines, THREADS);
    launch("label_mask: pack", pack_mask, blocks, THREADS, 0, stream, task);
    launch("label_mask: join", join_runs, blocks, THREADS, 0, stream, task);
    launch("label_mask: count", count_roots, blocks, THREADS, 0, stream, task);
    launch("label_mask: sum", sum_roots, blocks_for(batch.images, 1), THREADS, 0, stream, task);
    launch("label_mask: number", number_roots, blocks, THREADS, 0, stream, task);
    launch("label_mask: measure", measure_components, blocks, THREADS, 0, stream, task);
    launch("label_mask: paint", paint_labels, blocks, THREADS, 0, stream, task);
}

}  // namespace mammofast
