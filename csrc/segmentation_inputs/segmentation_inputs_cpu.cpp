#include "segmentation_inputs.h"

#include "../core/resample.h"
#include "../core/types.h"
#include "equalize.h"

namespace mammofast {

template <typename T>
void segmentation_input_cpu(Image<const T> window, GreyTable table, Contrast contrast, Image<float> out) {
    const GreyMap<T> grey(table, contrast);
    Resampler resampler({window.rows, window.cols}, {out});
    for (int64_t y = 0; y < window.rows; ++y) {
        grey.apply(window.row(y), resampler.row(y), window.cols, "windows");
        resampler.commit(y);
    }

    std::array<int32_t, LEVELS> counts{};
    for (int64_t y = 0; y < out.rows; ++y)
        for (int64_t x = 0; x < out.cols; ++x) ++counts[level_of(out.row(y)[x])];
    const auto equalized = equalizing_table(counts, static_cast<int32_t>(out.rows * out.cols));
    std::array<float, LEVELS> values;
    for (int level = 0; level < LEVELS; ++level) values[level] = value_of(equalized[level]);
    for (int64_t y = 0; y < out.rows; ++y)
        for (int64_t x = 0; x < out.cols; ++x) out.row(y)[x] = values[level_of(out.row(y)[x])];
}

#define INSTANTIATE(T) template void segmentation_input_cpu(Image<const T>, GreyTable, Contrast, Image<float>);
MAMMOFAST_FOR_PIXEL_TYPES(INSTANTIATE)
#undef INSTANTIATE

}  // namespace mammofast
