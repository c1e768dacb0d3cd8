// Union-find by all threads at once (Jaiganesh & Burtscher 2018, "A high-performance connected components implementation
// for GPUs"). parents[i] is i at a root and else a smaller node of the same set, so that, whatever the order in which
// the threads come, a set's root is its smallest node in the end.
#pragma once

#include <cstdint>

namespace mammofast {

enum class Memory { SHARED, GLOBAL };

template <Memory MEMORY>
__device__ inline int32_t parent_of(int32_t* parents, int32_t node) {
    if constexpr (MEMORY == Memory::SHARED)
        return atomicOr(&parents[node], 0);  // a plain read beside atomics is a race to compute-sanitizer
    else
        return *static_cast<volatile int32_t*>(&parents[node]);
}

// Shortens the path behind it by half.
template <Memory MEMORY>
__device__ inline int32_t root_of(int32_t* parents, int32_t node) {
    int32_t parent = parent_of<MEMORY>(parents, node);
    while (parent != node) {
        const int32_t above = parent_of<MEMORY>(parents, parent);
        if (above == parent) return parent;
        atomicMin(&parents[node], above);
        node = parent, parent = above;
    }
    return node;
}

template <Memory MEMORY>
__device__ inline void unite(int32_t* parents, int32_t a, int32_t b) {
    for (;;) {
        a = root_of<MEMORY>(parents, a), b = root_of<MEMORY>(parents, b);
        if (a == b) return;
        const int32_t low = a < b ? a : b, high = a < b ? b : a;
        if (atomicCAS(&parents[high], high, low) == high) return;  // else another thread was first: high is no root now
    }
}

}  // namespace mammofast
