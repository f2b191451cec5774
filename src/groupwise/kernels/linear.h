// Linear layers and norms on many rows, forward and backward; products by the BLAS that torch brings along.
#pragma once

#include <algorithm>
#include <stdexcept>

#include "half_product.h"
#include "matrix.h"
#include "row_ops.h"

namespace groupwise {

// BLAS's single-precision product, by columns; whose it is, the caller says.
typedef void (*Sgemm)(const char*, const char*, const int*, const int*, const int*, const float*, const float*, const int*,
                      const float*, const int*, const float*, float*, const int*);
inline Sgemm sgemm = nullptr;

inline void product(const char* a_turned, const char* b_turned, int m, int n, int k, const float* a, int a_row,
                    const float* b, int b_row, bool add, float* c, int c_row) {
    const float one = 1.0f, kept = add ? 1.0f : 0.0f;
    sgemm(a_turned, b_turned, &m, &n, &k, &one, a, &a_row, b, &b_row, &kept, c, &c_row);
}

// Rows of `in` numbers through the weight [out, in] of a linear layer: in float32, or in bfloat16, to which the other operand
// of each product is then rounded. Sums are float32 either way.
struct Linear {
    const float* weight;
    int out, in;
    HalfWeight half{};

    // y = x weightᵀ, or added to y
    void forward(const float* x, int rows, float* y, bool add = false) const { forward(x, rows, y, 0, out, add); }
    // Of outputs `from` to below `to`, a multiple of a panel's columns first; y begins with the first of them.
    void forward(const float* x, int rows, float* y, int from, int to, bool add) const {
        if (half) return product_of_rows(x, in, rows, in, half.forward + size_t(from) * size_t(pairs_of(in)), to - from, y, out, add);
        product("T", "N", to - from, rows, in, weight + int64_t(from) * in, in, x, in, add, y, out);
    }
    // dx = dy weight, or added to dx
    void backward(const float* dy, int rows, float* dx, bool add = false) const {
        if (half) return product_of_rows(dy, out, rows, out, half.backward, in, dx, in, add);
        product("N", "N", in, rows, out, weight, in, dy, out, add, dx, in);
    }
    // dweight += dyᵀ x
    void learn(const float* dy, const float* x, int rows, float* dweight) const { learn(dy, x, rows, dweight, 0, out); }
    // Of outputs `from` to below `to`. The product's sums are the same as if it were made whole.
    void learn(const float* dy, const float* x, int rows, float* dweight, int from, int to) const {
        if (half) return product_over_rows(dy + from, out, to - from, x, in, rows, dweight + int64_t(from) * in);
        product("N", "T", in, to - from, rows, x, in, dy + from, out, true, dweight + int64_t(from) * in, in);
    }
    // How many outputs a unit of work has whose product is one of sums over rows.
    int step(int64_t least) const { return std::max(half ? 512 : 256, int(padded(least / (int64_t(in) * 256)))); }
};

// Working memory, dealt out piece by piece; taking more than there is throws.
struct Scratch {
    float *next, *end;
    float* take(int64_t floats) {
        if (floats > end - next) throw std::length_error("working memory: more is taken than was set aside");
        float* here = next;
        next += padded(floats);
        return here;
    }
};

// ScratchSlots of equal size, whose pieces begin on whole vectors.
class ScratchSlots {
  public:
    ScratchSlots(int count, int64_t floats, int pieces, bool zeros = false)
        : each_(padded(floats) + pieces * LANES), data_(allocate(size_t(count * each_), zeros)) {}
    Scratch operator[](int number) const { return {&data_[size_t(number * each_)], &data_[0] + (number + 1) * each_}; }

  private:
    int64_t each_;
    Buffer data_;
};

// A layer with a low-rank adapter beside it, where its rank is not 0: weight + b a (arXiv 2106.09685), the scale in b.
struct Adapted {
    Linear layer, a, b;

    int rank() const { return a.out; }

    // Scratch for the adapter's rank in every row, here and below.
    void forward(const float* x, int rows, float* y, bool add, Scratch space) const {
        layer.forward(x, rows, y, add);
        if (!rank()) return;
        float* between = space.take(int64_t(rows) * rank());
        a.forward(x, rows, between);
        b.forward(between, rows, y, true);
    }

    void backward(const float* dy, int rows, float* dx, Scratch space) const {
        layer.backward(dy, rows, dx);
        if (!rank()) return;
        float* between = space.take(int64_t(rows) * rank());
        b.backward(dy, rows, between);
        a.backward(between, rows, dx, true);
    }

    void learn_a(const float* dy, const float* x, int rows, float* da, Scratch space) const {
        float* between = space.take(int64_t(rows) * rank());
        b.backward(dy, rows, between);
        a.learn(between, x, rows, da);
    }

    void learn_b(const float* dy, const float* x, int rows, float* db, Scratch space) const {
        float* between = space.take(int64_t(rows) * rank());
        a.forward(x, rows, between);
        b.learn(dy, between, rows, db);
    }
};

struct Norm {
    const float* weight;  // where there is none, neither is the norm
    float eps;
    int width;

    void forward(const float* x, int rows, float* y) const {
        for (int row = 0; row < rows; ++row) norm(x + int64_t(row) * width, weight, width, eps, y + int64_t(row) * width);
    }
    // y = base + what it makes of x
    void forward_onto(const float* base, const float* x, int rows, float* y) const {
        forward(x, rows, y);
        for (int64_t i = 0; i < int64_t(rows) * width; i += LANES) store(y + i, load(y + i) + load(base + i));
    }
    // dx grows.
    void backward(const float* x, const float* dy, int rows, float* dx) const {
        for (int64_t at = 0; at < int64_t(rows) * width; at += width)
            norm_backward(x + at, weight, width, eps, dy + at, dx + at);
    }
    // dweight grows.
    void learn(const float* x, const float* dy, int rows, float* dweight) const {
        for (int64_t at = 0; at < int64_t(rows) * width; at += width) norm_learn(x + at, width, eps, dy + at, dweight);
    }
};

}  // namespace groupwise
