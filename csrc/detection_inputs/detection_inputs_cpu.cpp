#include <algorithm>

#include "../core/resample.h"
#include "../core/types.h"
#include "detection_inputs.h"

namespace mammofast {

template <typename T>
void detection_inputs_cpu(Image<const T> pixels, GreyTable table, Contrast contrast,
                          const std::vector<Image<float>>& targets, Fit fit) {
    std::vector<Image<float>> places;
    for (const Image<float>& out : targets) {
        const Placement place = placed({pixels.rows, pixels.cols}, {out.rows, out.cols}, fit);
        if (place.rows < out.rows || place.cols < out.cols)
            for (int64_t y = 0; y < out.rows; ++y) std::fill_n(out.row(y), out.cols, PADDING);
        places.push_back({out.row(place.top) + place.left, place.rows, place.cols, out.row_step});
    }

    const GreyMap<T> grey(table, contrast);
    Resampler resampler({pixels.rows, pixels.cols}, places);
    for (int64_t y = 0; y < pixels.rows; ++y) {
        grey.apply(pixels.row(y), resampler.row(y), pixels.cols, "pixels");
        resampler.commit(y);
    }
}

#define INSTANTIATE(T) \
    template void detection_inputs_cpu(Image<const T>, GreyTable, Contrast, const std::vector<Image<float>>&, Fit);
MAMMOFAST_FOR_PIXEL_TYPES(INSTANTIATE)
#undef INSTANTIATE

}  // namespace mammofast
