// The kernel that walks down the source, a block a strip of columns and a band of rows.
#pragma once

#include <cstdint>

#include "../core/launch.h"
#include "batch.cuh"

namespace mammofast {
namespace {

constexpr int THREADS = 128;
constexpr int COLUMNS = 4;                // of a thread
constexpr int WIDTH = THREADS * COLUMNS;  // columns that a block sees
constexpr int BLOCKS_AT_ONCE = 5;         // of a multiprocessor: what shared memory and registers are cut for
constexpr int SLOTS = 8;                  // rows of targets in shared memory
constexpr int ROOM = (1 << 12) + 2;       // greys in shared memory: 12 bits, and what lies on either side
constexpr int LONGEST_SPAN = WIDTH / 2;   // of columns
constexpr int WARP = 32;

static_assert(SLOTS >= TARGETS);

// Whether the third kernel makes a target of so many columns.
MAMMOFAST_HD bool is_wide(int64_t cols, int64_t target) { return longest_span(cols, target) > LONGEST_SPAN; }

// What a block makes of one target.
struct Part {
    int32_t row_begin, row_end, col_begin, col_end;
    int32_t last_source_row;
    bool enlarges;  // rows
    float row_inner, col_inner;
    const Span* row_spans;
    const Span* col_spans;
    int64_t origin;  // of the placed image, in the target's output
};

// first_from, for what begins at the source's end too.
__device__ int32_t target_from(int64_t p, int64_t source, int64_t target) {
    return static_cast<int32_t>(p >= source ? target : first_from(p, source, target));
}

// The part of what begins in rows y_begin .. y_end - 1 and columns x_begin .. x_end - 1 of the source.
__device__ Part part_of(const Batch& batch, const BatchSource& source, int t, int64_t y_begin, int64_t y_end,
                        int64_t x_begin, int64_t x_end) {
    const Placement place = batch.place(source, t);
    const BatchTarget& target = batch.targets[t];
    Part part{};
    part.last_source_row = -1;
    part.row_inner = inner_weight(source.rows, place.rows);
    part.col_inner = inner_weight(source.cols, place.cols);
    part.row_spans = batch.row_spans(source, t);
    part.col_spans = batch.col_spans(source, t);
    part.origin = (int64_t(source.image) * target.rows + place.top) * target.cols + place.left;
    if (is_wide(source.cols, place.cols)) return part;
    part.enlarges = place.rows > source.rows;
    part.row_begin = target_from(y_begin, source.rows, place.rows);
    part.row_end = target_from(y_end, source.rows, place.rows);
    part.col_begin = target_from(x_begin, source.cols, place.cols);
    part.col_end = target_from(x_end, source.cols, place.cols);
    if (part.row_begin < part.row_end && part.col_begin < part.col_end) {
        const Span span = resample_span(part.row_end - 1, source.rows, place.rows);
        part.last_source_row = part.enlarges ? min(span.first + 1, source.rows - 1) : span.last;
    }
    return part;
}

template <typename T>
__global__ void __launch_bounds__(THREADS, BLOCKS_AT_ONCE) walk(const Batch batch) {
    constexpr int AHEAD = sizeof(T) <= 4 ? 2 : 1;  // rows on their way to a thread
    __shared__ Part parts[TARGETS];
    __shared__ float greys[ROOM];
    __shared__ float complete[SLOTS][WIDTH];
    __shared__ int32_t slot_target[SLOTS], slot_row[SLOTS];

    const BatchSource& source = batch.sources[blockIdx.y];
    const int32_t strip = blockIdx.x % source.strips, band = blockIdx.x / source.strips;
    if (band >= source.bands) return;
    const int32_t x_begin = strip * source.strip_cols, y_begin = band * source.band_rows;
    const int32_t x_end = min(x_begin + source.strip_cols, source.cols);
    const int32_t y_end = min(y_begin + source.band_rows, source.rows);
    const int32_t x_reach = min(x_end + source.reach, source.cols);
    const int n_targets = batch.n_targets;
    if (static_cast<int>(threadIdx.x) < n_targets)
        parts[threadIdx.x] = part_of(batch, source, threadIdx.x, y_begin, y_end, x_begin, x_end);
    Grey<T> grey(batch, source, blockIdx.y);
    grey.bring(greys, ROOM);
    __syncthreads();
    int32_t last_row = -1;
    bool enlarges = false, sums_rows[TARGETS];
    for (int t = 0; t < TARGETS; ++t) {
        sums_rows[t] = t < n_targets && parts[t].last_source_row >= 0 && !parts[t].enlarges;
        if (t < n_targets) last_row = max(last_row, parts[t].last_source_row), enlarges |= parts[t].enlarges;
    }

    int used = 0;
    const auto flush = [&] {
        __syncthreads();
        for (int slot = threadIdx.x / WARP; slot < used; slot += THREADS / WARP) {
            const int t = slot_target[slot];
            const Part& part = parts[t];
            const float* row = complete[slot] - x_begin;
            const int64_t out = part.origin + int64_t(slot_row[slot]) * batch.targets[t].cols;
            for (int32_t x = part.col_begin + threadIdx.x % WARP; x < part.col_end; x += WARP) {
                const Span span = part.col_spans[x];
                float sum = span.first_weight * row[span.first];
                for (int32_t p = span.first + 1; p < span.last; ++p) sum += part.col_inner * row[p];
                if (span.last > span.first) sum += span.last_weight * row[span.last];
                keep(batch.targets[t].out, batch.kept, out + x, sum);
            }
        }
        __syncthreads();
        used = 0;
    };
    const auto use_slot = [&](int t, int32_t row) {
        if (threadIdx.x == 0) slot_target[used] = t, slot_row[used] = row;
        return &complete[used++][threadIdx.x];
    };

    const T* pixels = static_cast<const T*>(source.pixels) + x_begin + threadIdx.x;
    const Step* steps = batch.row_steps(source);
    T ahead[AHEAD][COLUMNS];
    const auto load = [&](int32_t y_first) {
#pragma unroll
        for (int k = 0; k < AHEAD; ++k)
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) {
                const bool there = y_first + k <= last_row && x_begin + int32_t(threadIdx.x) + c * THREADS < x_reach;
                ahead[k][c] = there ? pixels[(y_first + k) * source.row_step + c * THREADS] : T(0);
            }
    };

