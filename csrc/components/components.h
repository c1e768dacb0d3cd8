// What is told of the components of a mask (label_mask) beside their boxes and areas: how probable they are, and their
// own bits.
#pragma once

#include <cstdint>

namespace mammofast {

// Labels of an image on a device: 0, or i + 1 for component i.
struct Labels {
    const int32_t* labels;  // rows x cols
    int32_t rows, cols;
};

// A map of probabilities, finite, and the pixels of the image that it is stretched to, x_min < x_max, y_min < y_max.
struct ProbabilityMap {
    const float* values;  // rows x cols
    int32_t rows, cols;
    int32_t x_min, y_min, x_max, y_max;
};

constexpr double PROBABILITY_ONE = int64_t(1) << 30;  // probabilities are summed as multiples of 2^-30, halves up

// sums: for each component the sum over its pixels of the map's value that each lies in: its pixels divided evenly
// among the map's. Components behind `capacity` are left out.
void component_sums_cuda(const Labels& labels, const ProbabilityMap& map, int64_t capacity, int64_t* sums,
                         void* stream);

// A component and the box of the image that it is wanted in.
struct Piece {
    int32_t number, x_min, y_min, x_max, y_max;  // number: from 0
    int64_t offset;                              // of its first byte

    int64_t row_bytes() const { return (int64_t(x_max) - x_min + 7) / 8; }
};

// bits: each piece's mask, a bit a pixel, rows padded to bytes, the first pixel in a byte's highest bit.
// pieces: on the device; most_bytes: of the largest one.
void component_bits_cuda(const Labels& labels, const Piece* pieces, int64_t n, int64_t most_bytes, uint8_t* bits,
                         void* stream);

}  // namespace mammofast
