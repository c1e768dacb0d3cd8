// Tiles of images as a network's inputs, and what it gives for them put together to maps of the images
// (mammofast/methods/tiling.py). An image that is one tile goes the same way.
#pragma once

#include <cstdint>

namespace mammofast {

constexpr int MOST_CHANNELS = 8;

// Where a tile is cut from: its first pixel may lie outside the image, which is mirrored at its edges, and they are not
// repeated.
struct TileSource {
    const float* pixels;  // rows x cols, at least one
    int32_t rows, cols;
    int32_t top, left;
};

// tiles x channels x rows x cols, float32 or half precision, each channel (pixel - mean) / std in float32.
struct TileInputs {
    void* out;
    bool half;
    int32_t tiles, channels, rows, cols;
    float mean[MOST_CHANNELS], std[MOST_CHANNELS];
};

void cut_tiles_cuda(const TileSource* sources, const TileInputs& inputs, void* stream);

// Where a tile goes. top, left: the place of its first value in the map. Kept is what lies in [row_begin, row_end) x
// [col_begin, col_end) of the map, all of it the tile's.
struct TileTarget {
    float* map;
    int32_t cols;  // of the map
    int32_t top, left;
    int32_t row_begin, row_end, col_begin, col_end;
};

// tiles x rows x cols.
template <typename T>
struct TileValues {
    const T* values;  // float, or the bits of float16
    int32_t tiles, rows, cols;
};

// status: one int32 a tile: STATUS_NOT_FINITE for NaN or Inf anywhere in it, STATUS_UNSOUND for a value outside
// [low, high] (core/status.h).
template <typename T>
void stitch_tiles_cuda(const TileValues<T>& tiles, const TileTarget* targets, double low, double high, int32_t* status,
                       void* stream);

}  // namespace mammofast
