// The two halves of a block on many rows, forward and backward, tile by tile in one call: what lies between two matrix
// products stays in a core's cache, and nobody waits for an interpreter. networks/fused.py says what each half is.
#pragma once

#include <algorithm>

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
    // dx = dy weight
    void backward(const float* dy, int rows, float* dx) const {
        product("N", "N", in, rows, out, weight, in, dy, out, false, dx, in);
    }
    // dweight += dyᵀ x
    void learn(const float* dy, const float* x, int rows, float* dweight) const {
        product("N", "T", in, out, rows, x, in, dy, out, true, dweight, in);
    }
};

struct Norm {
    const float* weight;
    float eps;
    int width;

    void forward(const float* x, int rows, float* y) const {
        for (int row = 0; row < rows; ++row) norm(x + int64_t(row) * width, weight, width, eps, y + int64_t(row) * width);
    }
    // dx and dweight grow.
    void backward(const float* x, const float* dy, int rows, float* dx, float* dweight) const {
        for (int64_t at = 0; at < int64_t(rows) * width; at += width)
            norm_backward(x + at, weight, width, eps, dy + at, dx + at, dweight);
    }
};

struct Heads {
    int q, kv, size;
    int width() const { return (q + 2 * kv) * size; }
};

// How heads are normed, where they are, and turned.
struct Turning {
    Heads heads;
    const float *q_weight, *k_weight;
    float eps;
    const float *cos, *sin;
    const int64_t* positions;

    void forward(const float* x, int row, float* y) const {
        const int size = heads.size;
        float normed[1024];
        for (int head = 0; head < heads.q + heads.kv; ++head, x += size, y += size) {
            const float *weight = head < heads.q ? q_weight : k_weight, *turned = x;
            if (weight) norm(x, weight, size, eps, normed), turned = normed;
            turn(turned, cos + positions[row] * size, sin + positions[row] * size, size, y);
        }
        std::copy(x, x + int64_t(heads.kv) * size, y);
    }

