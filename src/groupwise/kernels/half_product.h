// Products of bfloat16 numbers with sums in float32: the larger operand in panels of pairs along the inner dimension, the
// other rounded as it is needed. Each result is summed in one order, whatever rows or columns are made beside it.
#pragma once

#include <algorithm>
#include <vector>

#include "bfloat.h"
#include "matrix.h"
#include "threads.h"

namespace groupwise {

constexpr int PAIR_ROWS = 6, PAIR_VECTORS = 4, PAIR_COLUMNS = PAIR_VECTORS * LANES;  // 24 accumulators of 32 registers
constexpr int DEEP = 128;  // pairs between two visits of a result: so much of a panel stays in the nearest cache

inline int pairs_of(int inner) { return (inner + 1) / 2; }
inline size_t panel_words(int columns, int inner) { return size_t(padded(columns, PAIR_COLUMNS)) * size_t(pairs_of(inner)); }

// Pair (i, k) is data[i * row + k * column].
struct PairLeft {
    const uint32_t* data;
    ptrdiff_t row, column;
};

// Two rows of sixteen numbers as sixteen pairs, the upper row's first.
inline void store_pairs(uint32_t* to, const float* first, const float* second) {
    alignas(64) uint16_t low[LANES] = {}, high[LANES] = {};
    store_rounded(low, load(first));
    if (second) store_rounded(high, load(second));
    for (int i = 0; i < LANES; ++i) to[i] = uint32_t(low[i]) | uint32_t(high[i]) << 16;
}

inline void store_pairs(uint32_t* to, const uint16_t* first, const uint16_t* second) {
    for (int i = 0; i < LANES; ++i) to[i] = uint32_t(first[i]) | (second ? uint32_t(second[i]) << 16 : 0u);
}

inline uint16_t rounded(float x) {
    alignas(64) uint16_t all[LANES] = {};
    store_rounded(all, splat(x));
    return all[0];
}
inline uint16_t rounded(uint16_t x) { return x; }

// Rows `first` and `second` (or zeros) of `columns` numbers as a row of pairs.
template <class T>
inline void pair_rows(const T* first, const T* second, int columns, uint32_t* to) {
    int i = 0;
    for (; i + LANES <= columns; i += LANES) store_pairs(to + i, first + i, second ? second + i : nullptr);
    for (; i < columns; ++i) to[i] = uint32_t(rounded(first[i])) | (second ? uint32_t(rounded(second[i])) << 16 : 0u);
}

// One panel of [inner, columns] numbers, whose rows are the inner dimension; columns from `from`.
template <class T>
inline void panel_of_rows(const T* x, int64_t stride, int inner, int columns, int from, uint32_t* to) {
    const int count = std::min(PAIR_COLUMNS, columns - from);
    for (int k = 0; k < inner; k += 2, to += PAIR_COLUMNS) {
        const T* first = x + k * stride + from;
        pair_rows(first, k + 1 < inner ? first + stride : nullptr, count, to);
        std::fill(to + count, to + PAIR_COLUMNS, 0u);
    }
}

// One panel of [columns, inner] numbers, whose columns are the inner dimension; rows from `from`.
inline void panel_of_columns(const uint16_t* x, int64_t stride, int inner, int columns, int from, uint32_t* to) {
    const int count = std::min(PAIR_COLUMNS, columns - from), depth = pairs_of(inner);
    constexpr int STEP = 16;
    for (int start = 0; start < depth; start += STEP) {
        const int end = std::min(depth, start + STEP);
        for (int column = 0; column < count; ++column) {
            const uint16_t* row = x + (from + column) * stride;
            for (int k = start; k < end; ++k)
                to[size_t(k) * PAIR_COLUMNS + size_t(column)] =
                    uint32_t(row[2 * k]) | (2 * k + 1 < inner ? uint32_t(row[2 * k + 1]) << 16 : 0u);
        }
        for (int k = start; k < end; ++k) std::fill(&to[size_t(k) * PAIR_COLUMNS + size_t(count)], &to[size_t(k + 1) * PAIR_COLUMNS], 0u);
    }
}

template <int ROWS>
inline void pair_block(int depth, PairLeft a, const uint32_t* panel, float* c, ptrdiff_t c_row, int columns, bool add) {
    Vec sums[ROWS][PAIR_VECTORS] = {};
    for (int k = 0; k < depth; ++k, panel += PAIR_COLUMNS) {
        Pairs right[PAIR_VECTORS];
#pragma GCC unroll 8
        for (int j = 0; j < PAIR_VECTORS; ++j) right[j] = load_pairs(panel + j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; ++i) {
            const Pairs left = splat_pair(a.data[i * a.row + k * a.column]);
#pragma GCC unroll 8
            for (int j = 0; j < PAIR_VECTORS; ++j) sums[i][j] = multiply_add(sums[i][j], left, right[j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 8
        for (int j = 0; j < PAIR_VECTORS; ++j) {
            float* to = c + i * c_row + j * LANES;
            const int left = columns - j * LANES;
            if (left >= LANES) store(to, add ? load(to) + sums[i][j] : sums[i][j]);
            else
                for (int lane = 0; lane < left; ++lane) to[lane] = add ? to[lane] + sums[i][j][lane] : sums[i][j][lane];
        }
    }
}

template <int ROWS>
inline void pair_rows_of(int rows, int depth, PairLeft a, const uint32_t* panel, float* c, ptrdiff_t c_row, int columns, bool add) {
    for (; rows >= ROWS; rows -= ROWS, a.data += ROWS * a.row, c += ROWS * c_row)
        pair_block<ROWS>(depth, a, panel, c, c_row, columns, add);
    if constexpr (ROWS > 1) {
        if (rows) pair_rows_of<ROWS - 1>(rows, depth, a, panel, c, c_row, columns, add);
    }
}

// C [rows, columns] = A B, or C += A B; B in panels one after the other, `depth` pairs each.
inline void pair_product(int rows, int columns, int depth, PairLeft a, const uint32_t* panels, float* c, ptrdiff_t c_row, bool add) {
    for (int k = 0; k < depth; k += DEEP, a.data += DEEP * a.column) {
        const int deep = std::min(DEEP, depth - k);
        const uint32_t* panel = panels + size_t(k) * PAIR_COLUMNS;
        for (int from = 0; from < columns; from += PAIR_COLUMNS, panel += size_t(depth) * PAIR_COLUMNS)
            pair_rows_of<PAIR_ROWS>(rows, deep, a, panel, c + from, c_row, columns - from, add || k);
    }
}

// This thread's room for what is rounded.
inline uint32_t* room(int number, size_t words) {
    thread_local std::vector<uint32_t> held[2];
    if (held[number].size() < words) held[number].resize(words);
    return held[number].data();
}

// C = A B or C += A B of rows [rows, inner] that are rounded first.
inline void product_of_rows(const float* x, int64_t stride, int rows, int inner, const uint32_t* panels, int columns, float* y, int64_t y_row,
                            bool add) {
    const int depth = pairs_of(inner);
    uint32_t* left = room(0, size_t(rows) * size_t(depth));
    for (int row = 0; row < rows; ++row) {
        uint16_t* to = reinterpret_cast<uint16_t*>(left + int64_t(row) * depth);
        const float* from = x + row * stride;
        int i = 0;
        for (; i + LANES <= inner; i += LANES) store_rounded(to + i, load(from + i));
        for (; i < 2 * depth; ++i) to[i] = i < inner ? rounded(from[i]) : uint16_t(0);
    }
    pair_product(rows, columns, depth, {left, depth, 1}, panels, y, ptrdiff_t(y_row), add);
}

// sum [outputs, columns] += dyᵀ x of rows whose numbers are rounded first.
inline void product_over_rows(const float* dy, int64_t dy_row, int outputs, const float* x, int columns, int rows, float* sum) {
    const int depth = pairs_of(rows);
    uint32_t* left = room(0, size_t(depth) * size_t(outputs));
    uint32_t* panels = room(1, panel_words(columns, rows));
    for (int row = 0; row < rows; row += 2) {
        const float* first = dy + row * dy_row;
        pair_rows(first, row + 1 < rows ? first + dy_row : nullptr, outputs, left + int64_t(row / 2) * outputs);
    }
    for (int from = 0; from < columns; from += PAIR_COLUMNS)
        panel_of_rows(x, columns, rows, columns, from, panels + size_t(from) * size_t(depth));
    pair_product(outputs, columns, depth, {left, 1, outputs}, panels, sum, columns, true);
}

// A weight [out, in] as both products want it, where it is in bfloat16: laid out once for all rows of a call.
struct HalfWeight {
    const uint16_t* numbers;
    const uint32_t *forward, *backward;

    explicit operator bool() const { return numbers; }
};

class Panels {
  public:
    void forward(ThreadPool& pool, HalfWeight& weight, int out, int in) {
        if (weight) weight.forward = made(pool, out, in, [=](int from, uint32_t* to) { panel_of_columns(weight.numbers, in, in, out, from, to); });
    }
    void backward(ThreadPool& pool, HalfWeight& weight, int out, int in) {
        if (weight) weight.backward = made(pool, in, out, [=](int from, uint32_t* to) { panel_of_rows(weight.numbers, in, out, in, from, to); });
    }

  private:
    template <class Panel>
    const uint32_t* made(ThreadPool& pool, int columns, int inner, const Panel& panel) {
        held_.push_back(allocate(panel_words(columns, inner), false));
        uint32_t* to = reinterpret_cast<uint32_t*>(held_.back().get());
        const auto stages = std::make_shared<Stages>();
        stages->add(padded(columns, PAIR_COLUMNS) / PAIR_COLUMNS, [=](int unit, int) {
            panel(unit * PAIR_COLUMNS, to + size_t(unit) * PAIR_COLUMNS * size_t(pairs_of(inner)));
        });
        pool.run(stages);
        return to;
    }

    std::vector<Buffer> held_;
};

}  // namespace groupwise
