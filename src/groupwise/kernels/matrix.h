// y = W x for several x at once. W lies in panels of 32 outputs, so that a tile of results stays in registers.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <vector>

#include "bfloat.h"

namespace groupwise {

constexpr int PANEL = 2 * LANES;
#if defined(__AVX512F__)
constexpr int TILE = 12;  // rows of a tile: 24 accumulators of 32 registers
#elif defined(__aarch64__)
constexpr int TILE = 3;
#else
constexpr int TILE = 3;
#endif

struct Free {
    void operator()(float* data) const { std::free(data); }
};
typedef std::unique_ptr<float[], Free> Buffer;

// Zeros, or whatever was there where nobody reads before writing. Large ones lie on large pages of memory where the system
// has them: what is read once a token is read faster.
inline Buffer allocate(size_t floats, bool zeros = true) {
    const size_t large = size_t(1) << 21, wanted = std::max<size_t>(floats, 1) * sizeof(float);
    const size_t unit = wanted < large ? 64 : large, bytes = (wanted + unit - 1) / unit * unit;
    void* data = std::aligned_alloc(unit, bytes);
    if (!data) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
    if (unit == large) madvise(data, bytes, MADV_HUGEPAGE);
#endif
    if (zeros) std::memset(data, 0, bytes);
    return Buffer(static_cast<float*>(data));
}

// `outputs` rounded up to panels; a panel is [inner][32], in half precision [inner / 2][32] pairs. Outputs that do not exist
// are 0.
struct Matrix {
    int outputs = 0, inner = 0;
    bool half = false;
    float* panels = nullptr;
    Buffer own, bias;  // own: of the panels, where they do not lie in memory of somebody else

    int stride() const { return padded(outputs, PANEL); }
    int depth() const { return half ? (inner + 1) / 2 : inner; }  // of a panel, in rows of 32 words
    size_t size() const { return size_t(stride()) * depth(); }    // of all panels, in words
    const float* panel(int number) const { return panels + size_t(number) * depth() * PANEL; }

    // `place`: zeros for the panels; else it makes room of its own.
    void shape(int outputs_, int inner_, bool half_, float* place = nullptr) {
        outputs = outputs_, inner = inner_, half = half_;
        if (!place) own = allocate(size());
        panels = place ? place : own.get();
        bias = allocate(stride());
    }

    // Rows of a [rows, inner] weight become outputs `first`, `first + 1`, ...; with `pool` 16 every second half panel.
    void take(const void* weight, const float* given_bias, int rows, int first, bool halves = false) {
        for (int row = 0; row < rows; ++row) {
            const int at = halves ? (row / LANES) * PANEL + row % LANES + first : first + row;
            float* to = panels + size_t(at / PANEL) * depth() * PANEL + at % PANEL;
            if (half) take_pairs(static_cast<const uint16_t*>(weight) + size_t(row) * inner, reinterpret_cast<uint16_t*>(to));
            else
                for (int k = 0; k < inner; ++k) to[size_t(k) * PANEL] = static_cast<const float*>(weight)[size_t(row) * inner + k];
            if (given_bias) bias[at] = given_bias[row];
        }
    }

  private:
    void take_pairs(const uint16_t* from, uint16_t* to) {
        for (int k = 0; k < inner; ++k) to[size_t(k / 2) * PANEL * 2 + k % 2] = from[k];
    }
};

// Memory that is asked for, `step` bytes further each time, before it is needed: at most two lines of it.
struct Ahead {
    static constexpr int LINE = 64;
    const char* at;
    int step;
    void ask() {
        __builtin_prefetch(at, 0, 2);
        if (step > LINE) __builtin_prefetch(at + LINE, 0, 2);
        at += step;
    }
};

// Each result is one chain of fused multiply-adds over k: the same bits for any number of rows beside it.
template <int ROWS, class Done>
inline void tile(const float* x, int stride, const float* panel, int inner, Ahead ahead, const Done& done) {
    Vec left[ROWS] = {}, right[ROWS] = {};
    for (int k = 0; k < inner; ++k, panel += PANEL) {
        ahead.ask();
        const Vec first = load(panel), second = load(panel + LANES);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) {
            const Vec value = splat(x[size_t(i) * stride + k]);
            left[i] += value * first;
            right[i] += value * second;
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) done(i, left[i], right[i]);
}

template <int ROWS, class Done>
inline void tile(const uint32_t* x, int stride, const float* panel, int depth, Ahead ahead, const Done& done) {
    Vec left[ROWS] = {}, right[ROWS] = {};
    const uint32_t* pairs = reinterpret_cast<const uint32_t*>(panel);
    for (int k = 0; k < depth; ++k, pairs += PANEL) {
        ahead.ask();
        const Pairs first = load_pairs(pairs), second = load_pairs(pairs + LANES);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) {
            const Pairs value = splat_pair(x[size_t(i) * stride + k]);
            left[i] = multiply_add(left[i], value, first);
            right[i] = multiply_add(right[i], value, second);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) done(i, left[i], right[i]);
}

template <int ROWS, class X, class Done>
inline void tile_of(int rows, const X* x, int stride, const float* panel, int inner, Ahead ahead, const Done& done) {
    if (rows == ROWS) return tile<ROWS>(x, stride, panel, inner, ahead, done);
    if constexpr (ROWS > 1) tile_of<ROWS - 1>(rows, x, stride, panel, inner, ahead, done);
}

// done(row, column, left, right): outputs column .. column + 31 of a row, bias added. Weights do not stay in a core's
// cache from one token to the next: while tiles read one panel, each asks for its share of the one after it.
template <class X, class Done>
inline void multiply_panels(const Matrix& w, const X* x, int stride, int rows, const Done& done) {
    const int tiles = (rows + TILE - 1) / TILE, size = (rows + tiles - 1) / std::max(tiles, 1);
    for (int column = 0; column < w.stride(); column += PANEL) {
        const Vec left = load(&w.bias[column]), right = load(&w.bias[column + LANES]);
        const float* panel = w.panel(column / PANEL);
        Ahead ahead{reinterpret_cast<const char*>(panel + size_t(w.depth()) * PANEL), int(PANEL * sizeof(float)) / std::max(tiles, 1)};
        for (int row = 0; row < rows; row += size, ahead.at += ahead.step * w.depth()) {
            tile_of<TILE>(std::min(size, rows - row), x + size_t(row) * stride, stride, panel, w.depth(), ahead,
                          [&](int i, Vec a, Vec b) { done(row + i, column, a + left, b + right); });
        }
    }
}

// `stride` is whole vectors, and x is 0 beyond what the layer reads. In half precision x is rounded first.
template <class Done>
inline void multiply(const Matrix& w, const float* x, int stride, int rows, const Done& done) {
    if (!w.half) return multiply_panels(w, x, stride, rows, done);
    thread_local std::vector<uint32_t> rounded;
    const size_t words = size_t(rows) * size_t(stride) / 2;
    if (rounded.size() < words) rounded.resize(words);
    for (size_t i = 0; i < 2 * words; i += LANES) store_rounded(reinterpret_cast<uint16_t*>(rounded.data()) + i, load(x + i));
    multiply_panels(w, rounded.data(), stride / 2, rows, done);
}

}  // namespace groupwise
