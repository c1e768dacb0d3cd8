#include "confidence_mask.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "../core/checks.h"

namespace mammofast {

void confidence_mask_cpu(const float* boxes, const float* scores, int64_t n, int64_t n_scales, Image<float> out) {
    check_boxes(boxes, n);
    check_scores(scores, n);

    // edges: the rows where the votes that cover a row change.
    std::vector<Vote> votes;
    std::vector<int32_t> edges{0, static_cast<int32_t>(out.rows)};
    int64_t strongest = 1;
    for (int64_t i = 0; i < n; ++i) {
        const Vote vote = make_vote(boxes + 4 * i, scores[i], out.rows, out.cols);
        if (!vote.counts()) continue;
        votes.push_back(vote);
        edges.push_back(vote.y_min);
        edges.push_back(vote.y_max);
        strongest = std::max<int64_t>(strongest, vote.weight);
    }
    std::sort(edges.begin(), edges.end());
    edges.erase(std::unique(edges.begin(), edges.end()), edges.end());

    // steps: by how much the sum changes at each column, in the rows between two edges.
    std::vector<int64_t> steps(out.cols + 1);
    for (size_t e = 0; e + 1 < edges.size(); ++e) {
        std::fill(steps.begin(), steps.end(), 0);
        for (const Vote& vote : votes) {
            if (edges[e] < vote.y_min || edges[e] >= vote.y_max) continue;
            steps[vote.x_min] += vote.weight;
            steps[vote.x_max] -= vote.weight;
        }
        float* first = out.row(edges[e]);
        int64_t sum = 0;
        float value = 0.0f;
        for (int64_t x = 0; x < out.cols; ++x) {
            if (steps[x] != 0) value = relative_score(sum += steps[x], n_scales, strongest);
            first[x] = value;
        }
        for (int64_t y = edges[e] + 1; y < edges[e + 1]; ++y) std::memcpy(out.row(y), first, out.cols * sizeof(float));
    }
}

}  // namespace mammofast
