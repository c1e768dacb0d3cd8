// Stored values to network values: grey table, then the contrast window, as float32 in [0, 1].
#pragma once

#include <cstdint>
#include <vector>

#include "array.h"

namespace mammofast {

// values: of stored values first, first + 1, ...; null where values are presentation values already.
struct GreyTable {
    const float* values;
    int64_t n;
    int64_t first;
};

// clip((value - low) / (high - low), 0, 1) of value = table[clip(v - first, 0, n - 1)], computed in double.
struct Contrast {
    double low, high;
};

template <typename T>
class GreyMap {
  public:
    // Throws std::invalid_argument for a table that is not finite.
    GreyMap(GreyTable table, Contrast contrast);

    // Throws std::invalid_argument, naming the argument, for NaN or Inf among the pixels.
    void apply(const T* pixels, float* out, int64_t n, const char* name) const;

  private:
    Contrast contrast_;
    int64_t first_;
    std::vector<float> mapped_;  // the table behind the contrast window
};

}  // namespace mammofast
