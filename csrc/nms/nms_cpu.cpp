#include "nms.h"

#include "../core/blocks.h"
#include "../core/checks.h"
#include "../core/order.h"
#include "../core/simd.h"
#include "nms_math.h"

namespace mammofast {
namespace {

using Blocks = BoxBlocks<double>;

struct Query {
    double x_min, y_min, x_max, y_max;
    double threshold;
};

// Does any box of the block come near the threshold? Divisions are slow and hardly ever needed.
MAMMOFAST_SIMD bool block_may_exceed(const double* MAMMOFAST_RESTRICT x_min, const double* MAMMOFAST_RESTRICT y_min,
                                     const double* MAMMOFAST_RESTRICT x_max, const double* MAMMOFAST_RESTRICT y_max,
                                     const Query query) {
    int64_t any = 0;
    for (int64_t s = 0; s < Blocks::SIZE; ++s) {
        const Overlap o = overlap(query.x_min, query.y_min, query.x_max, query.y_max, x_min[s], y_min[s], x_max[s],
                                  y_max[s]);
        any |= overlap_may_exceed(o, query.threshold);
    }
    return any != 0;
}

// hits: the blocks whose bounds overlap the query.
MAMMOFAST_SIMD void find_blocks(const Blocks& blocks, const Query query, uint8_t* MAMMOFAST_RESTRICT hits) {
    const double *x_min = blocks.block_x_min.data(), *y_min = blocks.block_y_min.data();
    const double *x_max = blocks.block_x_max.data(), *y_max = blocks.block_y_max.data();
    for (int64_t b = 0; b < blocks.n_blocks; ++b)
        hits[b] = (x_min[b] < query.x_max) & (x_max[b] > query.x_min) & (y_min[b] < query.y_max) &
                  (y_max[b] > query.y_min);
}

}  // namespace

std::vector<int64_t> nms_cpu(const float* boxes, const float* scores, const int64_t* groups, int64_t n,
                             double iou_threshold) {
    check_boxes(boxes, n);
    check_scores(scores, n);

    const Blocks blocks(boxes, n);
    std::vector<uint8_t> dead(blocks.n_blocks * Blocks::SIZE), hits(blocks.n_blocks);
    std::vector<int64_t> kept;
    for (int32_t i : falling_order(scores, n)) {
        const int32_t self = blocks.slot[i];
        if (dead[self]) continue;
        kept.push_back(i);

        const Query query{blocks.x_min[self], blocks.y_min[self], blocks.x_max[self], blocks.y_max[self],
                          iou_threshold};
        find_blocks(blocks, query, hits.data());
        for (int64_t b = 0; b < blocks.n_blocks; ++b) {
            const int64_t first = b * Blocks::SIZE;
            if (!hits[b] || !block_may_exceed(&blocks.x_min[first], &blocks.y_min[first], &blocks.x_max[first],
                                              &blocks.y_max[first], query))
                continue;
            // Boxes of higher rank may be struck here too: they have been kept already, so it changes nothing.
            for (int64_t s = first; s < std::min(first + Blocks::SIZE, n); ++s) {
                if (dead[s] || (groups && groups[blocks.box[s]] != groups[i])) continue;
                dead[s] = overlap_exceeds(overlap(query.x_min, query.y_min, query.x_max, query.y_max, blocks.x_min[s],
                                                  blocks.y_min[s], blocks.x_max[s], blocks.y_max[s]),
                                          iou_threshold);
            }
        }
    }
    return kept;
}

}  // namespace mammofast
