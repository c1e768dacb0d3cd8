// A bin's average of bilinear samples is a weighted sum of pixels whose weights are a product of one for the row and
// one for the column. So each box becomes two short lists of taps, and columns are summed before rows. Sixteen channels
// at a time lie side by side, where all of it is plain vector arithmetic.
#include "roi_align.h"

#include <algorithm>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "../core/checks.h"
#include "../core/simd.h"
#include "axis_taps.h"

namespace mammofast {
namespace {

constexpr int LANES = 16;  // channels side by side

struct Roi {
    int64_t index;  // in the input
    AxisTaps rows, cols;
};

// Pixels of a map that boxes reach.
struct Reach {
    int32_t top = std::numeric_limits<int32_t>::max(), bottom = 0;
    int32_t left = std::numeric_limits<int32_t>::max(), right = 0;

    void add(const Roi& roi) {
        if (roi.rows.pixels.empty()) return;
        top = std::min(top, roi.rows.pixels.front()), bottom = std::max(bottom, roi.rows.pixels.back() + 1);
        left = std::min(left, roi.cols.pixels.front()), right = std::max(right, roi.cols.pixels.back() + 1);
    }
    int64_t rows() const { return std::max<int64_t>(int64_t(bottom) - top, 0); }
    int64_t cols() const { return std::max<int64_t>(int64_t(right) - left, 0); }
};

// block: the pixels within reach, LANES channels of each, the first lanes of them from planes that follow each other.
void gather(const float* planes, FeatureMaps maps, Reach reach, int lanes, float* MAMMOFAST_RESTRICT block) {
    const int64_t cols = reach.cols();
    for (int64_t y = 0; y < reach.rows(); ++y)
        for (int lane = 0; lane < lanes; ++lane) {
            const float* row = planes + (lane * maps.rows + reach.top + y) * maps.cols + reach.left;
            float* target = block + y * cols * LANES + lane;
            for (int64_t x = 0; x < cols; ++x) target[x * LANES] = row[x];
        }
}

// bins[bin] = the weighted sum over the bin's taps of vectors; vector_of says where a tap's vector of n values is.
template <typename VectorOf>
inline void sum_taps(const AxisTaps& axis, VectorOf vector_of, int64_t n, float* MAMMOFAST_RESTRICT bins) {
    int64_t tap = 0;
    for (int64_t end : axis.bin_ends) {
        std::fill_n(bins, n, 0.0f);
        for (; tap < end; ++tap) {
            const float weight = axis.taps[tap].weight;
            const float* MAMMOFAST_RESTRICT vector = vector_of(axis.taps[tap]);
            for (int64_t i = 0; i < n; ++i) bins[i] += weight * vector[i];
        }
        bins += n;
    }
}

// grid: rows x cols bins of LANES channels; lines: room for each pixel row that the box reads, cols bins of LANES.
MAMMOFAST_SIMD void average(const Roi& roi, const float* block, Reach reach, float* lines, float* grid) {
    const int64_t line_size = static_cast<int64_t>(roi.cols.bin_ends.size()) * LANES;
    for (size_t i = 0; i < roi.rows.pixels.size(); ++i) {
        const float* row = block + (roi.rows.pixels[i] - reach.top) * reach.cols() * LANES;
        sum_taps(roi.cols, [&](const AxisTaps::Tap& tap) { return row + int64_t(tap.pixel - reach.left) * LANES; },
                 LANES, lines + i * line_size);
    }
    sum_taps(roi.rows, [&](const AxisTaps::Tap& tap) { return lines + tap.slot * line_size; }, line_size, grid);
}

// out: one plane of n bins for each of the first lanes.
void scatter(const float* grid, int64_t n, int lanes, float* MAMMOFAST_RESTRICT out) {
    for (int lane = 0; lane < lanes; ++lane)
        for (int64_t bin = 0; bin < n; ++bin) out[lane * n + bin] = grid[bin * LANES + lane];
}

void align_image(const float* image, FeatureMaps maps, const std::vector<Roi>& rois, RoiGrid grid, float* out) {
    Reach reach;
    size_t most_rows = 0;
    for (const Roi& roi : rois) {
        reach.add(roi);
        most_rows = std::max(most_rows, roi.rows.pixels.size());
    }
    const int64_t bins = grid.rows * grid.cols;
    std::vector<float> block(reach.rows() * reach.cols() * LANES), lines(most_rows * grid.cols * LANES);
    std::vector<float> averages(bins * LANES);
    for (int64_t channel = 0; channel < maps.channels; channel += LANES) {
        const int lanes = static_cast<int>(std::min<int64_t>(LANES, maps.channels - channel));
        gather(image + channel * maps.rows * maps.cols, maps, reach, lanes, block.data());
        for (const Roi& roi : rois) {
            average(roi, block.data(), reach, lines.data(), averages.data());
            scatter(averages.data(), bins, lanes, out + (roi.index * maps.channels + channel) * bins);
        }
    }
}

Roi roi_of(int64_t index, const float* box, FeatureMaps maps, RoiGrid grid) {
    const RoiAxis x = roi_axis(box[0], box[2], grid.spatial_scale, grid.cols, grid.sampling_ratio);
    const RoiAxis y = roi_axis(box[1], box[3], grid.spatial_scale, grid.rows, grid.sampling_ratio);
    if (roi_too_large(x, grid.sampling_ratio) || roi_too_large(y, grid.sampling_ratio)) {
        std::ostringstream message;
        message << "boxes: got bins of " << x.bin << " x " << y.bin << " pixels of the map at index " << index
                << ", expected at most " << MOST_ADAPTIVE_SAMPLES << " a side where sampling_ratio is 0";
        throw std::invalid_argument(message.str());
    }
    Roi roi{index, {y, grid.rows, maps.rows}, {x, grid.cols, maps.cols}};
    if (roi.rows.pixels.empty() || roi.cols.pixels.empty()) roi.rows.clear(), roi.cols.clear();
    return roi;
}

void check_images(const int64_t* images, int64_t k, int64_t n) {
    for (int64_t i = 0; i < k; ++i) {
        if (images[i] >= 0 && images[i] < n) continue;
        std::ostringstream message;
        message << "batch_index: got " << images[i] << " at index " << i << ", expected 0.." << n - 1;
        throw std::invalid_argument(message.str());
    }
}

}  // namespace

void roi_align_cpu(FeatureMaps features, const float* boxes, const int64_t* images, int64_t k, RoiGrid grid,
                   float* out) {
    const int64_t image_size = features.channels * features.rows * features.cols;
    check_finite("features", features.data, features.n * image_size);
    check_boxes(boxes, k);
    check_images(images, k, features.n);

    std::vector<std::vector<Roi>> rois(features.n);
    for (int64_t i = 0; i < k; ++i) rois[images[i]].push_back(roi_of(i, boxes + 4 * i, features, grid));
    for (int64_t image = 0; image < features.n; ++image)
        if (!rois[image].empty()) align_image(features.data + image * image_size, features, rois[image], grid, out);
}

}  // namespace mammofast
