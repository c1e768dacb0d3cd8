#include "order.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "simd.h"

namespace mammofast {
namespace {

// Wider digits would need fewer passes, but clearing and adding up their counters is most of the work on few keys:
// with 11 bits, 100 boxes took 3 µs longer and 10,000 no less.
constexpr int DIGIT_BITS = 8;
constexpr int DIGITS = 4;
constexpr uint32_t RADIX = 1u << DIGIT_BITS;

// Up to here comparing every key with every other one, a vector at a time, is faster than counting digits.
constexpr int FEW = 128;

// below[i] = how many of n keys are less than keys[i]. Both have FEW places.
MAMMOFAST_SIMD void count_below(const uint32_t* MAMMOFAST_RESTRICT keys, int n, uint32_t* MAMMOFAST_RESTRICT below) {
    constexpr int CHUNK = 32;  // counters that fit registers
    for (int first = 0; first < n; first += CHUNK) {
        uint32_t counts[CHUNK] = {};
        for (int other = 0; other < n; ++other)
            for (int i = 0; i < CHUNK; ++i) counts[i] += keys[other] < keys[first + i];
        for (int i = 0; i < CHUNK; ++i) below[first + i] = counts[i];
    }
}

std::vector<int32_t> stable_order_of_few(const std::vector<uint32_t>& keys) {
    const int n = static_cast<int>(keys.size());
    uint32_t padded[FEW] = {}, below[FEW];
    std::copy(keys.begin(), keys.end(), padded);
    count_below(padded, n, below);
    std::vector<int32_t> order(n);
    uint8_t equal_before[FEW] = {};
    for (int i = 0; i < n; ++i) order[below[i] + equal_before[below[i]]++] = i;
    return order;
}

}  // namespace

std::vector<int32_t> stable_order(const std::vector<uint32_t>& keys) {
    const size_t n = keys.size();
    if (n <= FEW) return stable_order_of_few(keys);
    std::vector<int32_t> order(n), scratch(n);
    for (size_t i = 0; i < n; ++i) order[i] = static_cast<int32_t>(i);

    std::array<std::array<uint32_t, RADIX>, DIGITS> counts{};
    for (uint32_t key : keys)
        for (int digit = 0; digit < DIGITS; ++digit) ++counts[digit][(key >> (digit * DIGIT_BITS)) % RADIX];

    for (int digit = 0; digit < DIGITS; ++digit) {
        auto& start = counts[digit];
        const int shift = digit * DIGIT_BITS;
        if (start[(keys[0] >> shift) % RADIX] == n) continue;  // all keys share this digit
        uint32_t total = 0;
        for (uint32_t& entry : start) {
            const uint32_t count = entry;
            entry = total;
            total += count;
        }
        for (int32_t index : order) scratch[start[(keys[index] >> shift) % RADIX]++] = index;
        order.swap(scratch);
    }
    return order;
}

std::vector<int32_t> falling_order(const float* scores, int64_t n) {
    // The bits of non-negative floats rise with their values; adding 0 turns -0 into 0.
    constexpr uint32_t ONE_BITS = 0x3F800000;
    std::vector<uint32_t> keys(n);
    for (int64_t i = 0; i < n; ++i) {
        const float score = scores[i] + 0.0f;
        uint32_t bits;
        std::memcpy(&bits, &score, sizeof bits);
        keys[i] = ONE_BITS - bits;
    }
    return stable_order(keys);
}

}  // namespace mammofast
