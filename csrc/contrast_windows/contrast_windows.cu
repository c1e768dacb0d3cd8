// Two kernels: the first counts how many pixels have each stored value, the second, a block an image, finds the values
// by bisection: presentation values need no order among the stored ones, and counting again is cheaper than sorting.
#include <algorithm>
#include <map>
#include <stdexcept>
#include <type_traits>

#include "../core/checks.h"
#include "../core/grey_math.h"
#include "../core/launch.h"
#include "../core/scratch.h"
#include "../core/status.h"
#include "contrast_windows.h"

namespace mammofast {
namespace {

constexpr int THREADS = 256;
constexpr int BAND_ROWS = 64;
constexpr int SEARCH_THREADS = 1024;

template <typename T>
constexpr int32_t LOWEST = std::is_signed_v<T> ? -(1 << (8 * sizeof(T) - 1)) : 0;
template <typename T>
constexpr int32_t VALUES = 1 << (8 * sizeof(T));

constexpr int64_t MAX_ROWS = int64_t(1) << 21;  // a grid has at most 65,535 blocks in y
constexpr int MAX_IMAGES = 64;  // of one launch; an argument may have 4 KB

struct Histogrammed {
    const void* pixels;
    const float* table;
    int64_t row_step, table_first, table_n;
    int32_t rows, cols;
    int32_t image;  // index in the caller's batch
};

struct Batch {
    Histogrammed images[MAX_IMAGES];
    ContrastRule rule;
    uint32_t* counts;  // of each image, its pixel type's values
    double* windows;
    int32_t* status;
};

static_assert(sizeof(Batch) <= 4096);

// A thread walks down a column of a band and adds runs of one value at once: much of an image is background.
template <typename T>
__global__ void __launch_bounds__(THREADS) count(const Batch batch) {
    const Histogrammed& image = batch.images[blockIdx.z];
    uint32_t* counts = batch.counts + int64_t(blockIdx.z) * VALUES<T> - LOWEST<T>;
    const int64_t x = int64_t(blockIdx.x) * THREADS + threadIdx.x, y_begin = int64_t(blockIdx.y) * BAND_ROWS;
    if (x >= image.cols || y_begin >= image.rows) return;
    const T* pixels = static_cast<const T*>(image.pixels) + x;
    T value = pixels[y_begin * image.row_step];
    uint32_t run = 1;
    for (int64_t y = y_begin + 1; y < min(y_begin + BAND_ROWS, int64_t(image.rows)); ++y) {
        const T next = pixels[y * image.row_step];
        if (next != value) {
            atomicAdd(&counts[value], run);
            value = next, run = 0;
        }
        ++run;
    }
    atomicAdd(&counts[value], run);
}

// Keys are in the order of their floats.
__device__ uint32_t key_of(float value) {
    const auto bits = __float_as_uint(value + 0.0f);  // -0 is 0
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

__device__ float value_of(uint32_t key) {
    return __uint_as_float(key >> 31 ? key & 0x7fffffffu : ~key);
}

template <typename T>
struct Values {
    const uint32_t* counts;
    const float* table;
    Listing listing;

    // Without a table a value's place is its key.
    __device__ uint32_t key(int32_t place) const {
        if (table == nullptr) return static_cast<uint32_t>(place);
        return key_of(table[listed_at(static_cast<T>(place + LOWEST<T>), listing)]);
    }

    __device__ double value(uint32_t key) const {
        return table == nullptr ? static_cast<double>(static_cast<int32_t>(key) + LOWEST<T>) : value_of(key);
    }
};

template <typename T>
__global__ void __launch_bounds__(SEARCH_THREADS) search(const Batch batch) {
    __shared__ int32_t first, last;
    __shared__ uint32_t smallest, largest;
    __shared__ unsigned long long total, at_smallest, up_to[2];
    const Histogrammed& image = batch.images[blockIdx.x];
    const Values<T> values{batch.counts + int64_t(blockIdx.x) * VALUES<T>, image.table,
                           listing_of_table<T>(image.table_first, image.table_n)};
    const ContrastRule& rule = batch.rule;
    const int thread = threadIdx.x;
    if (thread == 0) {
        first = VALUES<T>, last = -1;
        smallest = ~0u, largest = 0, total = 0, at_smallest = 0;
    }
    __syncthreads();
    if (values.table != nullptr) {
        bool finite = true;
        for (int64_t i = thread; i <= values.listing.last; i += SEARCH_THREADS) finite &= is_finite(values.table[i]);
        if (!finite) atomicOr(&batch.status[image.image], STATUS_NOT_FINITE);
    }
    for (int32_t place = thread; place < VALUES<T>; place += SEARCH_THREADS) {
        const uint32_t count = values.counts[place];
        if (count == 0) continue;
        const uint32_t key = values.key(place);
        atomicMin(&first, place), atomicMax(&last, place);
        atomicMin(&smallest, key), atomicMax(&largest, key);
        atomicAdd(&total, static_cast<unsigned long long>(count));
    }
    __syncthreads();
    for (int32_t place = first + thread; place <= last; place += SEARCH_THREADS)
        if (values.counts[place] > 0 && values.key(place) == smallest)
            atomicAdd(&at_smallest, static_cast<unsigned long long>(values.counts[place]));
    __syncthreads();

    // The smallest keys with enough pixels at or below them lie in begin .. end.
    const unsigned long long left_out = smallest < largest ? at_smallest : 0;
    const double left = static_cast<double>(total - left_out);
    const double parts[2] = {rule.low_part, rule.high_part};
    uint32_t begin[2] = {smallest, smallest}, end[2] = {largest, largest};
    while (!rule.min_max && (begin[0] < end[0] || begin[1] < end[1])) {
        if (thread == 0) up_to[0] = up_to[1] = 0;
        __syncthreads();
        uint32_t middle[2];
        unsigned long long mine[2] = {0, 0};
        for (int side = 0; side < 2; ++side) middle[side] = begin[side] + (end[side] - begin[side]) / 2;
        for (int32_t place = first + thread; place <= last; place += SEARCH_THREADS) {
            const uint32_t count = values.counts[place];
            if (count == 0) continue;
            const uint32_t key = values.key(place);
            for (int side = 0; side < 2; ++side) mine[side] += key <= middle[side] ? count : 0;
        }
        for (int side = 0; side < 2; ++side)
            if (mine[side] > 0) atomicAdd(&up_to[side], mine[side]);
        __syncthreads();
        for (int side = 0; side < 2; ++side) {
            const double wanted = parts[side] * left;
            const double here = static_cast<double>(up_to[side]) - static_cast<double>(left_out);
            if (here >= 1.0 && here >= wanted)
                end[side] = middle[side];
            else if (begin[side] < end[side])
                begin[side] = middle[side] + 1;
        }
        __syncthreads();
    }
    if (thread == 0) {
        const double low = values.value(rule.min_max ? smallest : end[0]);
        const double high = values.value(rule.min_max ? largest : end[1]);
        batch.windows[2 * image.image] = low;
        batch.windows[2 * image.image + 1] = high > low ? high : low + 1.0;
    }
}

// n images of one pixel type.
template <typename T>
void launch_batch(Batch& batch, int n, void* stream) {
    int64_t most_rows = 0, most_cols = 0;
    for (int i = 0; i < n; ++i) {
        most_rows = std::max<int64_t>(most_rows, batch.images[i].rows);
        most_cols = std::max<int64_t>(most_cols, batch.images[i].cols);
    }
    const int64_t n_counts = int64_t(n) * VALUES<T>;
    const Scratch<uint32_t> counts(n_counts, stream);
    batch.counts = counts.data();
    check(cudaMemsetAsync(counts.data(), 0, n_counts * sizeof(uint32_t), static_cast<cudaStream_t>(stream)),
          "contrast_windows");
    const auto images = static_cast<unsigned>(n);
    const dim3 grid(blocks_for(most_cols, THREADS), blocks_for(most_rows, BAND_ROWS), images);
    launch("contrast_windows, count", count<T>, grid, dim3(THREADS), 0, stream, batch);
    launch("contrast_windows, search", search<T>, dim3(images), dim3(SEARCH_THREADS), 0, stream, batch);
}

}  // namespace

void contrast_windows_cuda(const std::vector<DeviceSource>& images, ContrastRule rule, double* windows, int32_t* status,
                           void* stream) {
    std::map<PixelType, std::vector<Histogrammed>> by_type;
    for (size_t i = 0; i < images.size(); ++i) {
        const DeviceSource& image = images[i];
        if (image.rows > MAX_ROWS || image.cols > INT32_MAX)
            throw std::invalid_argument("images: got more than 2^21 rows or 2^31 - 1 columns, expected fewer");
        by_type[image.type].push_back({image.pixels, image.table.values, image.row_step, image.table.first,
                                       image.table.n, static_cast<int32_t>(image.rows),
                                       static_cast<int32_t>(image.cols), static_cast<int32_t>(i)});
    }
    for (const auto& [type, sources] : by_type)
        for (size_t first = 0; first < sources.size(); first += MAX_IMAGES) {
            Batch batch{};
            const auto n = static_cast<int>(std::min<size_t>(MAX_IMAGES, sources.size() - first));
            std::copy_n(sources.begin() + first, n, batch.images);
            batch.rule = rule, batch.windows = windows, batch.status = status;
            with_pixel_type(type, [&](auto pixel) {
                using T = decltype(pixel);
                if constexpr (std::is_integral_v<T> && sizeof(T) <= 2)
                    launch_batch<T>(batch, n, stream);
                else
                    throw std::invalid_argument(
                        "images: got pixels of another type, expected integers of at most 16 bits");
            });
        }
}

}  // namespace mammofast
