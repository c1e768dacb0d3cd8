// The pixel types that ops on images are compiled for.
#pragma once

#include <cstdint>

#define MAMMOFAST_FOR_PIXEL_TYPES(DO) \
    DO(uint8_t) DO(int8_t) DO(uint16_t) DO(int16_t) DO(uint32_t) DO(int32_t) DO(float) DO(double)
