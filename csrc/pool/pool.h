// Levels of an image's pyramid.
//
// Level k is the mean over 2^k x 2^k squares; squares at the far edges average the pixels they have; shape
// ceil(size / 2^k). Integers: exact sums, mean rounded half up (towards +Inf), type kept. Floats: sums in double, then
// float32; NaN, Inf and means past float32 throw.
#pragma once

#include <cstdint>
#include <type_traits>
#include <vector>

#include "../core/array.h"

namespace mammofast {

template <typename T>
using Pooled = std::conditional_t<std::is_floating_point_v<T>, float, T>;

template <typename T>
struct PoolLevel {
    int level;
    Image<Pooled<T>> out;
};

constexpr int MAX_LEVEL = 15;  // a square of 2^15 x 2^15 pixels of 32 bits sums to less than 2^62

// levels: rising and distinct, each 0..MAX_LEVEL; each out has the shape above. Reads the source once.
template <typename T>
void pool_cpu(Image<const T> source, const std::vector<PoolLevel<T>>& levels);

}  // namespace mammofast
