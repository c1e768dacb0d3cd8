// Components of the kept cells of one group of boxes, strip by strip.
#pragma once

#include <cstdint>
#include <vector>

#include "../core/votes.h"
#include "fuse_boxes.h"

namespace mammofast {

class Sweep {
  public:
    // cut: the smallest sum that is kept, at least 1.
    explicit Sweep(int64_t cut) : cut_(cut) {}

    // Appends the group's components to out, in no particular order.
    void run(const std::vector<Vote>& group, std::vector<FusedBox>& out);

  private:
    // A component while it grows; parent points to the one it was merged into, or to itself.
    struct Component {
        FusedBox box;
        int32_t parent;
    };

    // Kept cells [first, last) of a strip.
    struct Run {
        int32_t first, last;
        int32_t component;
    };

    // A vote's cells [first, last), coming in or going out at the y edge where the strip begins.
    struct Event {
        int32_t first, last;
        int32_t weight;  // negative: going out
    };

    void make_grid(const std::vector<Vote>& group);
    void apply(const Event& event);
    void find_runs(int32_t y_min, int32_t y_max);
    void join_runs();
    void raise_peaks(const Event& event);
    int32_t root(int32_t component);
    int32_t merge(int32_t a, int32_t b);

    int64_t cut_;
    std::vector<int32_t> x_edges_;            // distinct, rising: cell c is [x_edges_[c], x_edges_[c + 1])
    std::vector<int32_t> y_edges_;            // distinct, rising
    std::vector<Event> events_;               // by y edge
    std::vector<int32_t> events_end_;         // events of edge e end here
    std::vector<int64_t> sums_;               // of the strip's cells
    std::vector<uint64_t> kept_;              // the same, thresholded: one bit a cell
    std::vector<Run> above_, runs_;
    std::vector<Component> components_;
    std::vector<uint64_t> keys_;              // scratch for sorting
    std::vector<int32_t> cells_;              // scratch: first and last cell of each vote
};

}  // namespace mammofast
