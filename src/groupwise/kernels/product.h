// C = A B for matrices that stay in cache: what attention over short sequences is made of.
#pragma once

#include <cstddef>

#include "vector.h"

namespace groupwise {

#if defined(__AVX512F__)
constexpr int BLOCK_ROWS = 6, BLOCK_VECTORS = 4;  // 24 accumulators of 32 registers
#else
constexpr int BLOCK_ROWS = 3, BLOCK_VECTORS = 2;
#endif

// Element (i, j) is data[i * row + j * column].
struct Left {
    const float* data;
    ptrdiff_t row, column;
};

template <int ROWS, int VECTORS>
inline void block(int inner, Left a, const float* b, ptrdiff_t b_row, float* c, ptrdiff_t c_row, bool add) {
    Vec sums[ROWS][VECTORS] = {};
    for (int k = 0; k < inner; ++k) {
        Vec right[VECTORS];
#pragma GCC unroll 8
        for (int j = 0; j < VECTORS; ++j) right[j] = load(b + k * b_row + j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; ++i) {
            const Vec left = splat(a.data[i * a.row + k * a.column]);
#pragma GCC unroll 8
            for (int j = 0; j < VECTORS; ++j) sums[i][j] += left * right[j];
        }
    }
    for (int i = 0; i < ROWS; ++i) {
        for (int j = 0; j < VECTORS; ++j) {
            float* to = c + i * c_row + j * LANES;
            store(to, add ? load(to) + sums[i][j] : sums[i][j]);
        }
    }
}

template <int ROWS, int VECTORS>
inline void some_rows(int rows, int inner, Left a, const float* b, ptrdiff_t b_row, float* c, ptrdiff_t c_row, bool add) {
    for (; rows >= ROWS; rows -= ROWS, a.data += ROWS * a.row, c += ROWS * c_row) {
        block<ROWS, VECTORS>(inner, a, b, b_row, c, c_row, add);
    }
    if constexpr (ROWS > 1) {
        if (rows) some_rows<ROWS - 1, VECTORS>(rows, inner, a, b, b_row, c, c_row, add);
    }
}

template <int VECTORS>
inline void some_columns(int rows, int vectors, int inner, Left a, const float* b, ptrdiff_t b_row, float* c,
                         ptrdiff_t c_row, bool add) {
    for (; vectors >= VECTORS; vectors -= VECTORS, b += VECTORS * LANES, c += VECTORS * LANES) {
        some_rows<BLOCK_ROWS, VECTORS>(rows, inner, a, b, b_row, c, c_row, add);
    }
    if constexpr (VECTORS > 1) {
        if (vectors) some_columns<VECTORS - 1>(rows, vectors, inner, a, b, b_row, c, c_row, add);
    }
}

// C [rows, columns] = A [rows, inner] B [inner, columns], or C += A B. Columns in whole vectors.
inline void product(int rows, int columns, int inner, Left a, const float* b, ptrdiff_t b_row, float* c, ptrdiff_t c_row,
                    bool add) {
    some_columns<BLOCK_VECTORS>(rows, columns / LANES, inner, a, b, b_row, c, c_row, add);
}

}  // namespace groupwise
