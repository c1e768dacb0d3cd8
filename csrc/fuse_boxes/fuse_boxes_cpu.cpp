// The sum of votes is constant on the cells of the grid of all box edges, and cells meet exactly where their pixels do.
// So the sweep below goes from one distinct y edge to the next and keeps the sums of one strip of cells; components
// are joined from strip to strip. Boxes that do not touch cannot share a component: each group of touching boxes has
// a grid of its own, which keeps scattered boxes near linear.
#include "fuse_boxes.h"

#include <algorithm>
#include <tuple>

#include "../core/checks.h"
#include "fuse_boxes_math.h"
#include "groups.h"
#include "sweep.h"

namespace mammofast {

Fusion fuse_boxes_cpu(const float* boxes, const float* scores, int64_t n, Shape shape, int64_t num, int64_t den) {
    check_boxes(boxes, n);
    check_scores(scores, n);

    std::vector<Vote> votes;
    votes.reserve(n);
    Fusion fusion;
    for (int64_t i = 0; i < n; ++i) {
        const Vote vote = make_vote(boxes + 4 * i, scores[i], shape.rows, shape.cols);
        if (!vote.counts()) continue;
        votes.push_back(vote);
        fusion.strongest = std::max<int64_t>(fusion.strongest, vote.weight);
    }

    Sweep sweep(smallest_sum(num, den, fusion.strongest));
    group_touching(votes, [&](const std::vector<Vote>& group) { sweep.run(group, fusion.boxes); });
    std::sort(fusion.boxes.begin(), fusion.boxes.end(), [](const FusedBox& a, const FusedBox& b) {
        return std::tie(a.y_min, a.x_min, a.y_max, a.x_max) < std::tie(b.y_min, b.x_min, b.y_max, b.x_max);
    });
    return fusion;
}

}  // namespace mammofast
