// Orders that several ops need.
#pragma once

#include <cstdint>
#include <vector>

namespace mammofast {

// Positions 0..n-1 by rising key, equal keys in the order they came (radix sort, linear in n).
std::vector<int32_t> stable_order(const std::vector<uint32_t>& keys);

// Positions by falling score, ties by lower index. scores: n values in [0, 1].
std::vector<int32_t> falling_order(const float* scores, int64_t n);

}  // namespace mammofast
