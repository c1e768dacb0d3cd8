#include "groups.h"

#include "../core/blocks.h"
#include "../core/simd.h"

namespace mammofast {
namespace {

using Blocks = BoxBlocks<int32_t>;

// hits[s] = 1 where box s of n touches the vote and is still free; returns how many.
MAMMOFAST_SIMD int32_t find_touching(const int32_t* MAMMOFAST_RESTRICT x_min, const int32_t* MAMMOFAST_RESTRICT y_min,
                                     const int32_t* MAMMOFAST_RESTRICT x_max, const int32_t* MAMMOFAST_RESTRICT y_max,
                                     const int32_t* MAMMOFAST_RESTRICT free, int64_t n, const Vote vote,
                                     int32_t* MAMMOFAST_RESTRICT hits) {
    int32_t count = 0;
    for (int64_t s = 0; s < n; ++s) {
        hits[s] = free[s] & (x_min[s] <= vote.x_max) & (x_max[s] >= vote.x_min) & (y_min[s] <= vote.y_max) &
                  (y_max[s] >= vote.y_min);
        count += hits[s];
    }
    return count;
}

}  // namespace

void group_touching(const std::vector<Vote>& votes, const std::function<void(const std::vector<Vote>&)>& visit) {
    const int64_t n = static_cast<int64_t>(votes.size());
    std::vector<int32_t> corners(4 * n);
    for (int64_t i = 0; i < n; ++i) {
        const Vote& vote = votes[i];
        corners[4 * i] = vote.x_min, corners[4 * i + 1] = vote.y_min;
        corners[4 * i + 2] = vote.x_max, corners[4 * i + 3] = vote.y_max;
    }
    const Blocks blocks(corners.data(), n);

    std::vector<int32_t> free_slot(blocks.n_blocks * Blocks::SIZE), free_block(blocks.n_blocks);
    std::vector<int32_t> block_hits(blocks.n_blocks), slot_hits(Blocks::SIZE);
    for (int64_t s = 0; s < n; ++s) free_slot[s] = 1, ++free_block[s / Blocks::SIZE];
    std::vector<int32_t> any_free(blocks.n_blocks, 1);

    std::vector<Vote> group;
    for (int64_t seed = 0; seed < n; ++seed) {
        if (!free_slot[seed]) continue;
        group.clear();
        const auto take = [&](int64_t s) {
            group.push_back(votes[blocks.box[s]]);
            free_slot[s] = 0;
            const int64_t b = s / Blocks::SIZE;
            if (--free_block[b] == 0) any_free[b] = 0;
        };
        take(seed);
        for (size_t next = 0; next < group.size(); ++next) {  // the group is its own queue
            const Vote vote = group[next];
            if (!find_touching(blocks.block_x_min.data(), blocks.block_y_min.data(), blocks.block_x_max.data(),
                               blocks.block_y_max.data(), any_free.data(), blocks.n_blocks, vote, block_hits.data()))
                continue;
            for (int64_t b = 0; b < blocks.n_blocks; ++b) {
                const int64_t first = b * Blocks::SIZE;
                if (!block_hits[b] ||
                    !find_touching(&blocks.x_min[first], &blocks.y_min[first], &blocks.x_max[first],
                                   &blocks.y_max[first], &free_slot[first], Blocks::SIZE, vote, slot_hits.data()))
                    continue;
                for (int64_t s = 0; s < Blocks::SIZE; ++s)
                    if (slot_hits[s]) take(first + s);
            }
        }
        visit(group);
    }
}

}  // namespace mammofast
