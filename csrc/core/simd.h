// MAMMOFAST_SIMD before a function compiles it for several instruction sets; the loader picks one at run time.
//
// The build never contracts a multiplication and an addition and never reorders floating-point sums, so every clone
// gives the same bits. Sanitizers cannot run the loader's resolver functions, hence the plain function there.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && \
    __GNUC__ >= 12 && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define MAMMOFAST_SIMD __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define MAMMOFAST_SIMD
#endif

#define MAMMOFAST_RESTRICT __restrict__
