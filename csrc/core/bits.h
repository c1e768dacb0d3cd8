// Searching rows of bits, 64 to a word.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace mammofast {

// First set bit at or after position, or the number of bits.
inline int32_t next_set(const std::vector<uint64_t>& words, int32_t position) {
    const int32_t n = static_cast<int32_t>(words.size()) * 64;
    if (position >= n) return n;
    int32_t word = position / 64;
    uint64_t bits = words[word] >> (position % 64) << (position % 64);
    while (bits == 0) {
        if (++word == static_cast<int32_t>(words.size())) return n;
        bits = words[word];
    }
    return word * 64 + std::countr_zero(bits);
}

// First clear bit at or after position, or the number of bits.
inline int32_t next_clear(const std::vector<uint64_t>& words, int32_t position) {
    const int32_t n = static_cast<int32_t>(words.size()) * 64;
    if (position >= n) return n;
    int32_t word = position / 64;
    uint64_t bits = ~words[word] >> (position % 64) << (position % 64);
    while (bits == 0) {
        if (++word == static_cast<int32_t>(words.size())) return n;
        bits = ~words[word];
    }
    return word * 64 + std::countr_zero(bits);
}

}  // namespace mammofast
