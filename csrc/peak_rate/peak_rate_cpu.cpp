#include "peak_rate.h"

#if defined(__x86_64__) && defined(__GNUC__) && (!defined(__clang__) || __clang_major__ >= 12)
#define MAMMOFAST_X86
#include <immintrin.h>
#endif

namespace mammofast {
namespace {

// A multiply-add takes 4 cycles and two can start in each: eight at least must be under way, twelve leave room.
constexpr int kChains = 12;

// What was computed must be used, or the compiler leaves it out.
volatile float sink;

[[maybe_unused]] std::int64_t scalar(std::int64_t rounds) {
    float sums[kChains] = {};
    for (std::int64_t i = 0; i < rounds; ++i) {
        for (float& sum : sums) sum = sum * 0.5F + 1.0F;
    }
    for (float sum : sums) sink = sum;
    return rounds * kChains;
}

#ifdef MAMMOFAST_X86

__attribute__((target("avx2,fma"))) std::int64_t avx2(std::int64_t rounds) {
    const __m256 factor = _mm256_set1_ps(0.5F), one = _mm256_set1_ps(1.0F);
    __m256 sums[kChains];
    for (__m256& sum : sums) sum = one;
    for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
        for (int k = 0; k < kChains; ++k) sums[k] = _mm256_fmadd_ps(sums[k], factor, one);
    }
    for (const __m256& sum : sums) sink = _mm256_cvtss_f32(sum);
    return rounds * kChains * 8;
}

__attribute__((target("avx512f"))) std::int64_t avx512(std::int64_t rounds) {
    const __m512 factor = _mm512_set1_ps(0.5F), one = _mm512_set1_ps(1.0F);
    __m512 sums[kChains];
    for (__m512& sum : sums) sum = one;
    for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
        for (int k = 0; k < kChains; ++k) sums[k] = _mm512_fmadd_ps(sums[k], factor, one);
    }
    for (const __m512& sum : sums) sink = _mm512_cvtss_f32(sum);
    return rounds * kChains * 16;
}

__attribute__((target("avx512f,avx512bf16"))) std::int64_t avx512_bf16(std::int64_t rounds) {
    const __m512bh values = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5F), _mm512_set1_ps(0.5F));
    __m512 sums[kChains];
    for (__m512& sum : sums) sum = _mm512_setzero_ps();
    for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
        for (int k = 0; k < kChains; ++k) sums[k] = _mm512_dpbf16_ps(sums[k], values, values);
    }
    for (const __m512& sum : sums) sink = _mm512_cvtss_f32(sum);
    return rounds * kChains * 32;  // two products for each of the sixteen sums
}

#endif

}  // namespace

bool has_arithmetic(Arithmetic arithmetic) {
#ifdef MAMMOFAST_X86
    if (arithmetic == Arithmetic::bf16) return __builtin_cpu_supports("avx512bf16") != 0;
#endif
    return arithmetic == Arithmetic::fp32;
}

std::int64_t multiply_add(Arithmetic arithmetic, std::int64_t rounds) {
    if (!has_arithmetic(arithmetic)) return 0;
#ifdef MAMMOFAST_X86
    if (arithmetic == Arithmetic::bf16) return avx512_bf16(rounds);
    if (__builtin_cpu_supports("avx512f")) return avx512(rounds);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2(rounds);
#endif
    return scalar(rounds);
}

}  // namespace mammofast
