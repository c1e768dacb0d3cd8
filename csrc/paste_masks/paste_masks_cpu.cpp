#include "paste_masks.h"

#include <algorithm>
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

// Source rows stretched to the visible columns; neighbours in the target share them.
class StretchedRows {
  public:
    StretchedRows(const float* crop, int64_t cols, const ColumnTaps& taps)
        : crop_(crop), cols_(cols), taps_(taps) {
        for (std::vector<float>& row : rows_) row.resize(taps.low.size());
    }

    const float* get(int64_t row) {
        const int place = static_cast<int>(row % 2);  // two neighbours never collide
        if (held_[place] != row) {
            stretch_row(crop_ + row * cols_, taps_.low.data(), taps_.high.data(), taps_.weight.data(),
                        rows_[place].data(), static_cast<int64_t>(taps_.low.size()));
            held_[place] = row;
        }
        return rows_[place].data();
    }

  private:
    const float* crop_;
    int64_t cols_;
    const ColumnTaps& taps_;
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
        StretchedRows rows(crops.data + i * crops.rows * crops.cols, crops.cols, taps);
        for (int64_t y = top; y < bottom; ++y) {
            const Tap tap = bilinear_tap(y - y_min, crops.rows, y_max - y_min);
            const float* low = rows.get(tap.low);
            paint_row(low, rows.get(tap.high), tap.weight, threshold, mask.row(y) + left, visible);
        }
    }
}

}  // namespace mammofast
