#include "resample.h"

#include <algorithm>

#include "resample_math.h"
#include "simd.h"

namespace mammofast {
namespace {

MAMMOFAST_SIMD void scale_row(const float* MAMMOFAST_RESTRICT row, float weight, float* MAMMOFAST_RESTRICT out,
                              int64_t n) {
    for (int64_t i = 0; i < n; ++i) out[i] = weight * row[i];
}

MAMMOFAST_SIMD void add_scaled_row(const float* MAMMOFAST_RESTRICT row, float weight, float* MAMMOFAST_RESTRICT out,
                                   int64_t n) {
    for (int64_t i = 0; i < n; ++i) out[i] += weight * row[i];
}

template <int TAPS>
void combine_columns(const float* row, const int32_t* starts, const float* weights, float* out, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        const float* source = row + starts[i];
        float sum = weights[i * TAPS] * source[0];
        for (int t = 1; t < TAPS; ++t) sum += weights[i * TAPS + t] * source[t];
        out[i] = sum;
    }
}

void combine_columns(const float* row, const int32_t* starts, const float* weights, float* out, int64_t n,
                     int64_t taps) {
    for (int64_t i = 0; i < n; ++i) {
        const float* source = row + starts[i];
        float sum = weights[i * taps] * source[0];
        for (int64_t t = 1; t < taps; ++t) sum += weights[i * taps + t] * source[t];
        out[i] = sum;
    }
}

}  // namespace

Axis::Axis(int64_t source, int64_t target) : taps(longest_span(source, target)), starts(target) {
    const float inner = inner_weight(source, target);
    weights.assign(target * taps, 0.0f);
    for (int64_t i = 0; i < target; ++i) {
        const Span span = resample_span(i, source, target);
        const int64_t start = std::min<int64_t>(span.first, source - taps);  // taps past the edge would read too far
        starts[i] = static_cast<int32_t>(start);
        float* weight = &weights[i * taps - start];
        weight[span.first] = span.first_weight;
        for (int64_t p = span.first + 1; p < span.last; ++p) weight[p] = inner;
        if (span.last > span.first) weight[span.last] = span.last_weight;
    }
}

Resampler::Resampler(Shape source, const std::vector<Image<float>>& targets)
    : source_(source), combined_(source.cols) {
    for (const Image<float>& out : targets) {
        targets_.push_back({out, Axis(source.rows, out.rows), Axis(source.cols, out.cols)});
        ring_rows_ = std::max(ring_rows_, targets_.back().rows.taps);
    }
    ring_.resize(ring_rows_ * source.cols);
}

void Resampler::commit(int64_t y) {
    for (Target& target : targets_) {
        const Axis& axis = target.rows;
        while (target.next < target.out.rows && axis.starts[target.next] + axis.taps - 1 <= y)
            write(target, target.next++);
    }
}

void Resampler::write(Target& target, int64_t y) {
    const Axis& rows = target.rows;
    const float* weights = &rows.weights[y * rows.taps];
    const int64_t start = rows.starts[y];
    const float* combined = row(start);
    if (rows.taps > 1) {
        scale_row(row(start), weights[0], combined_.data(), source_.cols);
        for (int64_t t = 1; t < rows.taps; ++t)
            if (weights[t] != 0.0f) add_scaled_row(row(start + t), weights[t], combined_.data(), source_.cols);
        combined = combined_.data();
    }

    const Axis& cols = target.cols;
    const int32_t* starts = cols.starts.data();
    float* out = target.out.row(y);
    const int64_t n = target.out.cols;
    switch (cols.taps) {
        case 1: combine_columns<1>(combined, starts, cols.weights.data(), out, n); break;  // equal size, or one column
        case 2: combine_columns<2>(combined, starts, cols.weights.data(), out, n); break;
        case 3: combine_columns<3>(combined, starts, cols.weights.data(), out, n); break;
        case 4: combine_columns<4>(combined, starts, cols.weights.data(), out, n); break;
        case 5: combine_columns<5>(combined, starts, cols.weights.data(), out, n); break;
        case 6: combine_columns<6>(combined, starts, cols.weights.data(), out, n); break;
        case 7: combine_columns<7>(combined, starts, cols.weights.data(), out, n); break;
        default: combine_columns(combined, starts, cols.weights.data(), out, n, cols.taps);
    }
}

}  // namespace mammofast
