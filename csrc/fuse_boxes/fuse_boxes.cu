// One thread block an image, on the grid of its box edges: votes are summed over the cells, the cells kept are joined
// to components by union-find, runs of cells in a row first. All in integers, and no result depends on the order in
// which threads come. The grid lies in shared memory; images with more boxes than that holds take a second launch of
// the same kernel, whose few blocks have a grid each in global memory.
#include <climits>

#include "../core/checks.h"
#include "../core/launch.h"
#include "../core/scan.cuh"
#include "../core/scratch.h"
#include "../core/status.h"
#include "../core/union_find.cuh"
#include "../core/votes.h"
#include "cell_grid.cuh"
#include "fuse_boxes.h"
#include "fuse_boxes_math.h"

namespace mammofast {
namespace {

constexpr int THREADS = 512;
constexpr unsigned ALL_LANES = 0xffffffffu;
constexpr int64_t SCRATCH_BYTES = int64_t(256) << 20;  // for grids in global memory; one grid may take more

struct Task {
    BoxBatch batch;
    FusedBatch fused;
    int64_t n_scales, num, den;
    int64_t shared_values;  // int32 values of a block's shared memory
    int32_t* grids;         // global memory, grid_values for each block
    int64_t grid_values;
};

// What the threads of a block tell each other.
struct Shared {
    int32_t strongest, status, cols, rows;
};

__device__ void read_votes(const Task& task, int64_t image, const CellGrid& grid, Shared& shared) {
    const float* boxes = task.batch.boxes + 4 * image * task.batch.capacity;
    const float* scores = task.batch.scores + image * task.batch.capacity;
    const int32_t rows = task.batch.shapes[2 * image], cols = task.batch.shapes[2 * image + 1];
    for (int32_t i = threadIdx.x; i < grid.n; i += THREADS) {
        Vote vote{};
        if (is_sound_box(boxes + 4 * i) && is_sound_score(scores[i]))
            vote = make_vote(boxes + 4 * i, scores[i], rows, cols);
        else
            atomicOr(&shared.status, STATUS_UNSOUND);
        const bool counts = vote.counts();
        if (counts) atomicMax(&shared.strongest, vote.weight);
        int32_t *x = grid.edges + 2 * i, *y = x + 2 * grid.n;
        grid.weights[i] = counts ? vote.weight : 0;
        x[0] = counts ? vote.x_min : NO_EDGE, x[1] = counts ? vote.x_max : NO_EDGE;
        y[0] = counts ? vote.y_min : NO_EDGE, y[1] = counts ? vote.y_max : NO_EDGE;
    }
}

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

__device__ bool comes_before(const CellBox& a, const CellBox& b) {
    if (a.y_min != b.y_min) return a.y_min < b.y_min;
    if (a.x_min != b.x_min) return a.x_min < b.x_min;
    return a.y_max < b.y_max;  // x_max never decides: two that begin alike and end in one row would cross
}

// Writes the components in their order. They are sorted by y_min, as their roots are: only those that begin in the
// same row are compared.
__device__ void write_boxes(const Task& task, int64_t image, const CellGrid& grid, int32_t count, int32_t strongest) {
    const FusedBatch& fused = task.fused;
    const int32_t *x = grid.coordinates, *y = x + 2 * grid.n;
    for (int64_t i = threadIdx.x; i < fused.capacity; i += THREADS) {
        int64_t place = image * fused.capacity + i;
        if (i >= count) {
            for (int side = 0; side < 4; ++side) fused.boxes[4 * place + side] = 0;
            fused.scores[place] = fused.confidence[place] = 0.0f;
            continue;
        }
        const CellBox box = grid.boxes[i];
        for (int64_t j = i; j-- > 0 && grid.boxes[j].y_min == box.y_min;) place -= comes_before(box, grid.boxes[j]);
        for (int64_t j = i; ++j < count && grid.boxes[j].y_min == box.y_min;) place += comes_before(grid.boxes[j], box);
        int32_t* corners = fused.boxes + 4 * place;
        corners[0] = x[box.x_min], corners[1] = y[box.y_min], corners[2] = x[box.x_max], corners[3] = y[box.y_max];
        fused.scores[place] = relative_score(box.peak, task.n_scales, strongest);
        fused.confidence[place] = relative_score(box.peak, task.n_scales, static_cast<int64_t>(VOTE_ONE));
    }
}

// Returns how many components come out; where the status says otherwise, 0.
template <Memory MEMORY>
__device__ int32_t fuse_image(const Task& task, int64_t image, CellGrid& grid, Shared& shared) {
    for (int64_t i = threadIdx.x; i < CellGrid::cells_of(grid.n); i += THREADS) grid.sums[i] = 0;
    read_votes(task, image, grid, shared);
    __syncthreads();
    if (shared.status != 0 || shared.strongest == 0) return 0;
    rank_edges(grid, shared);
    __syncthreads();
    grid.cols = shared.cols, grid.rows = shared.rows;
    mark_votes(grid);
    __syncthreads();
    sum_votes(grid);
    __syncthreads();

    const int64_t smallest = smallest_sum(task.num, task.den, shared.strongest);
    const int32_t cut = smallest < INT_MAX ? static_cast<int32_t>(smallest) : INT_MAX;  // no sum comes near it
    begin_runs(grid, cut);
    __syncthreads();
    join_runs<MEMORY>(grid, cut);
    __syncthreads();
    const int32_t count = number_roots(grid, cut);
    if (count > grid.most_boxes) {
        if (threadIdx.x == 0) shared.status = STATUS_OVERFLOW;
        return 0;
    }
    __syncthreads();
    grow_boxes(grid, cut);
    return count;
}

template <Memory MEMORY>
__global__ void __launch_bounds__(THREADS) fuse_boxes(const Task task) {
    __shared__ Shared shared;
    for (int64_t image = blockIdx.x; image < task.batch.images; image += gridDim.x) {
        const int32_t boxes = task.batch.counts[image];
        const bool sound = boxes >= 0 && boxes <= task.batch.capacity && task.batch.shapes[2 * image] >= 0 &&
                           task.batch.shapes[2 * image + 1] >= 0;
        const int32_t problem = !sound ? STATUS_UNSOUND : boxes > MOST_FUSED_BOXES ? STATUS_OVERFLOW : 0;
        const int32_t n = problem ? 0 : boxes;
        const bool fits = CellGrid::size(n, task.fused.capacity) <= task.shared_values;
        if (fits != (MEMORY == Memory::SHARED)) continue;  // the other launch's image

        __syncthreads();  // the image before
        if (threadIdx.x == 0) shared = {0, problem, 0, 0};
        __syncthreads();
        int32_t* memory = MEMORY == Memory::SHARED ? dynamic_shared<int32_t>() : task.grids + blockIdx.x * task.grid_values;
        CellGrid grid(memory, n, task.fused.capacity);
        const int32_t count = fuse_image<MEMORY>(task, image, grid, shared);
        __syncthreads();
        write_boxes(task, image, grid, count, shared.strongest);
        if (threadIdx.x == 0) task.fused.counts[image] = count, task.fused.status[image] = shared.status;
    }
}

int64_t shared_bytes_available() {
    int device = 0, bytes = 0;
    check(cudaGetDevice(&device), "fuse_boxes");
    check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "fuse_boxes");
    constexpr int64_t STATIC_BYTES = 1024;  // Shared and the scan's
    return bytes - STATIC_BYTES;
}

}  // namespace

