// Products of bfloat16 numbers, summed in float32, where the processor has instructions for them.
#pragma once

#include <cstdint>
#include <cstring>

#include "vector.h"

#if defined(__AVX512BF16__) && defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace groupwise {

#if defined(__AVX512BF16__) && defined(__AVX512F__)
constexpr bool HAS_BFLOAT = true;

// Sixteen pairs of numbers.
typedef __m512i Pairs;

inline Pairs load_pairs(const uint32_t* from) { return _mm512_loadu_si512(from); }
inline Pairs splat_pair(uint32_t pair) { return _mm512_set1_epi32(int(pair)); }

// sum + a.first * b.first + a.second * b.second
inline Vec multiply_add(Vec sum, Pairs a, Pairs b) { return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b); }

// Rounds sixteen numbers to the nearest.
inline void store_rounded(uint16_t* to, Vec x) { _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh((__m512)x)); }
#else
constexpr bool HAS_BFLOAT = false;

typedef Vec Pairs;

inline Pairs load_pairs(const uint32_t*) { return Vec{}; }
inline Pairs splat_pair(uint32_t) { return Vec{}; }
inline Vec multiply_add(Vec sum, Pairs, Pairs) { return sum; }
inline void store_rounded(uint16_t*, Vec) {}
#endif

inline float widened(uint16_t x) {
    const uint32_t bits = uint32_t(x) << 16;
    float found;
    std::memcpy(&found, &bits, sizeof found);
    return found;
}

}  // namespace groupwise
