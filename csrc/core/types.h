// The pixel types that ops on images are compiled for.
#pragma once

#include <cstdint>

#define MAMMOFAST_FOR_PIXEL_TYPES(DO) \
    DO(uint8_t) DO(int8_t) DO(uint16_t) DO(int16_t) DO(uint32_t) DO(int32_t) DO(float) DO(double)

namespace mammofast {

enum class PixelType : int32_t { UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, FLOAT64 };

// Calls visit(T{}) with the C++ type.
template <typename Visit>
auto with_pixel_type(PixelType type, Visit visit) {
    switch (type) {
        case PixelType::UINT8: return visit(uint8_t{});
        case PixelType::INT8: return visit(int8_t{});
        case PixelType::UINT16: return visit(uint16_t{});
        case PixelType::INT16: return visit(int16_t{});
        case PixelType::UINT32: return visit(uint32_t{});
        case PixelType::INT32: return visit(int32_t{});
        case PixelType::FLOAT32: return visit(float{});
        default: return visit(double{});
    }
}

}  // namespace mammofast