void fuse_boxes_cuda(const BoxBatch& batch, int64_t n_scales, int64_t num, int64_t den, const FusedBatch& fused,
                     void* stream) {
    if (batch.images == 0) return;
    constexpr int64_t VALUE = sizeof(int32_t);
    const int64_t most = batch.capacity < MOST_FUSED_BOXES ? batch.capacity : MOST_FUSED_BOXES;
    const int64_t grid_values = CellGrid::size(most, fused.capacity), available = shared_bytes_available() / VALUE;
    Task task{batch, fused, n_scales, num, den, grid_values < available ? grid_values : available, nullptr, grid_values};
    launch("fuse_boxes", fuse_boxes<Memory::SHARED>, static_cast<unsigned>(batch.images), THREADS,
           task.shared_values * VALUE, stream, task);
    if (grid_values <= available) return;

    const int64_t room = SCRATCH_BYTES / (grid_values * VALUE);
    const int64_t blocks = room < 1 ? 1 : room < batch.images ? room : batch.images;
    const Scratch<int32_t> grids(blocks * grid_values, stream);
    task.grids = grids.data();
    launch("fuse_boxes in global memory", fuse_boxes<Memory::GLOBAL>, static_cast<unsigned>(blocks), THREADS, 0, stream,
           task);
}

}  // namespace mammofast
