// Sixteen floats at a time, in the compiler's own vector type: AVX-512, AVX2 and NEON alike.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace groupwise {

constexpr int LANES = 16;
typedef float Vec __attribute__((vector_size(64)));
typedef float Unaligned __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t Int __attribute__((vector_size(64)));

inline Vec load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
inline void store(float* to, Vec x) { *reinterpret_cast<Unaligned*>(to) = x; }
inline Vec splat(float x) { return Vec{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
inline Vec choose(Int where, Vec yes, Vec no) { return (Vec)(((Int)yes & where) | ((Int)no & ~where)); }
inline Vec larger(Vec a, Vec b) { return choose(a > b, a, b); }
inline Vec smaller(Vec a, Vec b) { return choose(a < b, a, b); }

inline float sum(Vec x) {
    float total = 0;
    for (int i = 0; i < LANES; ++i) total += x[i];
    return total;
}

inline float largest(Vec x) {
    float found = x[0];
    for (int i = 1; i < LANES; ++i) found = x[i] > found ? x[i] : found;
    return found;
}

template <class Count>
constexpr Count padded(Count count, int to = LANES) {
    return (count + to - 1) / to * to;
}

// e^x to two units in the last place; 0 below -87. (Cephes' polynomial after x = n ln 2 + r.)
inline Vec exp(Vec x) {
    const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    const Vec y = larger(smaller(x, splat(88.0f)), splat(-88.0f));
    const Vec shifted = y * 1.44269504088896341f + magic;
    const Vec n = shifted - magic;
    const Vec r = (y - n * 0.693359375f) + n * 2.12194440e-4f;
    Vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    const Vec power = (Vec)(((Int)shifted - (Int)splat(magic) + 127) << 23);
    return choose(x < -87.0f, Vec{}, p * power);
}

inline Vec tanh(Vec x) {
    const Vec z = x * x;
    Vec p = z * -5.70498872745e-3f + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    const Vec near = p * z * x + x;
    const Vec far = 1.0f - 2.0f / (exp(x + x) + 1.0f);
    return choose(z < 0.390625f, near, far);
}

inline Vec silu(Vec x) { return x / (1.0f + exp(-x)); }

// The tanh form.
inline Vec gelu(Vec x) { return 0.5f * x * (1.0f + tanh(0.7978845608028654f * (x + 0.044715f * x * x * x))); }
inline Vec gelu_slope(Vec x) {
    const Vec t = tanh(0.7978845608028654f * (x + 0.044715f * x * x * x));
    return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.7978845608028654f * (1.0f + 3.0f * 0.044715f * x * x);
}

}  // namespace groupwise
