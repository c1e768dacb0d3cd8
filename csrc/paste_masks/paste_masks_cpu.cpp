#include "paste_masks.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "../core/bilinear.h"
#include "../core/checks.h"
#include "../core/simd.h"

namespace mammofast {
namespace {

// Taps of the visible columns, as arrays for vector loads.
struct ColumnTaps {
    std::vector<int32_t> low, high;
    std::vector<float> weight;
};

MAMMOFAST_SIMD void stretch_row(const float* MAMMOFAST_RESTRICT source, const int32_t* MAMMOFAST_RESTRICT low,
                                const int32_t* MAMMOFAST_RESTRICT high, const float* MAMMOFAST_RESTRICT weight,
                                float* MAMMOFAST_RESTRICT out, int64_t n) {
    for (int64_t i = 0; i < n; ++i) out[i] = blend(source[low[i]], source[high[i]], weight[i]);
}

MAMMOFAST_SIMD void paint_row(const float* MAMMOFAST_RESTRICT low, const float* MAMMOFAST_RESTRICT high, float weight,
                              float threshold, uint8_t* MAMMOFAST_RESTRICT mask, int64_t n) {
    for (int64_t i = 0; i < n; ++i) mask[i] |= static_cast<uint8_t>(blend(low[i], high[i], weight) >= threshold);
}

// Columns first..last (inclusive) of a source row, or none.
struct Span {
    int32_t first, last;

    bool empty() const { return last < first; }
    Span joined(Span other) const { return {std::min(first, other.first), std::max(last, other.last)}; }
};

constexpr Span kNothing{std::numeric_limits<int32_t>::max(), -1};

// Where a row reaches the threshold, up to rounding: between two values below that, no blend does.
Span bright_span(const float* row, int64_t cols, float threshold) {
    const float nearly = threshold - 1e-6f * std::abs(threshold) - std::numeric_limits<float>::min();
    int32_t first = 0, last = static_cast<int32_t>(cols) - 1;
    while (first <= last && row[first] < nearly) ++first;
    while (last >= first && row[last] < nearly) --last;
    return first <= last ? Span{first, last} : kNothing;
}

// Which visible target columns blend a source column: the others need no look.
struct Reach {
    std::vector<int32_t> begin, end;

    Reach(const ColumnTaps& taps, int64_t cols) : begin(cols), end(cols) {
        const int32_t visible = static_cast<int32_t>(taps.low.size());
        for (int32_t col = 0, first = 0, after = 0; col < cols; ++col) {
            while (first < visible && taps.high[first] < col) ++first;
            while (after < visible && taps.low[after] <= col) ++after;
            begin[col] = first, end[col] = after;
        }
    }
};

// Source rows stretched to the visible columns that anything can come of; neighbours in the target share them.
class StretchedRows {
  public:
    StretchedRows(const float* crop, int64_t rows, int64_t cols, float threshold, const ColumnTaps& taps)
        : crop_(crop), cols_(cols), taps_(taps), reach_(taps, cols), spans_(rows) {
        for (int64_t row = 0; row < rows; ++row) spans_[row] = bright_span(crop + row * cols, cols, threshold);
        for (std::vector<float>& row : rows_) row.resize(taps.low.size());
    }

    // The target columns begin..end that two neighbouring rows can reach the threshold in.
    std::pair<int32_t, int32_t> columns(int64_t low, int64_t high) const {
        const Span span = spans_[low].joined(spans_[high]);
        return span.empty() ? std::pair{0, 0} : std::pair{reach_.begin[span.first], reach_.end[span.last]};
    }

    const float* get(int64_t row) {
        const int place = static_cast<int>(row % 2);  // two neighbours never collide
        if (held_[place] != row) {
            // Whatever its neighbours need of it.
            Span span = spans_[row];
            if (row > 0) span = span.joined(spans_[row - 1]);
            if (row + 1 < static_cast<int64_t>(spans_.size())) span = span.joined(spans_[row + 1]);
            if (!span.empty()) {
                const int32_t begin = reach_.begin[span.first], end = reach_.end[span.last];
                stretch_row(crop_ + row * cols_, taps_.low.data() + begin, taps_.high.data() + begin,
                            taps_.weight.data() + begin, rows_[place].data() + begin, end - begin);
            }
            held_[place] = row;
        }
        return rows_[place].data();
    }

  private:
    const float* crop_;
    int64_t cols_;
    const ColumnTaps& taps_;
    Reach reach_;
    std::vector<Span> spans_;
    std::vector<float> rows_[2];
    int64_t held_[2] = {-1, -1};
};

}  // namespace

void paste_masks_cpu(Crops crops, const int32_t* boxes, float threshold, Image<uint8_t> mask) {
    check_boxes(boxes, crops.n);
    check_finite("crops", crops.data, crops.n * crops.rows * crops.cols);

    ColumnTaps taps;
    for (int64_t i = 0; i < crops.n; ++i) {
        const int32_t* box = boxes + 4 * i;
        const int64_t x_min = box[0], y_min = box[1], x_max = box[2], y_max = box[3];
        const int64_t left = std::max<int64_t>(x_min, 0), right = std::min(x_max, mask.cols);
        const int64_t top = std::max<int64_t>(y_min, 0), bottom = std::min(y_max, mask.rows);
        if (left >= right || top >= bottom) continue;

        const int64_t visible = right - left;
        taps.low.resize(visible), taps.high.resize(visible), taps.weight.resize(visible);
        for (int64_t x = left; x < right; ++x) {
            const Tap tap = bilinear_tap(x - x_min, crops.cols, x_max - x_min);
            taps.low[x - left] = tap.low, taps.high[x - left] = tap.high, taps.weight[x - left] = tap.weight;
        }
        StretchedRows rows(crops.data + i * crops.rows * crops.cols, crops.rows, crops.cols, threshold, taps);
        for (int64_t y = top; y < bottom; ++y) {
            const Tap tap = bilinear_tap(y - y_min, crops.rows, y_max - y_min);
            const auto [begin, end] = rows.columns(tap.low, tap.high);
            if (begin >= end) continue;
            const float* low = rows.get(tap.low);
            const float* high = rows.get(tap.high);
            paint_row(low + begin, high + begin, tap.weight, threshold, mask.row(y) + left + begin, end - begin);
        }
    }
}

}  // namespace mammofast
