// Two launches over the cells of a batch: the first marks those that reach the score, a bit each; the second counts the
// marks before its own and writes the boxes behind them, so that they come in the CPU's order.
#include <algorithm>

#include "../core/checks.h"
#include "../core/launch.h"
#include "../core/scratch.h"
#include "../core/status.h"
#include "decode_yolo_math.h"

namespace mammofast {
namespace {

constexpr unsigned FULL = 0xffffffffu;
constexpr int WARP = 32;
constexpr int THREADS = 256;
constexpr int WORDS = THREADS / WARP;     // of marks, to a block
constexpr int64_t MOST_IMAGES = 1 << 10;  // to a launch

struct Work {
    YoloHeads heads;
    double threshold;
    float least;
    const YoloFrame* frames;
    YoloBatch out;
    int64_t first_image;
    int64_t words;    // of an image
    uint32_t* marks;  // [image of the launch][word]
};

// Where a cell is: `index` counts by head, anchor, row, column.
template <typename T>
struct Cell {
    __device__ Cell(const YoloHeads& heads, int64_t image, int64_t index) {
        auto left = static_cast<int32_t>(index);
        for (which = 0; which < heads.n; ++which) {
            const YoloHead& head = heads.head[which];
            const int32_t cells = head.rows * head.cols;
            if (left < YOLO_ANCHORS * cells) {
                anchor = left / cells;
                place = left % cells;
                plane = cells;
                values = static_cast<const T*>(head.values) +
                         (image * YOLO_ANCHORS + anchor) * YOLO_CHANNELS * plane + place;
                return;
            }
            left -= YOLO_ANCHORS * cells;
        }
    }

    int which, anchor = 0;  // which is heads.n past the last cell
    int32_t place = 0;      // in its plane
    int64_t plane = 0;
    const T* values = nullptr;
};

template <typename T>
__global__ void __launch_bounds__(THREADS) mark_cells(const Work work) {
    const int64_t image = work.first_image + blockIdx.y, index = int64_t(blockIdx.x) * THREADS + threadIdx.x;
    const Cell<T> cell(work.heads, image, index);
    bool marked = false;
    if (cell.which < work.heads.n) {
        bool finite = true;
        for (int channel = 0; channel < YOLO_CHANNELS; ++channel)
            finite &= is_finite(value_of(cell.values[channel * cell.plane]));
        if (!finite) atomicOr(work.out.status + image, STATUS_NOT_FINITE);
        marked = value_of(cell.values[4 * cell.plane]) >= work.least &&
                 value_of(cell.values[5 * cell.plane]) >= work.least &&
                 yolo_score(cell.values, cell.plane) >= work.threshold;
    }
    const uint32_t word = __ballot_sync(FULL, marked);
    if (threadIdx.x % WARP == 0) work.marks[blockIdx.y * work.words + index / WARP] = word;

    const int64_t step = int64_t(gridDim.x) * THREADS, slots = work.out.capacity;
    for (int64_t i = index; i < slots; i += step) work.out.scores[image * slots + i] = 0.0f;
    for (int64_t i = index; i < 4 * slots; i += step) work.out.boxes[4 * image * slots + i] = 0.0f;
    if (index == 0 && work.frames && (work.frames[image].rows < 0 || work.frames[image].cols < 0))
        atomicOr(work.out.status + image, STATUS_UNSOUND);
}

template <typename T>
__global__ void __launch_bounds__(THREADS) write_boxes(const Work work) {
    __shared__ uint32_t own[WORDS];
    __shared__ int32_t before[WORDS];
    const int64_t image = work.first_image + blockIdx.y, index = int64_t(blockIdx.x) * THREADS + threadIdx.x;
    const uint32_t* marks = work.marks + blockIdx.y * work.words;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const bool last = blockIdx.x == gridDim.x - 1;
    const bool sound = (work.out.status[image] & (STATUS_NOT_FINITE | STATUS_UNSOUND)) == 0;
    const uint32_t word = sound ? marks[index / WARP] : 0;
    if (lane == 0) own[warp] = word;
    if (!__syncthreads_or(word != 0) && !last) return;

    int32_t earlier = 0;
    if (sound)
        for (int64_t i = threadIdx.x; i < int64_t(blockIdx.x) * WORDS; i += THREADS) earlier += __popc(marks[i]);
    for (int step = WARP / 2; step > 0; step /= 2) earlier += __shfl_xor_sync(FULL, earlier, step);
    if (lane == 0) before[warp] = earlier;
    __syncthreads();
    int32_t position = 0, total = 0;
    for (int w = 0; w < WORDS; ++w) {
        const int32_t marked = __popc(own[w]);
        position += before[w] + (w < warp ? marked : 0);
        total += before[w] + marked;
    }
    if (last && threadIdx.x == 0) {
        work.out.counts[image] = static_cast<int32_t>(total < work.out.capacity ? total : work.out.capacity);
        if (total > work.out.capacity) atomicOr(work.out.status + image, STATUS_OVERFLOW);
    }
    position += __popc(word & ((1u << lane) - 1));
    if (!(word >> lane & 1) || position >= work.out.capacity) return;

    const Cell<T> cell(work.heads, image, index);
    const YoloHead& head = work.heads.head[cell.which];
    const Stretch stretch = make_stretch(work.frames ? work.frames + image : nullptr, head);
    const int64_t slot = image * work.out.capacity + position;
    yolo_box(cell.values, cell.plane, cell.place / head.cols, cell.place % head.cols, head.anchors[cell.anchor],
             head.stride, stretch, work.out.boxes + 4 * slot);
    work.out.scores[slot] = static_cast<float>(yolo_score(cell.values, cell.plane));
}

}  // namespace

void decode_yolo_cuda(const YoloHeads& heads, double threshold, const YoloFrame* frames, const YoloBatch& out,
                      void* stream) {
    if (out.images == 0) return;
    check(cudaMemsetAsync(out.status, 0, out.images * sizeof *out.status, static_cast<cudaStream_t>(stream)),
          "decode_yolo");
    int64_t cells = 0;
    for (int i = 0; i < heads.n; ++i) cells += YOLO_ANCHORS * int64_t(heads.head[i].rows) * heads.head[i].cols;
    const int64_t blocks = std::max<int64_t>((cells + THREADS - 1) / THREADS, 1), words = blocks * WORDS;
    const int64_t at_once = std::min(out.images, MOST_IMAGES);
    const Scratch<uint32_t> marks(at_once * words, stream);
    for (int64_t first = 0; first < out.images; first += at_once) {
        const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(std::min(at_once, out.images - first)));
        const Work work{heads, threshold, least_logit(threshold), frames, out, first, words, marks.data()};
        const auto run = [&](const char* name, auto kernel) { launch(name, kernel, grid, THREADS, 0, stream, work); };
        run("decode_yolo, marking", heads.half ? mark_cells<uint16_t> : mark_cells<float>);
        run("decode_yolo, writing", heads.half ? write_boxes<uint16_t> : write_boxes<float>);
    }
}

}  // namespace mammofast
