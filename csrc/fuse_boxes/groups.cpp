#include "groups.h"

#include "../core/blocks.h"
#include "../core/simd.h"

namespace mammofast {
namespace {

using Blocks = BoxBlocks<int32_t>;

// hits[place] = 1 where a box of the block touches; returns how many do.
MAMMOFAST_SIMD int32_t find_touching(const Blocks::Block& block, const int32_t* box, int32_t* MAMMOFAST_RESTRICT hits) {
    const int32_t x_min = box[0], y_min = box[1], x_max = box[2], y_max = box[3];
    int32_t count = 0;
    for (int place = 0; place < Blocks::SIZE; ++place) {
        hits[place] = (block.x_min[place] <= x_max) & (block.x_max[place] >= x_min) & (block.y_min[place] <= y_max) &
                      (block.y_max[place] >= y_min);
        count += hits[place];
    }
    return count;
}

}  // namespace

void group_touching(const std::vector<Vote>& votes, const std::function<void(const std::vector<Vote>&)>& visit) {
    const int64_t n = static_cast<int64_t>(votes.size());
    std::vector<int32_t> corners;
    corners.reserve(4 * n);
    for (const Vote& vote : votes) corners.insert(corners.end(), {vote.x_min, vote.y_min, vote.x_max, vote.y_max});
    Blocks blocks(corners.data(), n);

    int32_t hits[Blocks::SIZE];
    std::vector<uint8_t> grouped(n);
    std::vector<int32_t> members;  // of the group that grows: its own queue
    std::vector<Vote> group;
    const auto add = [&](int64_t slot) {
        members.push_back(blocks.box_at(slot));
        grouped[members.back()] = 1;
        blocks.take(slot);
    };
    for (int64_t slot = 0; slot < n; ++slot) {
        if (grouped[blocks.box_at(slot)]) continue;
        members.clear();
        add(slot);
        for (size_t next = 0; next < members.size(); ++next) {
            const int32_t member = members[next];
            const int32_t* box = &corners[4 * int64_t(member)];
            blocks.for_each_near(blocks.slot_of(member), box, [&](const Blocks::Block& block, int64_t first) {
                if (find_touching(block, box, hits) == 0) return;
                for (int place = 0; place < Blocks::SIZE; ++place)
                    if (hits[place]) add(first + place);
            });
        }
        group.clear();
        for (int32_t member : members) group.push_back(votes[member]);
        visit(group);
    }
}

}  // namespace mammofast
