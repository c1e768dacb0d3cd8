#include "grey.h"

#include <algorithm>
#include <type_traits>

#include "checks.h"
#include "grey_math.h"
#include "simd.h"
#include "types.h"

namespace mammofast {
namespace {

// Returns whether all values were finite.
template <typename T>
MAMMOFAST_SIMD bool window(const T* MAMMOFAST_RESTRICT values, float* MAMMOFAST_RESTRICT out, int64_t n, double low,
                           double width) {
    int64_t bad = 0;
    for (int64_t i = 0; i < n; ++i) {
        const double value = static_cast<double>(values[i]);
        out[i] = windowed(value, low, width);
        if constexpr (std::is_floating_point_v<T>) bad += !is_finite(value);
    }
    return bad == 0;
}

template <typename T>
MAMMOFAST_SIMD void look_up(const T* MAMMOFAST_RESTRICT pixels, float* MAMMOFAST_RESTRICT out, int64_t n,
                            const float* MAMMOFAST_RESTRICT table, int64_t first, int64_t last) {
    for (int64_t i = 0; i < n; ++i) {
        const int64_t index = static_cast<int64_t>(pixels[i]) - first;
        out[i] = table[index < 0 ? 0 : index > last ? last : index];
    }
}

}  // namespace

template <typename T>
GreyMap<T>::GreyMap(GreyTable table, Contrast contrast) : contrast_(contrast), first_(table.first) {
    if (table.values == nullptr) return;
    mapped_.resize(table.n);
    if (!window(table.values, mapped_.data(), table.n, contrast.low, contrast.high - contrast.low))
        fail_not_finite("table");
}

template <typename T>
void GreyMap<T>::apply(const T* pixels, float* out, int64_t n, const char* name) const {
    if constexpr (std::is_integral_v<T>) {
        if (!mapped_.empty()) {
            look_up(pixels, out, n, mapped_.data(), first_, static_cast<int64_t>(mapped_.size()) - 1);
            return;
        }
    }
    if (!window(pixels, out, n, contrast_.low, contrast_.high - contrast_.low)) fail_not_finite(name);
}

#define INSTANTIATE(T) template class GreyMap<T>;
MAMMOFAST_FOR_PIXEL_TYPES(INSTANTIATE)
#undef INSTANTIATE

}  // namespace mammofast
