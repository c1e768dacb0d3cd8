// Runs of foreground pixels joined by union-find (He, Chao & Suzuki 2008, "A run-based two-scan labeling algorithm").
// Only runs are ever written: pages of background in labels stay untouched.
#include "label_mask.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "../core/simd.h"

namespace mammofast {
namespace {

constexpr size_t MOST_RUNS = std::numeric_limits<int32_t>::max();

struct Run {
    int32_t row, begin, end;  // columns [begin, end)
    int32_t parent;           // a run of the same component, not later; itself at the root
};

MAMMOFAST_SIMD bool is_empty(const uint8_t* row, int64_t n) {
    uint8_t any = 0;
    for (int64_t i = 0; i < n; ++i) any |= row[i];
    return any == 0;
}

// One bit a byte, set where the byte is not 0.
uint64_t bits_of(uint64_t bytes) {
    constexpr uint64_t LOW = 0x7F7F7F7F7F7F7F7F, GATHER = 0x0102040810204080;
    const uint64_t high = ((bytes & LOW) + LOW) | bytes;  // bit 7 of each byte
    return ((high >> 7) & 0x0101010101010101) * GATHER >> 56;
}

// The bits of up to 64 bytes; a byte's place in a word is its column's place on little-endian machines.
uint64_t packed(const uint8_t* bytes, int64_t n) {
    uint64_t eights[8] = {}, any = 0, bits = 0;
    std::memcpy(eights, bytes, std::min<int64_t>(64, n));
    for (uint64_t eight : eights) any |= eight;
    if (any)
        for (int i = 0; i < 8; ++i) bits |= bits_of(eights[i]) << (8 * i);
    return bits;
}

void append_runs(const uint8_t* pixels, int32_t row, int64_t cols, std::vector<Run>& runs) {
    int32_t begin = 0;
    uint64_t inside = 0;  // whether the last pixel was foreground, 0 or 1
    const auto append = [&](int64_t end) {
        if (runs.size() == MOST_RUNS)
            throw std::invalid_argument("mask: got 2^31 runs of pixels, expected fewer: label parts of it");
        runs.push_back({row, begin, static_cast<int32_t>(end), static_cast<int32_t>(runs.size())});
    };
    for (int64_t first = 0; first < cols; first += 64) {
        const uint64_t bits = packed(pixels + first, cols - first);
        for (uint64_t edges = bits ^ (bits << 1 | inside); edges; edges &= edges - 1) {
            const int64_t x = first + std::countr_zero(edges);
            if (inside) append(x);
            begin = static_cast<int32_t>(x);
            inside ^= 1;
        }
    }
    if (inside) append(cols);
}

int32_t root_of(std::vector<Run>& runs, int32_t run) {
    while (runs[run].parent != run) {
        runs[run].parent = runs[runs[run].parent].parent;  // halves the path for whoever comes next
        run = runs[run].parent;
    }
    return run;
}

// The earlier root stays one: every component's root is the run of its first pixel.
void join(std::vector<Run>& runs, int32_t a, int32_t b) {
    a = root_of(runs, a), b = root_of(runs, b);
    runs[std::max(a, b)].parent = std::min(a, b);
}

// Joins runs of one row, [middle, end), with the runs of the row above, [begin, middle), that they touch.
void join_rows(std::vector<Run>& runs, int32_t begin, int32_t middle, int32_t end) {
    for (int32_t above = begin, below = middle; above < middle && below < end;) {
        if (runs[above].begin <= runs[below].end && runs[below].begin <= runs[above].end) join(runs, above, below);
        if (runs[above].end < runs[below].end)
            ++above;
        else
            ++below;
    }
}

std::vector<Run> joined_runs(Image<const uint8_t> mask) {
    std::vector<Run> runs;
    int32_t above = 0;  // first run of the row above
    for (int64_t y = 0; y < mask.rows; ++y) {
        const int32_t first = static_cast<int32_t>(runs.size());
        if (!is_empty(mask.row(y), mask.cols)) {
            append_runs(mask.row(y), static_cast<int32_t>(y), mask.cols, runs);
            join_rows(runs, above, first, static_cast<int32_t>(runs.size()));
        }
        above = first;
    }
    return runs;
}

}  // namespace

std::vector<Component> label_mask_cpu(Image<const uint8_t> mask, Image<int32_t> labels) {
    std::vector<Run> runs = joined_runs(mask);
    std::vector<Component> components;
    std::vector<int32_t> label(runs.size());
    for (size_t i = 0; i < runs.size(); ++i) {
        const Run& run = runs[i];
        if (run.parent == static_cast<int32_t>(i)) {
            components.push_back({run.begin, run.row, run.end, run.row + 1, 0});
            label[i] = static_cast<int32_t>(components.size());
        } else {
            label[i] = label[run.parent];  // an earlier run of the component, labelled already
        }
        Component& component = components[label[i] - 1];
        component.x_min = std::min(component.x_min, run.begin);
        component.x_max = std::max(component.x_max, run.end);
        component.y_max = run.row + 1;
        component.area += run.end - run.begin;
        int32_t* row = labels.row(run.row);
        std::fill(row + run.begin, row + run.end, label[i]);
    }
    return components;
}

}  // namespace mammofast
