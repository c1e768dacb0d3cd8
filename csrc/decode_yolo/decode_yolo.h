// YOLOv3's raw outputs, one class (Redmon & Farhadi 2018, arXiv 1804.02767), to boxes that reach a score.
//
// The cell (row, col) of a head of stride s and an anchor (width, height) give the box of centre
// ((σ(tx) + col) s, (σ(ty) + row) s), of size (width exp(tw), height exp(th)) and of score σ(objectness) σ(class).
// Boxes are rounded to float32 in pixels of the network's input, then, where there is a frame, stretched to its pixels.
// Order: by head, anchor, row, column.
#pragma once

#include <cstdint>
#include <vector>

namespace mammofast {

constexpr int YOLO_ANCHORS = 3;   // to a head
constexpr int YOLO_CHANNELS = 6;  // to an anchor: tx, ty, tw, th, objectness, class
constexpr int YOLO_MOST_HEADS = 8;

// values: (anchors, channels, rows, cols), float32 or the bits of float16; of a batch one after the other.
struct YoloHead {
    const void* values;
    int32_t rows, cols, stride;
    double anchors[YOLO_ANCHORS][2];  // (width, height) in pixels of the network's input
};

struct YoloHeads {
    bool half;
    int n;
    YoloHead head[YOLO_MOST_HEADS];
};

// What the network's input shows, in pixels of the native image.
struct YoloFrame {
    int32_t rows, cols;
};

struct YoloBoxes {
    std::vector<float> boxes;  // n x (x_min, y_min, x_max, y_max)
    std::vector<float> scores;
};

// One image; frame may be null. Throws std::invalid_argument for NaN or Inf in the heads.
YoloBoxes decode_yolo_cpu(const YoloHeads& heads, double threshold, const YoloFrame* frame);

// Where the boxes of a batch go: `capacity` for each image, those that are not there being 0.
struct YoloBatch {
    float* boxes;     // images x capacity x 4
    float* scores;    // images x capacity
    int32_t* counts;  // images
    int32_t* status;  // images, core/status.h
    int64_t images, capacity;
};

// The same for a batch, to the bit; frames: images, or null. Of an image the heads hold less than 2^31 values.
// status: STATUS_NOT_FINITE for NaN or Inf in an image's heads and STATUS_UNSOUND for a negative frame, both without
// boxes; STATUS_OVERFLOW where more boxes reach the score than there is room for, the first ones being there.
void decode_yolo_cuda(const YoloHeads& heads, double threshold, const YoloFrame* frames, const YoloBatch& out,
                      void* stream);

}  // namespace mammofast
