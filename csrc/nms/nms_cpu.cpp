#include "nms.h"

#include "../core/blocks.h"
#include "../core/checks.h"
#include "../core/order.h"
#include "../core/simd.h"
#include "nms_math.h"

namespace mammofast {
namespace {

using Blocks = BoxBlocks<float>;

// Up to here it is faster to look at most blocks than to sort the boxes by place. By rank, what a kept box may still
// suppress lies in its own block and those after it.
constexpr int64_t FEW = 256;

// hits[place] = 1 where a box of the block comes near the threshold; returns how many do.
MAMMOFAST_SIMD int32_t find_near(const Blocks::Block& block, const float* box, float low,
                                 int32_t* MAMMOFAST_RESTRICT hits) {
    const float query[4] = {box[0], box[1], box[2], box[3]};
    int32_t count = 0;
    for (int place = 0; place < Blocks::SIZE; ++place) {
        const FloatOverlap o = float_overlap(query, block.x_min[place], block.y_min[place], block.x_max[place],
                                             block.y_max[place]);
        hits[place] = overlap_may_exceed(o, low);
        count += hits[place];
    }
    return count;
}

}  // namespace

std::vector<int64_t> nms_cpu(const float* boxes, const float* scores, const int64_t* groups, int64_t n,
                             double iou_threshold) {
    check_boxes(boxes, n);
    check_scores(scores, n);

    const IouThreshold threshold = make_threshold(iou_threshold);
    const std::vector<int32_t> rank = falling_order(scores, n);
    Blocks blocks = n <= FEW ? Blocks(boxes, n, rank) : Blocks(boxes, n);
    int32_t hits[Blocks::SIZE];
    std::vector<uint8_t> gone(n);  // suppressed
    std::vector<int64_t> kept;
    for (int32_t i : rank) {
        if (gone[i]) continue;
        kept.push_back(i);
        const float* box = boxes + 4 * int64_t(i);
        blocks.take(blocks.slot_of(i));  // what remains in the blocks ranks lower and is not suppressed
        blocks.for_each_near(blocks.slot_of(i), box, [&](const Blocks::Block& block, int64_t first) {
            if (find_near(block, box, threshold.low, hits) == 0) return;
            for (int place = 0; place < Blocks::SIZE; ++place) {
                if (!hits[place]) continue;
                const int32_t other = blocks.box_at(first + place);
                if (groups && groups[other] != groups[i]) continue;
                if (!boxes_overlap(box, boxes + 4 * int64_t(other), threshold)) continue;
                gone[other] = 1;
                blocks.take(first + place);
            }
        });
    }
    return kept;
}

}  // namespace mammofast
