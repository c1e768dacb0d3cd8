#include "sweep.h"

#include <algorithm>

#include "../core/bits.h"
#include "../core/simd.h"

namespace mammofast {
namespace {

MAMMOFAST_SIMD void add(int64_t* values, int64_t n, int64_t amount) {
    for (int64_t i = 0; i < n; ++i) values[i] += amount;
}

MAMMOFAST_SIMD int64_t largest(const int64_t* values, int64_t n) {
    int64_t result = 0;
    for (int64_t i = 0; i < n; ++i) result = std::max(result, values[i]);
    return result;
}

// One bit for each of 64 sums: is it kept?
MAMMOFAST_SIMD uint64_t kept_bits(const int64_t* sums, int64_t cut) {
    uint64_t bits = 0;
    for (int i = 0; i < 64; ++i) bits |= static_cast<uint64_t>(sums[i] >= cut) << i;
    return bits;
}

// Distinct edges, rising, and visit(rank of the edge, 2 i + side) for each of the 2 n edges in their order.
template <typename Low, typename High, typename Visit>
void rank_edges(const std::vector<Vote>& votes, Low low, High high, std::vector<uint64_t>& keys,
                std::vector<int32_t>& edges, Visit visit) {
    keys.clear();
    for (size_t i = 0; i < votes.size(); ++i) {
        keys.push_back(static_cast<uint64_t>(low(votes[i])) << 32 | (2 * i));
        keys.push_back(static_cast<uint64_t>(high(votes[i])) << 32 | (2 * i + 1));
    }
    std::sort(keys.begin(), keys.end());
    edges.clear();
    for (uint64_t key : keys) {
        const int32_t value = static_cast<int32_t>(key >> 32);
        if (edges.empty() || edges.back() != value) edges.push_back(value);
        visit(static_cast<int32_t>(edges.size()) - 1, static_cast<uint32_t>(key));
    }
}

}  // namespace

void Sweep::run(const std::vector<Vote>& group, std::vector<FusedBox>& out) {
    if (group.size() == 1) {
        const Vote& vote = group.front();
        if (vote.weight >= cut_) out.push_back({vote.x_min, vote.y_min, vote.x_max, vote.y_max, vote.weight});
        return;
    }

    make_grid(group);
    components_.clear();
    runs_.clear();
    int32_t begin = 0;
    for (size_t e = 0; e + 1 < y_edges_.size(); ++e) {
        const int32_t end = events_end_[e];
        for (int32_t i = begin; i < end; ++i) apply(events_[i]);
        above_.swap(runs_);
        find_runs(y_edges_[e], y_edges_[e + 1]);
        join_runs();
        // Sums elsewhere are those of the strip above, inside the same component.
        for (int32_t i = begin; i < end; ++i)
            if (events_[i].weight > 0) raise_peaks(events_[i]);
        begin = end;
    }
    for (size_t c = 0; c < components_.size(); ++c)
        if (components_[c].parent == static_cast<int32_t>(c)) out.push_back(components_[c].box);
}

void Sweep::make_grid(const std::vector<Vote>& group) {
    cells_.resize(2 * group.size());
    rank_edges(
        group, [](const Vote& v) { return v.x_min; }, [](const Vote& v) { return v.x_max; }, keys_, x_edges_,
        [&](int32_t edge, uint32_t id) { cells_[id] = edge; });
    events_.clear();
    events_end_.clear();
    rank_edges(
        group, [](const Vote& v) { return v.y_min; }, [](const Vote& v) { return v.y_max; }, keys_, y_edges_,
        [&](int32_t edge, uint32_t id) {
            const int32_t weight = group[id / 2].weight;
            events_.push_back({cells_[id & ~1u], cells_[id | 1u], id % 2 ? -weight : weight});
            events_end_.resize(edge + 1);
            events_end_[edge] = static_cast<int32_t>(events_.size());
        });
    const size_t words = (x_edges_.size() + 63) / 64;
    kept_.assign(words, 0);
    sums_.assign(words * 64, 0);
}

void Sweep::apply(const Event& event) {
    add(&sums_[event.first], event.last - event.first, event.weight);
    for (int32_t word = event.first / 64; word <= (event.last - 1) / 64; ++word)
        kept_[word] = kept_bits(&sums_[word * 64], cut_);
}

void Sweep::find_runs(int32_t y_min, int32_t y_max) {
    runs_.clear();
    const int32_t cells = static_cast<int32_t>(kept_.size() * 64);
    for (int32_t first = next_set(kept_, 0); first < cells;) {
        const int32_t last = next_clear(kept_, first);  // the cell after the last edge is never kept
        runs_.push_back({first, last, static_cast<int32_t>(components_.size())});
        components_.push_back({{x_edges_[first], y_min, x_edges_[last], y_max, 0}, runs_.back().component});
        first = next_set(kept_, last);
    }
}

void Sweep::join_runs() {
    // Runs meet where they share a cell's edge or corner: closed intervals that overlap.
    size_t i = 0;
    for (Run& run : runs_) {
        while (i < above_.size() && above_[i].last < run.first) ++i;
        for (size_t j = i; j < above_.size() && above_[j].first <= run.last; ++j)
            run.component = merge(above_[j].component, run.component);
    }
}

void Sweep::raise_peaks(const Event& event) {
    for (const Run& run : runs_) {
        const int32_t first = std::max(run.first, event.first), last = std::min(run.last, event.last);
        if (first >= last) continue;
        int64_t& peak = components_[root(run.component)].box.peak;
        peak = std::max(peak, largest(&sums_[first], last - first));
    }
}

int32_t Sweep::root(int32_t component) {
    while (components_[component].parent != component) {
        components_[component].parent = components_[components_[component].parent].parent;
        component = components_[component].parent;
    }
    return component;
}

int32_t Sweep::merge(int32_t a, int32_t b) {
    a = root(a), b = root(b);
    if (a == b) return a;
    if (b < a) std::swap(a, b);
    FusedBox& into = components_[a].box;
    const FusedBox& from = components_[b].box;
    into.x_min = std::min(into.x_min, from.x_min), into.y_min = std::min(into.y_min, from.y_min);
    into.x_max = std::max(into.x_max, from.x_max), into.y_max = std::max(into.y_max, from.y_max);
    into.peak = std::max(into.peak, from.peak);
    components_[b].parent = a;
    return a;
}

}  // namespace mammofast
