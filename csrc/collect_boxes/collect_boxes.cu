// One block an image, which copies one part after the other.
#include "../core/launch.h"
#include "../core/status.h"
#include "collect_boxes.h"

namespace mammofast {
namespace {

constexpr int THREADS = 128;

// Where an image's list ends; more than its capacity where it does not fit.
__device__ int64_t sum_of_counts(const KeptParts& parts, int64_t image) {
    int64_t sum = 0;
    for (int i = 0; i < parts.n; ++i) sum += parts.part[i].counts[image];
    return sum;
}

__global__ void __launch_bounds__(THREADS) collect(KeptParts parts, CollectedBoxes out) {
    const int64_t image = blockIdx.x;
    const int64_t total = sum_of_counts(parts, image);
    const bool fits = total <= out.capacity;
    float* boxes = out.boxes + 4 * image * out.capacity;
    float* scores = out.scores + image * out.capacity;
    int32_t* part_of = out.parts + image * out.capacity;
    int32_t status = fits ? 0 : STATUS_OVERFLOW;
    int64_t begin = 0;
    for (int i = 0; i < parts.n; ++i) {
        const KeptPart& part = parts.part[i];
        status |= part.found[image] | part.kept[image];
        const int32_t count = fits ? part.counts[image] : 0;
        for (int32_t j = threadIdx.x; j < count; j += THREADS) {
            const int64_t source = image * part.capacity + part.indices[image * part.capacity + j];
            for (int k = 0; k < 4; ++k) boxes[4 * (begin + j) + k] = part.boxes[4 * source + k];
            scores[begin + j] = part.scores[source];
            part_of[begin + j] = i;
        }
        begin += count;
    }
    for (int64_t j = begin + threadIdx.x; j < out.capacity; j += THREADS) {
        for (int k = 0; k < 4; ++k) boxes[4 * j + k] = 0.0f;
        scores[j] = 0.0f;
        part_of[j] = 0;
    }
    if (threadIdx.x == 0) {
        out.counts[image] = static_cast<int32_t>(begin);
        out.status[image] = status;
    }
}

}  // namespace

void collect_boxes_cuda(const KeptParts& parts, const CollectedBoxes& out, void* stream) {
    if (out.images == 0) return;
    launch("collect_boxes", collect, dim3(static_cast<unsigned>(out.images)), dim3(THREADS), 0, stream, parts, out);
}

}  // namespace mammofast