    // Of x (not read where nothing is normed), from the gradients of queries, keys and values; of the norms' weights.
    void backward(const float* x, int row, const float* dq, const float* dk, const float* dv, float* dx,
                  float* dq_weight, float* dk_weight) const {
        const int size = heads.size;
        const float *at_cos = cos + positions[row] * size, *at_sin = sin + positions[row] * size;
        float turned[1024];
        for (int head = 0; head < heads.q + heads.kv; ++head, x += size, dx += size) {
            const bool query = head < heads.q;
            const float* dy = query ? dq + head * size : dk + (head - heads.q) * size;
            const float* weight = query ? q_weight : k_weight;
            if (!weight) {
                turn_backward(dy, at_cos, at_sin, size, dx);
                continue;
            }
            turn_backward(dy, at_cos, at_sin, size, turned);
            std::fill_n(dx, size, 0.0f);
            norm_backward(x, weight, size, eps, turned, dx, query ? dq_weight : dk_weight);
        }
        std::copy_n(dv, int64_t(heads.kv) * size, dx);
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

// Tiles of equal size, of at most `tile` rows.
template <class Work>
inline void each_tile(int rows, int tile, const Work& work) {
    const int tiles = (rows + tile - 1) / tile;
    tile = tiles ? (rows + tiles - 1) / tiles : 1;
    for (int at = 0; at < rows; at += tile) work(int64_t(at), std::min(tile, rows - at));
}

struct Project {
    Norm before;
    Linear qkv;
    const float* bias;
    Turning turning;
    int rows, tile;

    // Room for a tile's x.
    void forward(const float* x, float* raw, float* made, Room room) const {
        float* normed = room.take(int64_t(tile) * qkv.in);
        each_tile(rows, tile, [&](int64_t at, int count) {
            float* here = raw + at * qkv.out;
            before.forward(x + at * qkv.in, count, normed);
            for (int row = 0; bias && row < count; ++row) std::copy_n(bias, qkv.out, here + int64_t(row) * qkv.out);
            qkv.forward(normed, count, here, bias);
            for (int row = 0; row < count; ++row)
                turning.forward(here + int64_t(row) * qkv.out, int(at) + row, made + (at + row) * qkv.out);
        });
    }

    struct Rows {
        const float* data;
        int64_t row;
        const float* at(int64_t number) const { return data + number * row; }
    };

    // dx is written, the others grow. Room for a tile's x twice, and its q, k and v.
    void backward(const float* x, const float* raw, Rows dq, Rows dk, Rows dv, float* dx, float* dbefore, float* dq_weight,
                  float* dk_weight, float* dweight, float* dbias, Room room) const {
        float *normed = room.take(int64_t(tile) * qkv.in), *dnormed = room.take(int64_t(tile) * qkv.in), *draw = room.next;
        each_tile(rows, tile, [&](int64_t at, int count) {
            for (int64_t row = at; row < at + count; ++row)
                turning.backward(raw ? raw + row * qkv.out : nullptr, int(row), dq.at(row), dk.at(row), dv.at(row),
                                 &draw[(row - at) * qkv.out], dq_weight, dk_weight);
            for (int64_t i = 0; dbias && i < int64_t(count) * qkv.out; ++i) dbias[i % qkv.out] += draw[i];
            before.forward(x + at * qkv.in, count, normed);
            qkv.learn(draw, normed, count, dweight);
            qkv.backward(draw, count, dnormed);
            std::fill_n(dx + at * qkv.in, int64_t(count) * qkv.in, 0.0f);
            before.backward(x + at * qkv.in, dnormed, count, dx + at * qkv.in, dbefore);
        });
    }
};

struct Finish {
    Norm before;
    Linear out, gate_up, down;
    int rows, tile;

    int hidden() const { return down.in; }

    // `kept`: the rows of gate and up, where the backward pass is to have them. Room for a tile's x and three times its
    // hidden numbers.
    void forward(const float* x, const float* mixed, float* middle, float* kept, float* result, Room room) const {
        const int width = out.out;
        float *normed = room.take(int64_t(tile) * width), *active = room.take(int64_t(tile) * hidden()), *spare = room.next;
        each_tile(rows, tile, [&](int64_t at, int count) {
            float *here = kept ? kept + at * gate_up.out : spare, *y = middle + at * width, *end = result + at * width;
            std::copy_n(x + at * width, int64_t(count) * width, y);
            out.forward(mixed + at * out.in, count, y, true);
            before.forward(y, count, normed);
            gate_up.forward(normed, count, here);
            for (int64_t row = 0; row < count; ++row, here += gate_up.out)
                gated(here, here + hidden(), hidden(), &active[row * hidden()]);
            std::copy_n(y, int64_t(count) * width, end);
            down.forward(active, count, end, true);
        });
    }

    // dx and dmixed are written, the others grow. Room for a tile's x twice and four times its hidden numbers.
    void backward(const float* dy, const float* mixed, const float* middle, const float* kept, float* dx, float* dmixed,
                  float* dbefore, float* dout, float* dgate_up, float* ddown, Room room) const {
        const int width = out.out;
        float *normed = room.take(int64_t(tile) * width), *dnormed = room.take(int64_t(tile) * width);
        float *active = room.take(int64_t(tile) * hidden()), *dactive = room.take(int64_t(tile) * hidden());
        float* drows = room.next;
        each_tile(rows, tile, [&](int64_t at, int count) {
            const float *back = dy + at * width, *y = middle + at * width, *here = kept + at * gate_up.out;
            float *change = dx + at * width, *to = drows;
            down.backward(back, count, dactive);
            for (int64_t row = 0; row < count; ++row, here += gate_up.out, to += gate_up.out)
                gated_backward(here, here + hidden(), &dactive[row * hidden()], hidden(), &active[row * hidden()], to,
                               to + hidden());
            down.learn(back, active, count, ddown);
            before.forward(y, count, normed);
            gate_up.learn(drows, normed, count, dgate_up);
            gate_up.backward(drows, count, dnormed);
            std::copy_n(back, int64_t(count) * width, change);
            before.backward(y, dnormed, count, change, dbefore);
            out.backward(change, count, dmixed + at * out.in);
            out.learn(change, mixed + at * out.in, count, dout);
        });
    }
};

}  // namespace groupwise
