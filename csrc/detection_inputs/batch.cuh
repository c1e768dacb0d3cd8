// What the kernels are told of a batch, small enough to travel as a kernel's argument: no copy, nothing to keep alive.
#pragma once

#include <cstdint>

#include "../core/checks.h"
#include "../core/grey_math.h"
#include "../core/half.h"
#include "../core/resample_math.h"
#include "../core/status.h"
#include "../segmentation_inputs/equalize.h"
#include "detection_inputs.h"

namespace mammofast {

constexpr int MAX_IMAGES = 36;  // of one launch; an argument may have 4 KB
constexpr int TARGETS = 5;      // of one launch

struct BatchSource {
    const void* pixels;
    const float* table;
    double low, high;
    int64_t row_step, table_first, table_n;
    int32_t rows, cols;
    int32_t image;     // index in the caller's batch
    int32_t window;    // index among the windows
    int32_t geometry;  // the first image of the launch of this shape, whose spans and steps serve
    // A block makes what begins in band_rows x strip_cols of the source and reads up to `reach` columns more.
    int32_t bands, band_rows, strips, strip_cols, reach;
};

struct BatchTarget {
    void* out;
    int32_t rows, cols;
};

MAMMOFAST_HD bool is_window(Contrast window) {
    return is_finite(window.low) && is_finite(window.high) && window.low < window.high;
}

struct Batch {
    BatchSource sources[MAX_IMAGES];
    BatchTarget targets[TARGETS];
    int32_t n_targets;
    Fit fit;
    Kept kept;
    const double* windows;
    int32_t* status;
    float* listed;  // per image: the grey of each listed value
    Span* spans;    // per image: of each target's rows, then of its columns
    Step* steps;    // per image: TARGETS for each source row
    int64_t listed_each, spans_each, steps_each;

    MAMMOFAST_HD Placement place(const BatchSource& source, int t) const {
        return placed({source.rows, source.cols}, {targets[t].rows, targets[t].cols}, fit);
    }

    MAMMOFAST_HD Span* row_spans(const BatchSource& source, int t) const {
        int64_t offset = source.geometry * spans_each;
        for (int before = 0; before < t; ++before) offset += targets[before].rows + targets[before].cols;
        return spans + offset;
    }

    MAMMOFAST_HD Span* col_spans(const BatchSource& source, int t) const {
        return row_spans(source, t) + targets[t].rows;
    }

    MAMMOFAST_HD Step* row_steps(const BatchSource& source) const { return steps + source.geometry * steps_each; }

    MAMMOFAST_HD Contrast asked(const BatchSource& source) const {
        if (windows == nullptr) return {source.low, source.high};
        return {windows[2 * source.window], windows[2 * source.window + 1]};
    }

    // What is no window is replaced by one; nobody reads its results.
    MAMMOFAST_HD Contrast contrast(const BatchSource& source) const {
        const Contrast window = asked(source);
        return is_window(window) ? window : Contrast{0.0, 1.0};
    }
};

static_assert(sizeof(Batch) <= 4096);

template <typename T>
MAMMOFAST_HD Listing listing_of(const BatchSource& source, Contrast contrast) {
    return source.table != nullptr ? listing_of_table<T>(source.table_first, source.table_n)
                                   : listing_of_window<T>(contrast.low, contrast.high);
}

// From stored values to grey, by the list where there is one.
template <typename T>
class Grey {
  public:
    __device__ Grey(const Batch& batch, const BatchSource& source, int index)
        : contrast_(batch.contrast(source)),
          width_(contrast_.high - contrast_.low),
          listing_(listing_of<T>(source, contrast_)),
          listed_(batch.listed + index * batch.listed_each) {}

    // The whole block copies the list to shared memory, if it fits there; others may read it after the next barrier.
    __device__ void bring(float* shared, int32_t room) {
        if (listing_.last < 0 || listing_.last >= room) return;
        for (int32_t i = threadIdx.x; i <= listing_.last; i += blockDim.x) shared[i] = listed_[i];
        shared_ = shared;
    }

    __device__ float operator()(T stored) const {
        if constexpr (std::is_integral_v<T>) {
            if (listing_.last >= 0) {
                const int32_t at = listed_at(stored, listing_);
                return shared_ != nullptr ? shared_[at] : __ldg(listed_ + at);
            }
        }
        return windowed(static_cast<double>(stored), contrast_.low, width_);
    }

  private:
    Contrast contrast_;
    double width_;
    Listing listing_;
    const float* listed_;
    const float* shared_ = nullptr;
};

__device__ inline void keep(void* out, Kept kept, int64_t at, float value) {
    switch (kept) {
        case Kept::FLOAT: static_cast<float*>(out)[at] = value; break;
        case Kept::HALF: static_cast<uint16_t*>(out)[at] = half_bits(value); break;
        case Kept::LEVEL: static_cast<uint8_t*>(out)[at] = level_of(value); break;
    }
}

}  // namespace mammofast