    float sums[TARGETS][COLUMNS] = {}, above[COLUMNS] = {};
    bool finite = true;
    load(y_begin);
    for (int32_t y_first = y_begin; y_first <= last_row; y_first += AHEAD) {
        T here[AHEAD][COLUMNS];
#pragma unroll
        for (int k = 0; k < AHEAD; ++k)
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) here[k][c] = ahead[k][c];
        load(y_first + AHEAD);
#pragma unroll 1
        for (int k = 0; k < AHEAD && y_first + k <= last_row; ++k) {
            float values[COLUMNS];
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) {
                T stored = here[0][c];
#pragma unroll
                for (int other = 1; other < AHEAD; ++other) stored = k == other ? here[other][c] : stored;
                if constexpr (std::is_floating_point_v<T>) finite &= is_finite(stored);
                values[c] = grey(stored);
            }
            const Step* step_of = steps + int64_t(y_first + k) * TARGETS;
            if (used + TARGETS > SLOTS) flush();
#pragma unroll
            for (int t = 0; t < TARGETS; ++t) {
                if (!sums_rows[t]) continue;
                const Step step = step_of[t];
                for (int c = 0; c < COLUMNS; ++c) sums[t][c] += step.weight * values[c];
                if (step.begin == step.end) continue;
                if (step.begin >= parts[t].row_begin && step.begin < parts[t].row_end) {
                    float* slot = use_slot(t, step.begin);
                    for (int c = 0; c < COLUMNS; ++c) slot[c * THREADS] = sums[t][c];
                }
                for (int c = 0; c < COLUMNS; ++c) sums[t][c] = step.carry * values[c];
            }
            for (int t = 0; enlarges && t < n_targets; ++t) {
                if (!parts[t].enlarges) continue;
                const Step step = step_of[t];
                const int32_t end = min(step.end, parts[t].row_end);
                for (int32_t row = max(step.begin, parts[t].row_begin); row < end; ++row) {
                    if (used == SLOTS) flush();
                    const Span span = parts[t].row_spans[row];
                    float* slot = use_slot(t, row);
                    for (int c = 0; c < COLUMNS; ++c) {
                        float sum = span.first_weight * (span.first == y_first + k ? values[c] : above[c]);
                        if (span.last > span.first) sum += span.last_weight * values[c];
                        slot[c * THREADS] = sum;
                    }
                }
            }
            for (int c = 0; c < COLUMNS; ++c) above[c] = values[c];
        }
    }
    flush();
    if (!finite) atomicOr(&batch.status[source.image], STATUS_NOT_FINITE);
}

// 4: room for more registers, since with fewer it spills some on sm_120.

}  // namespace
}  // namespace mammofast
