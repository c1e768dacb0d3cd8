// How many multiply-adds one core can do: the ceiling that networks and kernels are held against.
#pragma once

#include <cstdint>

namespace mammofast {

enum class Arithmetic { fp32, bf16 };

// Whether this core multiplies and adds in that arithmetic by an instruction of its own.
bool has_arithmetic(Arithmetic arithmetic);

// Do `rounds` rounds of independent multiply-adds in registers, on the calling thread.
// Returns how many scalar multiply-adds that were; 0 where the core lacks the arithmetic.
std::int64_t multiply_add(Arithmetic arithmetic, std::int64_t rounds);

}  // namespace mammofast
