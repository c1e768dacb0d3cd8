// One thread block an image, on the grid of its box edges: votes are summed over the cells, the cells kept are joined
// to components by union-find, runs of cells in a row first. All in integers, and no result depends on the order in
// which threads come. The grid lies in shared memory; images with more boxes than that holds take a second launch,
// whose blocks share out one piece of global memory by the boxes that there are, and, if that is too small for all of
// them, a third one, which takes the rest in turns.
#include <algorithm>
#include <climits>

#include "../core/checks.h"
#include "../core/launch.h"
#include "../core/scratch.h"
#include "../core/status.h"
#include "../core/votes.h"
#include "fuse_boxes.h"
#include "fuse_boxes_math.h"
#include "steps.cuh"

namespace mammofast {
namespace {

constexpr int64_t SCRATCH_BYTES = int64_t(32) << 20;  // for grids in global memory; one grid may take more

struct Task {
    BoxBatch batch;
    FusedBatch fused;
    int64_t n_scales, num, den;
    int64_t shared_values;  // int32 values of a block's shared memory
    int32_t* grids;         // global memory
    int64_t room;           // int32 values of it
};

// How many boxes of an image are looked at, and its status without a look at them.
struct Asked {
    __device__ Asked(const Task& task, int64_t image) {
        const int32_t boxes = task.batch.counts[image];
        const bool sound = boxes >= 0 && boxes <= task.batch.capacity && task.batch.shapes[2 * image] >= 0 &&
                           task.batch.shapes[2 * image + 1] >= 0;
        problem = !sound ? STATUS_UNSOUND : boxes > MOST_FUSED_BOXES ? STATUS_OVERFLOW : 0;
        n = problem ? 0 : boxes;
    }

    int32_t n, problem;
};

// Values of global memory that an image's grid takes; 0 where it fits shared memory.
__device__ int64_t values_of(const Task& task, int64_t image) {
    const int64_t values = CellGrid::size(Asked(task, image).n, task.fused.capacity);
    return values <= task.shared_values ? 0 : values;
}

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
__device__ void fuse(const Task& task, int64_t image, int32_t* memory, Shared& shared) {
    const Asked asked(task, image);
    __syncthreads();  // the image before
    if (threadIdx.x == 0) shared = {0, asked.problem, 0, 0};
    __syncthreads();
    CellGrid grid(memory, asked.n, task.fused.capacity);
    const int32_t count = fuse_image<MEMORY>(task, image, grid, shared);
    __syncthreads();
    write_boxes(task, image, grid, count, shared.strongest);
    if (threadIdx.x == 0) task.fused.counts[image] = count, task.fused.status[image] = shared.status;
}

// A block an image, of those that fit shared memory.
__global__ void __launch_bounds__(THREADS, 2) fuse_in_shared(const Task task) {
    __shared__ Shared shared;
    if (values_of(task, blockIdx.x) == 0) fuse<Memory::SHARED>(task, blockIdx.x, dynamic_shared<int32_t>(), shared);
}

// Of the others, as far as their grids find room one after the other.
__global__ void __launch_bounds__(THREADS, 2) fuse_at_once(const Task task) {
    __shared__ Shared shared;
    __shared__ unsigned long long before;
    const int64_t image = blockIdx.x, own = values_of(task, image);
    if (own == 0) return;
    if (threadIdx.x == 0) before = 0;
    __syncthreads();
    unsigned long long some = 0;
    for (int64_t other = threadIdx.x; other < image; other += THREADS) some += values_of(task, other);
    if (some > 0) atomicAdd(&before, some);
    __syncthreads();
    const auto offset = static_cast<int64_t>(before);
    if (offset + own <= task.room) fuse<Memory::GLOBAL>(task, image, task.grids + offset, shared);
}

// One block: those that found none.
__global__ void __launch_bounds__(THREADS, 2) fuse_in_turns(const Task task) {
    __shared__ Shared shared;
    int64_t offset = 0;
    for (int64_t image = 0; image < task.batch.images; ++image) {
        const int64_t own = values_of(task, image);
        offset += own;
        if (own > 0 && offset > task.room) fuse<Memory::GLOBAL>(task, image, task.grids, shared);
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
    const int64_t shared_values = grid_values < available ? grid_values : available;
    Task task{batch, fused, n_scales, num, den, shared_values, nullptr, 0};
    const auto images = static_cast<unsigned>(batch.images);
    launch("fuse_boxes", fuse_in_shared, images, THREADS, task.shared_values * VALUE, stream, task);
    if (grid_values <= available) return;

    const int64_t all = batch.images * grid_values;
    task.room = std::max(grid_values, std::min(all, SCRATCH_BYTES / VALUE));
    const Scratch<int32_t> grids(task.room, stream);
    task.grids = grids.data();
    launch("fuse_boxes in global memory", fuse_at_once, images, THREADS, 0, stream, task);
    if (all > task.room) launch("fuse_boxes in turns", fuse_in_turns, 1, THREADS, 0, stream, task);
}

}  // namespace mammofast
