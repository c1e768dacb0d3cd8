// Three kernels. The first lists what the others look up: greys, weights, and the padding beside the image. The second
// walks down the source: a block takes a strip of columns, a thread a few of them, so that every pixel is read and
// mapped once for all targets; each target has a running sum in registers. A sum that completes a row of a target goes
// to shared memory, and when that is full the block combines its columns and writes. The third adds up, a thread an
// output, where a target's pixel spans more columns than a strip has.
#include "detection_inputs.h"

#include <algorithm>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

#include "../core/launch.h"
#include "../core/scratch.h"
#include "batch.cuh"
#include "walk.cuh"

namespace mammofast {
namespace {

constexpr int LISTING_THREADS = 256;
constexpr int LISTING_BLOCKS = 32;  // of an image

constexpr int MIN_BAND_ROWS = 32;
constexpr int BAND_SPANS = 4;         // a band has at least as many rows as so many spans: bands overlap by one
constexpr int TURNS = 2;              // bands are cut so that every place for a block gets one so many times

template <typename T>
__global__ void __launch_bounds__(LISTING_THREADS) list(const Batch batch) {
    const BatchSource& source = batch.sources[blockIdx.y];
    const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, stride = int64_t(gridDim.x) * blockDim.x;

    const Contrast contrast = batch.contrast(source);
    const Listing listing = listing_of<T>(source, contrast);
    bool finite = true;
    for (int64_t i = thread; i <= listing.last; i += stride) {
        const double value = source.table != nullptr ? source.table[i] : static_cast<double>(listing.first + i);
        batch.listed[blockIdx.y * batch.listed_each + i] =
            windowed(value, contrast.low, contrast.high - contrast.low);
        finite &= is_finite(value);
    }
    if (!finite) atomicOr(&batch.status[source.image], STATUS_NOT_FINITE);
    if (thread == 0 && !is_window(batch.asked(source))) atomicOr(&batch.status[source.image], STATUS_UNSOUND);

    for (int t = 0; t < batch.n_targets; ++t) {
        const BatchTarget& target = batch.targets[t];
        const Placement place = batch.place(source, t);
        if (source.geometry == static_cast<int32_t>(blockIdx.y)) {
            Span *rows = batch.row_spans(source, t), *cols = batch.col_spans(source, t);
            Step* steps = batch.row_steps(source);
            for (int64_t y = thread; y < place.rows; y += stride) rows[y] = resample_span(y, source.rows, place.rows);
            for (int64_t x = thread; x < place.cols; x += stride) cols[x] = resample_span(x, source.cols, place.cols);
            for (int64_t y = thread; y < source.rows; y += stride)
                steps[y * TARGETS + t] = resample_step(y, source.rows, place.rows);
        }
        if (place.rows == target.rows && place.cols == target.cols) continue;
        const int64_t pixels = int64_t(target.rows) * target.cols;
        for (int64_t i = thread; i < pixels; i += stride) {
            const int64_t y = i / target.cols - place.top, x = i % target.cols - place.left;
            if (y < 0 || y >= place.rows || x < 0 || x >= place.cols)
                keep(target.out, batch.kept, source.image * pixels + i, PADDING);
        }
    }
}

template <typename T>
__global__ void __launch_bounds__(THREADS, 4) add_up(const Batch batch) {
    const BatchSource& source = batch.sources[blockIdx.y];
    const Grey<T> grey(batch, source, blockIdx.y);
    const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, stride = int64_t(gridDim.x) * blockDim.x;
    bool finite = true;
    for (int t = 0; t < batch.n_targets; ++t) {
        const Placement place = batch.place(source, t);
        if (!is_wide(source.cols, place.cols)) continue;
        const Part part = part_of(batch, source, t, 0, 0, 0, 0);
        for (int64_t i = thread; i < int64_t(place.rows) * place.cols; i += stride) {
            const Span rows = part.row_spans[i / place.cols], cols = part.col_spans[i % place.cols];
            float sum = 0.0f;
            for (int32_t x = cols.first; x <= cols.last; ++x) {
                const T* pixels = static_cast<const T*>(source.pixels) + x;
                float column = 0.0f;
                for (int32_t y = rows.first; y <= rows.last; ++y) {
                    const T stored = pixels[y * source.row_step];
                    if constexpr (std::is_floating_point_v<T>) finite &= is_finite(stored);
                    const float weight = y == rows.first  ? rows.first_weight
                                         : y == rows.last ? rows.last_weight
                                                          : part.row_inner;
                    column += weight * grey(stored);
                }
                const float weight = x == cols.first  ? cols.first_weight
                                     : x == cols.last ? cols.last_weight
                                                      : part.col_inner;
                sum += weight * column;
            }
            const int64_t at = part.origin + i / place.cols * batch.targets[t].cols + i % place.cols;
            keep(batch.targets[t].out, batch.kept, at, sum);
        }
    }
    if (!finite) atomicOr(&batch.status[source.image], STATUS_NOT_FINITE);
}

BatchSource described(const DeviceSource& image, int32_t index) {
    if (image.rows > INT32_MAX || image.cols > INT32_MAX || image.table.n > INT32_MAX)
        throw std::invalid_argument("pixels: got more than 2^31 - 1 rows, columns or table values, expected fewer");
    BatchSource source{};
    source.pixels = image.pixels;
    source.table = image.table.values;
    source.table_first = image.table.first;
    source.table_n = image.table.n;
    source.low = image.contrast.low;
    source.high = image.contrast.high;
    source.row_step = image.row_step;
    source.rows = static_cast<int32_t>(image.rows);
    source.cols = static_cast<int32_t>(image.cols);
    source.image = index;
    source.window = static_cast<int32_t>(image.window);
    return source;
}

// How an image is cut into blocks; wanted: its share of them. Returns whether some target is the third kernel's.
bool cut(const Batch& batch, BatchSource& source, int64_t wanted) {
    int64_t longest_rows = 1, longest_cols = 1;
    bool any_wide = false;
    for (int t = 0; t < batch.n_targets; ++t) {
        const Placement place = batch.place(source, t);
        longest_rows = std::max(longest_rows, longest_span(source.rows, place.rows));
        if (is_wide(source.cols, place.cols))
            any_wide = true;
        else
            longest_cols = std::max(longest_cols, longest_span(source.cols, place.cols));
    }
    const auto parts_of = [](int64_t n, int64_t size) { return (n + size - 1) / size; };
    source.reach = static_cast<int32_t>(longest_cols - 1);
    source.strips = static_cast<int32_t>(parts_of(source.cols, WIDTH - source.reach));
    source.strip_cols = static_cast<int32_t>(parts_of(source.cols, source.strips));
    const int64_t bands = std::max<int64_t>(1, wanted / source.strips);
    const int64_t rows = std::max({parts_of(source.rows, bands), BAND_SPANS * longest_rows, int64_t(MIN_BAND_ROWS)});
    source.bands = static_cast<int32_t>(parts_of(source.rows, rows));
    source.band_rows = static_cast<int32_t>(parts_of(source.rows, source.bands));
    return any_wide;
}

// n images of one pixel type, at most TARGETS targets.
template <typename T>
void launch_batch(Batch& batch, int n, void* stream) {
    std::map<std::pair<int32_t, int32_t>, int32_t> geometries;
    const int64_t wanted = TURNS * blocks_at_once(BLOCKS_AT_ONCE) / n;
    int64_t blocks = 1, most_rows = 0;
    bool any_wide = false;
    batch.listed_each = std::is_integral_v<T> ? std::min<int64_t>(MAX_LISTED, int64_t(1) << (8 * sizeof(T))) : 0;
    for (int i = 0; i < n; ++i) {
        BatchSource& source = batch.sources[i];
        source.geometry = geometries.try_emplace({source.rows, source.cols}, i).first->second;
        any_wide |= cut(batch, source, wanted);
        blocks = std::max(blocks, int64_t(source.strips) * source.bands);
        most_rows = std::max<int64_t>(most_rows, source.rows);
        batch.listed_each = std::max(batch.listed_each, source.table_n);
    }
    batch.steps_each = most_rows * TARGETS;
    batch.spans_each = 0;
    for (int t = 0; t < batch.n_targets; ++t) batch.spans_each += batch.targets[t].rows + batch.targets[t].cols;
    const Scratch<Step> steps(n * batch.steps_each, stream);
    const Scratch<Span> spans(n * batch.spans_each, stream);
    const Scratch<float> listed(n * batch.listed_each, stream);
    batch.steps = steps.data(), batch.spans = spans.data(), batch.listed = listed.data();

    const auto images = static_cast<unsigned>(n);
    launch("detection_inputs, lists", list<T>, dim3(LISTING_BLOCKS, images), dim3(LISTING_THREADS), 0, stream, batch);
    launch("detection_inputs, walk", walk<T>, dim3(static_cast<unsigned>(blocks), images), dim3(THREADS), 0, stream,
           batch);
    if (any_wide)
        launch("detection_inputs, wide", add_up<T>, dim3(LISTING_BLOCKS, images), dim3(THREADS), 0, stream, batch);
}

}  // namespace

void detection_inputs_cuda(const std::vector<DeviceSource>& images, const double* windows,
                           const std::vector<DeviceTarget>& targets, Kept kept, Fit fit, int32_t* status,
                           void* stream) {
    std::map<PixelType, std::vector<BatchSource>> by_type;
    for (size_t i = 0; i < images.size(); ++i)
        by_type[images[i].type].push_back(described(images[i], static_cast<int32_t>(i)));
    for (const auto& [type, sources] : by_type)
        for (size_t first = 0; first < sources.size(); first += MAX_IMAGES)
            for (size_t first_target = 0; first_target < targets.size(); first_target += TARGETS) {
                Batch batch{};
                const auto n = static_cast<int>(std::min<size_t>(MAX_IMAGES, sources.size() - first));
                std::copy_n(sources.begin() + first, n, batch.sources);
                batch.n_targets = static_cast<int32_t>(std::min<size_t>(TARGETS, targets.size() - first_target));
                for (int t = 0; t < batch.n_targets; ++t) {
                    const DeviceTarget& target = targets[first_target + t];
                    batch.targets[t] = {target.out, static_cast<int32_t>(target.rows),
                                        static_cast<int32_t>(target.cols)};
                }
                batch.fit = fit, batch.kept = kept, batch.windows = windows, batch.status = status;
                with_pixel_type(type, [&](auto pixel) { launch_batch<decltype(pixel)>(batch, n, stream); });
            }
}

}  // namespace mammofast
