// What a thread block does with the grid of an image: votes to sums, sums to runs of kept cells, runs to components.
#pragma once

#include "../core/launch.h"
#include "../core/scan.cuh"
#include "../core/union_find.cuh"
#include "../core/votes.h"
#include "cell_grid.cuh"

namespace mammofast {
namespace {

constexpr int THREADS = 512;
constexpr unsigned ALL_LANES = 0xffffffffu;

// What the threads of a block tell each other.
struct Shared {
    int32_t strongest, status, cols, rows;
};

// An edge's place is the number of edges before it.
__device__ void rank_edges(const CellGrid& grid, Shared& shared) {
    const int32_t count = 2 * grid.n;
    for (int32_t i = threadIdx.x; i < 2 * count; i += THREADS) {
        const int32_t axis = i < count ? 0 : count;
        if (grid.weights[(i - axis) / 2] == 0) continue;
        const int32_t edge = grid.edges[i];
        int32_t place = 0;
        for (int32_t j = 0; j < count; ++j) place += grid.edges[axis + j] < edge;
        grid.places[i] = place;
        atomicExch(&grid.coordinates[axis + place], edge);  // equal edges write the same: atomic, hence no race
        atomicMax(axis ? &shared.rows : &shared.cols, place);
    }
}

// Adds each vote to the cells of its first row and takes it off those of the row after its last, a warp a vote.
__device__ void mark_votes(const CellGrid& grid) {
    for (int32_t i = threadIdx.x / 32; i < grid.n; i += THREADS / 32) {
        const int32_t weight = grid.weights[i];
        if (weight == 0) continue;
        const int32_t *x = grid.places + 2 * i, *y = x + 2 * grid.n;
        for (int32_t col = x[0] + int32_t(threadIdx.x % 32); col < x[1]; col += 32) {
            atomicAdd(&grid.sums[y[0] * grid.cols + col], weight);
            if (y[1] < grid.rows) atomicAdd(&grid.sums[y[1] * grid.cols + col], -weight);
        }
    }
}

// Sums down each column, a thread a column. Values are loaded some rows ahead of the sum that waits for them.
__device__ void sum_votes(const CellGrid& grid) {
    constexpr int AHEAD = 8;
    for (int32_t col = threadIdx.x; col < grid.cols; col += THREADS) {
        int32_t sum = 0;
        for (int32_t row = 0; row < grid.rows; row += AHEAD) {
            int32_t values[AHEAD];
            for (int k = 0; k < AHEAD; ++k)
                values[k] = row + k < grid.rows ? grid.sums[(row + k) * grid.cols + col] : 0;
            for (int k = 0; k < AHEAD; ++k) {
                sum += values[k];
                if (row + k < grid.rows) grid.sums[(row + k) * grid.cols + col] = sum;
            }
        }
    }
}

// Calls visit(row) for all rows, a warp a row.
template <typename Visit>
__device__ void for_each_row(const CellGrid& grid, Visit visit) {
    for (int32_t row = threadIdx.x / 32; row < grid.rows; row += THREADS / 32) visit(row);
}

// The place of the highest bit that is 0, plus 1: where the run of ones that ends with the word begins.
__device__ int32_t after_last_gap(unsigned bits) { return 32 - __clz(~bits); }

// A cell's first parent is the first cell of its run.
__device__ void begin_runs(const CellGrid& grid, int32_t cut) {
    const int32_t lane = threadIdx.x % 32;
    for_each_row(grid, [&](int32_t row) {
        int32_t open = -1;  // first col of the run that reaches this word, or -1
        for (int32_t first = 0; first < grid.cols; first += 32) {
            const int32_t col = first + lane, cell = row * grid.cols + col;
            const bool kept = col < grid.cols && grid.sums[cell] >= cut;
            const unsigned bits = __ballot_sync(ALL_LANES, kept);
            const auto begin = [&](unsigned before) {
                const int32_t gap = after_last_gap(before);
                return gap == 0 && open >= 0 ? open : first + gap;
            };
            if (kept) grid.parents[cell] = row * grid.cols + begin(bits | ~0u << lane);
            open = bits >> 31 ? begin(bits) : -1;
        }
    });
}

// Joins runs of adjacent rows where they touch, corners included: once where their overlap begins, or at the corner
// if there is no more (the cases that suffice for 8-connectivity: Playne & Hawick 2018).
template <Memory MEMORY>
__device__ void join_runs(const CellGrid& grid, int32_t cut) {
    for_each_row(grid, [&](int32_t row) {
        if (row == 0) return;
        const int32_t *here = grid.sums + row * grid.cols, *above = here - grid.cols;
        for (int32_t col = threadIdx.x % 32; col < grid.cols; col += 32) {
            if (here[col] < cut) continue;
            const int32_t cell = row * grid.cols + col;
            const bool has_left = col > 0, has_right = col + 1 < grid.cols;
            const bool left = has_left && here[col - 1] >= cut, up_left = has_left && above[col - 1] >= cut;
            if (above[col] >= cut) {
                if (!(left && up_left)) unite<MEMORY>(grid.parents, cell, cell - grid.cols);
                continue;
            }
            if (up_left && !left) unite<MEMORY>(grid.parents, cell, cell - grid.cols - 1);
            if (has_right && above[col + 1] >= cut && here[col + 1] < cut)
                unite<MEMORY>(grid.parents, cell, cell - grid.cols + 1);
        }
    });
}

// Numbers the components in the raster order of their roots; a root's parent becomes ~number. Returns how many there
// are; if more than there is room for, nothing else is done.
__device__ int32_t number_roots(const CellGrid& grid, int32_t cut) {
    const int32_t lane = threadIdx.x % 32;
    const auto roots_of = [&](int32_t row, int32_t first) {
        const int32_t col = first + lane, cell = row * grid.cols + col;
        return __ballot_sync(ALL_LANES, col < grid.cols && grid.sums[cell] >= cut && grid.parents[cell] == cell);
    };
    for_each_row(grid, [&](int32_t row) {
        int32_t count = 0;
        for (int32_t first = 0; first < grid.cols; first += 32) count += __popc(roots_of(row, first));
        if (lane == 0) grid.row_roots[row] = count;
    });
    const int32_t count = exclusive_scan(grid.row_roots, grid.rows);
    if (count > grid.most_boxes) return count;
    for_each_row(grid, [&](int32_t row) {
        int32_t number = grid.row_roots[row];
        for (int32_t first = 0; first < grid.cols; first += 32) {
            const unsigned roots = roots_of(row, first);
            if (roots >> lane & 1) {
                const int32_t own = number + __popc(roots & ~(~0u << lane));
                grid.boxes[own] = {INT_MAX, row, 0, 0, 0};
                grid.parents[row * grid.cols + first + lane] = ~own;
            }
            number += __popc(roots);
        }
    });
    return count;
}

// Grows the components' boxes and peaks, by runs within 32 cells.
__device__ void grow_boxes(const CellGrid& grid, int32_t cut) {
    const int32_t lane = threadIdx.x % 32;
    for_each_row(grid, [&](int32_t row) {
        for (int32_t first = 0; first < grid.cols; first += 32) {
            const int32_t col = first + lane, cell = row * grid.cols + col;
            int32_t peak = col < grid.cols ? grid.sums[cell] : 0;
            const unsigned kept = __ballot_sync(ALL_LANES, peak >= cut);
            if (kept == 0) continue;
            const unsigned gaps_after = ~kept & ~0u << lane;
            const int32_t end = gaps_after ? __ffs(gaps_after) - 1 : 32;  // of the lane's run; the lane itself if none
            for (int32_t step = 1; step < 32; step *= 2) {
                const int32_t other = __shfl_down_sync(ALL_LANES, peak, step);
                if (lane + step < end && other > peak) peak = other;
            }
            if (lane == end || (lane > 0 && kept >> (lane - 1) & 1)) continue;  // not the first of a run
            int32_t node = cell;
            while (node >= 0) node = grid.parents[node];
            CellBox& box = grid.boxes[~node];
            atomicMin(&box.x_min, col);
            atomicMax(&box.x_max, first + end);
            atomicMax(&box.y_max, row + 1);
            atomicMax(&box.peak, peak);
        }
    });
}

}  // namespace
}  // namespace mammofast
