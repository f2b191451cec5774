// Linear layers and norms on many rows, forward and backward; products by the BLAS that torch brings along.
#pragma once

#include "rows.h"

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

// Rows of `in` numbers through the weight [out, in] of a linear layer.
struct Linear {
    const float* weight;
    int out, in;

    // y = x weightᵀ, or added to y
    void forward(const float* x, int rows, float* y, bool add = false) const {
        product("T", "N", out, rows, in, weight, in, x, in, add, y, out);
    }
    // dx = dy weight, or added to dx
    void backward(const float* dy, int rows, float* dx, bool add = false) const {
        product("N", "N", in, rows, out, weight, in, dy, out, add, dx, in);
    }
    // dweight += dyᵀ x
    void learn(const float* dy, const float* x, int rows, float* dweight) const {
        product("N", "T", in, out, rows, x, in, dy, out, true, dweight, in);
    }
};

// Working memory that the caller has, dealt out piece by piece: where there is too little of it in the machine, the caller
// is told, and not this code.
struct Room {
    float* next;
    float* take(int64_t floats) {
        float* here = next;
        next += floats;
        return here;
    }
};

// A layer with a low-rank adapter beside it, where its rank is not 0: weight + b a (arXiv 2106.09685), the scale in b.
struct Adapted {
    Linear layer, a, b;

    Adapted(const float* weight, const float* into, const float* out_of, int rank, int out, int in)
        : layer{weight, out, in}, a{into, rank, in}, b{out_of, out, rank} {}

    // Room for the adapter's rank in every row.
    void forward(const float* x, int rows, float* y, bool add, Room room) const {
        layer.forward(x, rows, y, add);
        if (!a.out) return;
        a.forward(x, rows, room.next);
        b.forward(room.next, rows, y, true);
    }

    // Room for twice the adapter's rank in every row; `learn` finds there what this leaves.
    void backward(const float* dy, int rows, float* dx, Room room) const {
        layer.backward(dy, rows, dx);
        if (!a.out) return;
        b.backward(dy, rows, room.next);
        a.backward(room.next, rows, dx, true);
    }

    // Gradients that grow. None for the layer: it stays as it is.
    struct Sums {
        float *layer, *a, *b;
    };
    // After `backward` of the same dy, with the same room.
    void learn(const float* dy, const float* x, int rows, Sums sums, Room room) const {
        if (sums.layer) layer.learn(dy, x, rows, sums.layer);
        if (!a.out) return;
        const float* back = room.take(int64_t(rows) * a.out);
        a.learn(back, x, rows, sums.a);
        a.forward(x, rows, room.next);
        b.learn(dy, room.next, rows, sums.b);
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
    // dx and dweight grow.
    void backward(const float* x, const float* dy, int rows, float* dx, float* dweight) const {
        for (int64_t at = 0; at < int64_t(rows) * width; at += width)
            norm_backward(x + at, weight, width, eps, dy + at, dx + at, dweight);
    }
};

}  // namespace groupwise
