// y = W x for several x at once. W lies in panels of 32 outputs, so that a tile of results stays in registers.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "vector.h"

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

// `outputs` rounded up to panels; a panel is [inner][32]. Outputs that do not exist are 0.
struct Matrix {
    int outputs = 0, inner = 0;
    Buffer panels, bias;

    int stride() const { return padded(outputs, PANEL); }
    const float* panel(int number) const { return panels.get() + size_t(number) * inner * PANEL; }

    void shape(int outputs_, int inner_) {
        outputs = outputs_, inner = inner_;
        panels = allocate(size_t(stride()) * inner);
        bias = allocate(stride());
    }

    // Rows of a [rows, inner] weight become outputs `first`, `first + 1`, ...; with `pool` 16 every second half panel.
    void take(const float* weight, const float* given_bias, int rows, int first, bool halves = false) {
        for (int row = 0; row < rows; ++row) {
            const int at = halves ? (row / LANES) * PANEL + row % LANES + first : first + row;
            float* to = panels.get() + size_t(at / PANEL) * inner * PANEL + at % PANEL;
            for (int k = 0; k < inner; ++k) to[size_t(k) * PANEL] = weight[size_t(row) * inner + k];
            if (given_bias) bias[at] = given_bias[row];
        }
    }
};

// Memory that is asked for, `step` bytes further each time, before it is needed.
struct Ahead {
    const char* at;
    int step;
    void ask() { __builtin_prefetch(at, 0, 2), at += step; }
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
inline void tile_of(int rows, const float* x, int stride, const float* panel, int inner, Ahead ahead, const Done& done) {
    if (rows == ROWS) return tile<ROWS>(x, stride, panel, inner, ahead, done);
    if constexpr (ROWS > 1) tile_of<ROWS - 1>(rows, x, stride, panel, inner, ahead, done);
}

// done(row, column, left, right): outputs column .. column + 31 of a row, bias added. Weights do not stay in a core's
// cache from one token to the next: while tiles read one panel, each asks for its share of the one after it.
template <class Done>
inline void multiply(const Matrix& w, const float* x, int stride, int rows, const Done& done) {
    const int tiles = (rows + TILE - 1) / TILE, size = (rows + tiles - 1) / std::max(tiles, 1);
    for (int column = 0; column < w.stride(); column += PANEL) {
        const Vec left = load(&w.bias[column]), right = load(&w.bias[column + LANES]);
        const float* panel = w.panel(column / PANEL);
        Ahead ahead{reinterpret_cast<const char*>(panel + size_t(w.inner) * PANEL), int(PANEL * sizeof(float)) / std::max(tiles, 1)};
        for (int row = 0; row < rows; row += size, ahead.at += ahead.step * w.inner) {
            tile_of<TILE>(std::min(size, rows - row), x + size_t(row) * stride, stride, panel, w.inner, ahead,
                          [&](int i, Vec a, Vec b) { done(row + i, column, a + left, b + right); });
        }
    }
}

}  // namespace groupwise
