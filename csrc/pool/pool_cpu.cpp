#include "pool.h"

#include <algorithm>

#include "../core/checks.h"
#include "../core/simd.h"
#include "../core/types.h"
#include "pool_math.h"

namespace mammofast {
namespace {

// Sums of integers of 16 bits fit 32 up to level 7; wider ones and higher levels take 64.
constexpr int MAX_NARROW_LEVEL = 7;

template <typename T, typename S>
MAMMOFAST_SIMD void add_row(const T* MAMMOFAST_RESTRICT row, S* MAMMOFAST_RESTRICT sums, int64_t n) {
    for (int64_t i = 0; i < n; ++i) sums[i] += static_cast<S>(row[i]);
}

template <typename S>
MAMMOFAST_SIMD void add_pairs(const S* MAMMOFAST_RESTRICT from, S* MAMMOFAST_RESTRICT to, int64_t pairs) {
    for (int64_t i = 0; i < pairs; ++i) to[i] = from[2 * i] + from[2 * i + 1];
}

template <typename S, typename P>
MAMMOFAST_SIMD void write_squares(const S* MAMMOFAST_RESTRICT sums, P* MAMMOFAST_RESTRICT out, int64_t n, int level) {
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<P>(rounded_mean_of_square(sums[i], level));
}

MAMMOFAST_SIMD bool write_means(const double* MAMMOFAST_RESTRICT sums, float* MAMMOFAST_RESTRICT out, int64_t n,
                                double count) {
    int64_t bad = 0;
    for (int64_t i = 0; i < n; ++i) {
        out[i] = static_cast<float>(sums[i] / count);
        bad += !is_finite(out[i]);
    }
    return bad == 0;
}

// A row of sums of one level while the rows of the level below come in; a full row goes out as means and on as sums
// to the next level.
template <typename T, typename S>
class Cascade {
  public:
    Cascade(Image<const T> source, const std::vector<PoolLevel<T>>& levels) : source_(source) {
        int below = 0;
        int64_t width = source.cols;
        for (const PoolLevel<T>& level : levels) {
            stages_.push_back({level, level.level - below, std::vector<S>(width), std::vector<S>(width / 2 + 1)});
            width = level.out.cols;
            below = level.level;
        }
    }

    void run() {
        for (int64_t y = 0; y < source_.rows; ++y) push(0, source_.row(y), source_.cols);
        finish(0);
    }

  private:
    struct Stage {
        PoolLevel<T> level;
        int halvings;             // how often a row of sums from below is halved
        std::vector<S> sums;      // of the rows so far, not yet halved
        std::vector<S> scratch;
        int64_t rows_in = 0;      // rows in sums
        int64_t rows_out = 0;
    };

    template <typename Row>
    void push(size_t index, const Row* row, int64_t width) {
        if (index == stages_.size()) return;
        Stage& stage = stages_[index];
        add_row(row, stage.sums.data(), width);
        if (++stage.rows_in == int64_t(1) << stage.halvings) emit(index);
    }

    void finish(size_t index) {
        for (; index < stages_.size(); ++index)
            if (stages_[index].rows_in > 0) emit(index);
    }

    void emit(size_t index) {
        Stage& stage = stages_[index];
        int64_t width = static_cast<int64_t>(stage.sums.size());
        for (int step = 0; step < stage.halvings; ++step) {
            add_pairs(stage.sums.data(), stage.scratch.data(), width / 2);
            if (width % 2) stage.scratch[width / 2] = stage.sums[width - 1];
            width = (width + 1) / 2;
            std::swap_ranges(stage.scratch.begin(), stage.scratch.begin() + width, stage.sums.begin());
        }
        write(stage, width);
        push(index + 1, stage.sums.data(), width);
        std::fill(stage.sums.begin(), stage.sums.end(), S(0));
        stage.rows_in = 0;
        ++stage.rows_out;
    }

    void write(const Stage& stage, int64_t width) {
        const int level = stage.level.level;
        const int64_t side = int64_t(1) << level;
        const int64_t rows = std::min(side, source_.rows - stage.rows_out * side);
        const int64_t whole = rows == side ? source_.cols / side : 0;
        const S* sums = stage.sums.data();
        Pooled<T>* out = stage.level.out.row(stage.rows_out);
        if constexpr (std::is_floating_point_v<T>) {
            bool finite = write_means(sums, out, width, static_cast<double>(rows * side));
            const int64_t last = source_.cols - (width - 1) * side;
            finite &= write_means(sums + width - 1, out + width - 1, 1, static_cast<double>(rows * last));
            if (!finite) fail_not_finite("image");
        } else {
            if (whole > 0) write_squares(sums, out, whole, level);
            for (int64_t x = whole; x < width; ++x)
                out[x] = static_cast<T>(rounded_mean(sums[x], rows * std::min(side, source_.cols - x * side)));
        }
    }

    Image<const T> source_;
    std::vector<Stage> stages_;
};

template <typename T>
void copy(Image<const T> source, Image<Pooled<T>> out) {
    for (int64_t y = 0; y < source.rows; ++y) {
        if constexpr (std::is_floating_point_v<T>) {
            for (int64_t x = 0; x < source.cols; ++x) {
                out.row(y)[x] = static_cast<float>(source.row(y)[x]);
                if (!is_finite(out.row(y)[x])) fail_not_finite("image");
            }
        } else {
            std::copy_n(source.row(y), source.cols, out.row(y));
        }
    }
}

}  // namespace

template <typename T>
void pool_cpu(Image<const T> source, const std::vector<PoolLevel<T>>& levels) {
    std::vector<PoolLevel<T>> coarse;
    for (const PoolLevel<T>& level : levels) {
        if (level.level == 0)
            copy(source, level.out);
        else
            coarse.push_back(level);
    }
    if (coarse.empty() || source.rows == 0 || source.cols == 0) return;
    if constexpr (std::is_floating_point_v<T>)
        Cascade<T, double>(source, coarse).run();
    else if (sizeof(T) <= 2 && coarse.back().level <= MAX_NARROW_LEVEL)
        Cascade<T, int32_t>(source, coarse).run();
    else
        Cascade<T, int64_t>(source, coarse).run();
}

#define INSTANTIATE(T) template void pool_cpu(Image<const T>, const std::vector<PoolLevel<T>>&);
MAMMOFAST_FOR_PIXEL_TYPES(INSTANTIATE)
#undef INSTANTIATE

}  // namespace mammofast
