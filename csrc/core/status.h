// What a kernel found wrong with an image's values. Kernels cannot throw and nobody waits for them: they set bits of
// one int32 an image on the device (atomicOr), 0 where all is well.
#pragma once

#include <cstdint>

namespace mammofast {

constexpr int32_t STATUS_UNSOUND = 1;     // a box inside out or not finite, a score or count out of range
constexpr int32_t STATUS_OVERFLOW = 2;    // more results than the output's capacity: those that fit are there
constexpr int32_t STATUS_NOT_FINITE = 4;  // NaN or Inf out of a network

}  // namespace mammofast
