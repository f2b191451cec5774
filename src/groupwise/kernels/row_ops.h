// What the layers of a transformer do to each row by itself, forward and backward. Widths are whole vectors.
#pragma once

#include <cmath>

#include "vector.h"

namespace groupwise {

inline float dot(const float* a, const float* b, int width) {
    Vec total{};
    for (int i = 0; i < width; i += LANES) total += load(a + i) * load(b + i);
    return sum(total);
}

inline float inverse_size(const float* x, int width, float eps) {
    return 1.0f / std::sqrt(dot(x, x, width) / float(width) + eps);
}

// y = x / rms(x) * weight
inline void norm(const float* x, const float* weight, int width, float eps, float* y) {
    const float inverse = inverse_size(x, width, eps);
    for (int i = 0; i < width; i += LANES) store(y + i, load(x + i) * inverse * load(weight + i));
}

// dx += what dy does to it.
inline void norm_backward(const float* x, const float* weight, int width, float eps, const float* dy, float* dx) {
    const float inverse = inverse_size(x, width, eps);
    Vec total{};
    for (int i = 0; i < width; i += LANES) total += load(x + i) * load(dy + i) * load(weight + i);
    const float along = sum(total) * inverse * inverse * inverse / float(width);
    for (int i = 0; i < width; i += LANES) {
        const Vec here = load(x + i), back = load(dy + i);
        store(dx + i, load(dx + i) + inverse * back * load(weight + i) - along * here);
    }
}

// dweight += what dy does to it.
inline void norm_learn(const float* x, int width, float eps, const float* dy, float* dweight) {
    const float inverse = inverse_size(x, width, eps);
    for (int i = 0; i < width; i += LANES) store(dweight + i, load(dweight + i) + inverse * load(dy + i) * load(x + i));
}

// A head turned by the angles of its position: pairs are (i, i + width / 2).
inline void apply_rope(const float* __restrict x, const float* __restrict cos, const float* __restrict sin, int width,
                 float* __restrict y) {
    const int half = width / 2;
    for (int i = 0; i < half; ++i) y[i] = x[i] * cos[i] - x[i + half] * sin[i];
    for (int i = half; i < width; ++i) y[i] = x[i] * cos[i] + x[i - half] * sin[i];
}

inline void apply_rope_backward(const float* __restrict dy, const float* __restrict cos, const float* __restrict sin, int width,
                          float* __restrict dx) {
    const int half = width / 2;
    for (int i = 0; i < half; ++i) dx[i] = dy[i] * cos[i] + dy[i + half] * sin[i + half];
    for (int i = half; i < width; ++i) dx[i] = dy[i] * cos[i] - dy[i - half] * sin[i - half];
}

// y = silu(gate) * up, or gelu(gate) * up
inline void swiglu(const float* gate, const float* up, int width, float* y, bool by_gelu = false) {
    for (int i = 0; i < width; i += LANES) {
        const Vec g = load(gate + i);
        store(y + i, (by_gelu ? gelu(g) : silu(g)) * load(up + i));
    }
}

// Also y again, which the backward pass of what follows needs. `dgate` and `dup` may stand where `gate` and `up` do.
inline void swiglu_backward(const float* gate, const float* up, const float* dy, int width, float* y, float* dgate,
                           float* dup, bool by_gelu = false) {
    for (int i = 0; i < width; i += LANES) {
        const Vec g = load(gate + i), u = load(up + i), back = load(dy + i), share = 1.0f / (1.0f + exp(-g));
        const Vec active = by_gelu ? gelu(g) : g * share;
        const Vec slope = by_gelu ? gelu_slope(g) : share + active * (1.0f - share);
        store(y + i, active * u);
        store(dup + i, back * active);
        store(dgate + i, back * u * slope);
    }
}

// The first `count` of a vector's pool, the others `fill`.
inline Vec some_of(const float* from, int count, float fill) {
    if (count >= LANES) return load(from);
    Vec x = splat(fill);
    for (int i = 0; i < count; ++i) x[i] = from[i];
    return x;
}

struct Chance {
    float logprob, entropy, normaliser;  // the logarithm of the sum of exp(scale * logits)
};

// Of one token under softmax(scale * logits), and of all of them.
inline Chance chance(const float* logits, int count, int64_t target, float scale) {
    const float lowest = -3.0e38f;
    Vec top = splat(lowest);
    for (int i = 0; i < count; i += LANES) top = larger(top, some_of(logits + i, count - i, lowest));
    const float most = largest(top) * scale;
    Vec total{}, weighted{};
    for (int i = 0; i < count; i += LANES) {
        const Vec below = larger(some_of(logits + i, count - i, lowest) * scale - most, splat(-1.0e3f)), p = exp(below);
        total += p;
        weighted += p * below;
    }
    const float all = sum(total), logarithm = std::log(all);
    return {logits[target] * scale - most - logarithm, logarithm - sum(weighted) / all, most + logarithm};
}

// Logits become the gradient of `by` times the token's log-probability.
inline void token_logprob_backward(float* logits, int count, int64_t target, float scale, float normaliser, float by) {
    for (int i = 0; i < count; i += LANES) {
        const Vec p = exp(some_of(logits + i, count - i, -3.0e38f) * scale - normaliser) * (-by * scale);
        if (count - i >= LANES) store(logits + i, p);
        else
            for (int thread_index = 0; thread_index < count - i; ++thread_index) logits[i + thread_index] = p[thread_index];
    }
    logits[target] += by * scale;
}

}  // namespace groupwise
