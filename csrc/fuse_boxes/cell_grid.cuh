// The grid of all box edges of one image, in the memory of one thread block.
//
// An axis has a cell between each two edges in their order. Equal edges stand at the first of their places; the cells
// between them have no width, take part in whatever the cell after them does, and neither begin nor end a component.
#pragma once

#include <cstdint>

#include "../core/host_device.h"

namespace mammofast {

constexpr int32_t NO_EDGE = 2147483647;  // of a vote that does not count: behind all that do

// What enough votes agree on; in cells, half-open.
struct CellBox {
    int32_t x_min, y_min, x_max, y_max;
    int32_t peak;
};

struct CellGrid {
    int32_t n;             // votes
    int32_t cols, rows;    // cells, known once the edges are ranked
    int32_t most_boxes;    // components that there is room for
    int32_t* weights;      // by vote; 0 where it does not count
    int32_t* edges;        // (2, n, 2): x, y; by vote; low, high
    int32_t* places;       // the same in cells
    int32_t* coordinates;  // (2, 2 n): x, y; by cell: the edge where it begins
    int32_t* row_roots;    // by row of cells
    int32_t* sums;         // by cell
    int32_t* parents;      // by cell: union-find
    CellBox* boxes;        // by component

    // memory: size(votes, capacity) values.
    MAMMOFAST_HD CellGrid(int32_t* memory, int64_t votes, int64_t capacity)
        : n(static_cast<int32_t>(votes)), cols(0), rows(0), most_boxes(boxes_of(votes, capacity)) {
        weights = memory;
        edges = weights + n;
        places = edges + 4 * n;
        coordinates = places + 4 * n;
        row_roots = coordinates + 4 * n;
        sums = row_roots + 2 * n;
        parents = sums + cells_of(n);
        boxes = reinterpret_cast<CellBox*>(parents + cells_of(n));
    }

    MAMMOFAST_HD static int64_t size(int64_t n, int64_t capacity) {
        return 15 * n + 2 * cells_of(n) + boxes_of(n, capacity) * int64_t(sizeof(CellBox) / sizeof(int32_t));
    }

    MAMMOFAST_HD static int64_t cells_of(int64_t n) { return n > 0 ? (2 * n - 1) * (2 * n - 1) : 0; }

    // Components do not touch: each has a cell of its own among those with two even indices, or next to it.
    MAMMOFAST_HD static int32_t boxes_of(int64_t n, int64_t capacity) {
        return static_cast<int32_t>(n * n < capacity ? n * n : capacity);
    }
};

}  // namespace mammofast
