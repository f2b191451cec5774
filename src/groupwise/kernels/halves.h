// The two halves of a block on many rows, forward and backward, tile by tile in one call: what lies between two matrix
// products stays in a core's cache, and nobody waits for an interpreter. networks/fused.py says what each half is.
#pragma once

#include <algorithm>

#include "linear.h"

namespace groupwise {

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

// Tiles of equal size, of at most `tile` rows.
template <class Work>
inline void each_tile(int rows, int tile, const Work& work) {
    const int tiles = (rows + tile - 1) / tile;
    tile = tiles ? (rows + tiles - 1) / tiles : 1;
    for (int at = 0; at < rows; at += tile) work(int64_t(at), std::min(tile, rows - at));
}

struct Project {
    Norm before;
    Adapted qkv;
    const float* bias;
    Turning turning;
    int rows, tile;

    int in() const { return qkv.layer.in; }
    int out() const { return qkv.layer.out; }

    // Room for a tile's x and an adapter.
    void forward(const float* x, float* raw, float* made, Room room) const {
        float* normed = room.take(int64_t(tile) * in());
        each_tile(rows, tile, [&](int64_t at, int count) {
            float* here = raw + at * out();
            before.forward(x + at * in(), count, normed);
            for (int row = 0; bias && row < count; ++row) std::copy_n(bias, out(), here + int64_t(row) * out());
            qkv.forward(normed, count, here, bias, room);
            for (int row = 0; row < count; ++row)
                turning.forward(here + int64_t(row) * out(), int(at) + row, made + (at + row) * out());
        });
    }

    struct Rows {
        const float* data;
        int64_t row;
        const float* at(int64_t number) const { return data + number * row; }
    };

    // dx is written, the others grow. Room for a tile's x twice, its q, k and v, and an adapter twice.
    void backward(const float* x, const float* raw, Rows dq, Rows dk, Rows dv, float* dx, float* dbefore, float* dq_weight,
                  float* dk_weight, Adapted::Sums dqkv, float* dbias, Room room) const {
        float *normed = room.take(int64_t(tile) * in()), *dnormed = room.take(int64_t(tile) * in());
        float* draw = room.take(int64_t(tile) * out());
        each_tile(rows, tile, [&](int64_t at, int count) {
            for (int64_t row = at; row < at + count; ++row)
                turning.backward(raw ? raw + row * out() : nullptr, int(row), dq.at(row), dk.at(row), dv.at(row),
                                 &draw[(row - at) * out()], dq_weight, dk_weight);
            for (int64_t i = 0; dbias && i < int64_t(count) * out(); ++i) dbias[i % out()] += draw[i];
            before.forward(x + at * in(), count, normed);
            qkv.backward(draw, count, dnormed, room);
            qkv.learn(draw, normed, count, dqkv, room);
            std::fill_n(dx + at * in(), int64_t(count) * in(), 0.0f);
            before.backward(x + at * in(), dnormed, count, dx + at * in(), dbefore);
        });
    }
};

struct Finish {
    Norm after_attention, before, after;  // the outer ones on what a half block adds, where there are any
    Adapted out, gate_up, down;
    bool by_gelu;
    int rows, tile;

    int width() const { return before.width; }
    int inner() const { return out.layer.in; }
    int hidden() const { return down.layer.in; }

    // What stays for the backward pass, row by row: what attention adds, y, the rows of gate and up, what they add. The
    // first and the last where they are normed; gate and up where they are to be kept.
    template <class T>
    struct Kept {
        T *attended, *middle, *rows, *added;
        static T* part(T* all, int64_t from) { return all ? all + from : nullptr; }
    };

    // Room for a tile's x, three times its hidden numbers and an adapter.
    void forward(const float* x, const float* mixed, Kept<float> kept, float* result, Room room) const {
        float *normed = room.take(int64_t(tile) * width()), *active = room.take(int64_t(tile) * hidden());
        float* spare = room.take(kept.rows ? 0 : int64_t(tile) * 2 * hidden());
        each_tile(rows, tile, [&](int64_t at, int count) {
            const int64_t from = at * width();
            float *here = kept.rows ? kept.rows + at * 2 * hidden() : spare, *y = kept.middle + from;
            add(out, after_attention, mixed + at * inner(), x + from, count, kept.part(kept.attended, from), y, room);
            before.forward(y, count, normed);
            gate_up.forward(normed, count, here, false, room);
            for (int64_t row = 0; row < count; ++row, here += 2 * hidden())
                gated(here, here + hidden(), hidden(), &active[row * hidden()], by_gelu);
            add(down, after, active, y, count, kept.part(kept.added, from), result + from, room);
        });
    }

    struct Sums {
        float *after_attention, *before, *after;
        Adapted::Sums out, gate_up, down;
    };

    // dx and dmixed are written, the sums grow. Room for a tile's x three times, four times its hidden numbers and an
    // adapter twice.
    void backward(const float* dy, const float* mixed, Kept<const float> kept, float* dx, float* dmixed, Sums sums,
                  Room room) const {
        float *normed = room.take(int64_t(tile) * width()), *dnormed = room.take(int64_t(tile) * width());
        float *active = room.take(int64_t(tile) * hidden()), *dactive = room.take(int64_t(tile) * hidden());
        float *drows = room.take(int64_t(tile) * 2 * hidden()), *spare = room.take(int64_t(tile) * width());
        each_tile(rows, tile, [&](int64_t at, int count) {
            const int64_t from = at * width();
            const float *y = kept.middle + from, *here = kept.rows + at * 2 * hidden();
            const float* back = through(after, kept.part(kept.added, from), dy + from, count, spare, sums.after);
            float *change = dx + from, *to = drows;
            down.backward(back, count, dactive, room);
            for (int64_t row = 0; row < count; ++row, here += 2 * hidden(), to += 2 * hidden())
                gated_backward(here, here + hidden(), &dactive[row * hidden()], hidden(), &active[row * hidden()], to,
                               to + hidden(), by_gelu);
            down.learn(back, active, count, sums.down, room);
            before.forward(y, count, normed);
            gate_up.backward(drows, count, dnormed, room);
            gate_up.learn(drows, normed, count, sums.gate_up, room);
            std::copy_n(dy + from, int64_t(count) * width(), change);
            before.backward(y, dnormed, count, change, sums.before);
            back = through(after_attention, kept.part(kept.attended, from), change, count, spare, sums.after_attention);
            out.backward(back, count, dmixed + at * inner(), room);
            out.learn(back, mixed + at * inner(), count, sums.out, room);
        });
    }

  private:
    // y = base + layer(x), what the layer makes normed before, where it is; that is kept.
    void add(const Adapted& layer, const Norm& norm, const float* x, const float* base, int count, float* kept, float* y,
             Room room) const {
        if (norm.weight) {
            layer.forward(x, count, kept, false, room);
            norm.forward_onto(base, kept, count, y);
        } else {
            std::copy_n(base, int64_t(count) * width(), y);
            layer.forward(x, count, y, true, room);
        }
    }

    // The gradient of what was normed: dy where nothing was.
    const float* through(const Norm& norm, const float* x, const float* dy, int count, float* spare, float* dweight) const {
        if (!norm.weight) return dy;
        std::fill_n(spare, int64_t(count) * width(), 0.0f);
        norm.backward(x, dy, count, spare, dweight);
        return spare;
    }
};

}  // namespace groupwise
