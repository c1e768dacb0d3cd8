// One value through a contrast window, and which stored values a look-up table behind it must list.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "host_device.h"

namespace mammofast {

// clip((value - low) / width, 0, 1)
MAMMOFAST_HD float windowed(double value, double low, double width) {
    const double scaled = (value - low) / width;
    return static_cast<float>(scaled < 0.0 ? 0.0 : scaled > 1.0 ? 1.0 : scaled);
}

constexpr int64_t MAX_LISTED = 1 << 16;  // stored values, where a window alone decides what is listed

// Stored values first .. first + last; a pixel below or above takes the value of the nearest.
struct Listing {
    int64_t first;
    int32_t last;  // -1 where the values are too many to be listed
};

// What is not inside the window becomes 0 or 1, as the integers just below and above it do.
template <typename T>
MAMMOFAST_HD Listing listing_of_window(double low, double high) {
    if constexpr (std::is_floating_point_v<T>) return {0, -1};
    constexpr double highest = static_cast<double>((uint64_t(1) << std::numeric_limits<T>::digits) - 1);
    constexpr double lowest = std::numeric_limits<T>::is_signed ? -highest - 1.0 : 0.0;
    const double below = floor(low), above = ceil(high);
    const double first = below < lowest ? lowest : below > highest ? highest : below;
    const double last = above < lowest ? lowest : above > highest ? highest : above;
    if (last - first >= static_cast<double>(MAX_LISTED)) return {0, -1};
    return {static_cast<int64_t>(first), static_cast<int32_t>(last - first)};
}

// A table lists what it has.
template <typename T>
MAMMOFAST_HD Listing listing_of_table(int64_t first, int64_t n) {
    constexpr int64_t FAR = 1 << 30;  // narrow pixels are looked up in 32 bits: from here on only the side matters
    if constexpr (sizeof(T) <= 2) first = first < -FAR ? -FAR : first > FAR ? FAR : first;
    return {first, static_cast<int32_t>(n - 1)};
}

// Where a stored value is listed.
template <typename T>
MAMMOFAST_HD int32_t listed_at(T stored, Listing listing) {
    using Index = std::conditional_t<sizeof(T) <= 2, int32_t, int64_t>;
    const Index index = static_cast<Index>(stored) - static_cast<Index>(listing.first);
    return index < 0 ? 0 : index > listing.last ? listing.last : static_cast<int32_t>(index);
}

}  // namespace mammofast
