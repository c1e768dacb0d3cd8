#include "detection_inputs.h"

#include "../core/resample.h"
#include "../core/types.h"

namespace mammofast {

template <typename T>
void detection_inputs_cpu(Image<const T> pixels, GreyTable table, Contrast contrast,
                          const std::vector<Image<float>>& targets) {
    const GreyMap<T> grey(table, contrast);
    Resampler resampler({pixels.rows, pixels.cols}, targets);
    for (int64_t y = 0; y < pixels.rows; ++y) {
        grey.apply(pixels.row(y), resampler.row(y), pixels.cols, "pixels");
        resampler.commit(y);
    }
}

#define INSTANTIATE(T) \
    template void detection_inputs_cpu(Image<const T>, GreyTable, Contrast, const std::vector<Image<float>>&);
MAMMOFAST_FOR_PIXEL_TYPES(INSTANTIATE)
#undef INSTANTIATE

}  // namespace mammofast
