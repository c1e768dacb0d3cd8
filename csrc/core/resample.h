// Separable resampling to a target shape, fed row by row.
//
// Each axis by itself: shrinking takes area weights (exact fractional coverage, as OpenCV's INTER_AREA), enlarging is
// bilinear between pixel centres with repeated edges, an equal size copies. Rows are combined first, then columns; all
// in float32, taps in rising order, so that a plain loop gives the same bits.
#pragma once

#include <cstdint>
#include <vector>

#include "array.h"

namespace mammofast {

// One axis: target i is the sum over t < taps of weights[i taps + t] * source[starts[i] + t].
struct Axis {
    Axis(int64_t source, int64_t target);

    int64_t taps;
    std::vector<int32_t> starts;
    std::vector<float> weights;
};

// Targets of one source, fed by one pass over its rows.
class Resampler {
  public:
    // targets: where the results go.
    Resampler(Shape source, const std::vector<Image<float>>& targets);

    // Where to put source row y; rows come in order, commit(y) follows.
    float* row(int64_t y) { return ring_.data() + (y % ring_rows_) * source_.cols; }
    void commit(int64_t y);

  private:
    struct Target {
        Image<float> out;
        Axis rows, cols;
        int64_t next = 0;  // next row to write
    };

    void write(Target& target, int64_t y);

    Shape source_;
    std::vector<Target> targets_;
    int64_t ring_rows_ = 1;
    std::vector<float> ring_;      // the last source rows that some target still needs
    std::vector<float> combined_;  // one row, combined from source rows, not yet resampled across
};

}  // namespace mammofast
