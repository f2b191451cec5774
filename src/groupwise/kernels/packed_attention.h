// Attention over packed sequences: completions that see their group's prompt, which stands there once, and themselves.
#pragma once

#include <algorithm>
#include <cmath>

#include "matrix.h"
#include "product.h"
#include "row_ops.h"

namespace groupwise {

// Rows of [N, heads, head_dim]: heads lie side by side, `row` floats from one token to the next.
template <class T>
struct Rows {
    T* data;
    int64_t row;
    T* at(int64_t token, int offset) const { return data + token * row + offset; }
};

struct Tokens {
    int start, length;
};

struct Shape {
    int heads, kv_heads, head_dim;
    float scale;
};

constexpr int QUERIES = 48;  // of a block of scores

// One key-value head of one family at a time. Prompt keys come first in every buffer, a completion's own after them.
struct Family {
    Shape shape;
    Rows<const float> q, k, v;
    int width;                  // of a row of scores
    Buffer keys, values;        // [width, head_dim]
    Buffer keys_by, values_by;  // [head_dim, width]
    Buffer scores;              // [QUERIES, width]

    Family(Shape shape_, Rows<const float> q_, Rows<const float> k_, Rows<const float> v_, int longest)
        : shape(shape_), q(q_), k(k_), v(v_), width(padded(longest, BLOCK_VECTORS * LANES)) {
        const size_t floats = size_t(width) * shape.head_dim;
        keys = allocate(floats), values = allocate(floats);
        keys_by = allocate(floats), values_by = allocate(floats);
        scores = allocate(size_t(QUERIES) * width);
    }

    void take(int head, Tokens own, int prompt, bool backward) {
        const int size = shape.head_dim;
        for (int j = 0; j < own.length; ++j) {
            const float *key = k.at(own.start + j, head * size), *value = v.at(own.start + j, head * size);
            const int to = prompt + j;
            for (int d = 0; d < size; ++d) keys_by[size_t(d) * width + to] = key[d];
            std::copy(value, value + size, &values[size_t(to) * size]);
            if (!backward) continue;
            for (int d = 0; d < size; ++d) values_by[size_t(d) * width + to] = value[d];
            std::copy(key, key + size, &keys[size_t(to) * size]);
        }
    }

    // work(head of the queries, first query, queries, keys they see together) in blocks, `scores` made.
    template <class Work>
    void blocks(int kv_head, Tokens own, int prompt, const Work& work) {
        const int each = shape.heads / shape.kv_heads, size = shape.head_dim;
        for (int head = kv_head * each; head < (kv_head + 1) * each; ++head) {
            for (int first = 0; first < own.length; first += QUERIES) {
                const int count = std::min(QUERIES, own.length - first), seen = prompt + first + count;
                product(count, padded(seen), size, {q.at(own.start + first, head * size), q.row, 1}, keys_by.get(), width,
                        scores.get(), width, false);
                work(head, first, count, seen);
            }
        }
    }

    float* row(int query) { return &scores[size_t(query) * width]; }
};

struct Forward {
    Family family;
    Rows<float> out;
    float* normalisers;  // [N, heads]: log of the sum of exp(scale * score)

    void run(int kv_head, Tokens own, int prompt) {
        const Shape shape = family.shape;
        family.take(kv_head, own, prompt, false);
        family.blocks(kv_head, own, prompt, [&](int head, int first, int count, int seen) {
            float sums[QUERIES];
            for (int i = 0; i < count; ++i) {
                float& normaliser = normalisers[size_t(own.start + first + i) * shape.heads + head];
                sums[i] = soften(family.row(i), prompt + first + i + 1, padded(seen), normaliser);
            }
            const int size = shape.head_dim;
            float* to = out.at(own.start + first, head * size);
            product(count, size, seen, {family.scores.get(), family.width, 1}, family.values.get(), size, to, out.row, false);
            for (int i = 0; i < count; ++i) {
                for (int d = 0; d < size; ++d) to[i * out.row + d] /= sums[i];
            }
        });
    }

    // Scores of a row become exp(scale * (score - greatest)), 0 beyond `seen`. Returns their sum.
    float soften(float* row, int seen, int end, float& normaliser) const {
        const float scale = family.shape.scale;
        std::fill(row + seen, row + end, -3.0e38f);
        Vec top = load(row), total{};
        for (int j = LANES; j < end; j += LANES) top = larger(top, load(row + j));
        const float most = scale * largest(top);
        for (int j = 0; j < end; j += LANES) {
            const Vec p = exp(scale * load(row + j) - most);
            total += p;
            store(row + j, p);
        }
        const float all = sum(total);
        normaliser = most + std::log(all);
        return all;
    }
};

// The gradient of prompt keys and values is gathered over all of a family's completions.
struct Backward {
    Family family;
    Rows<const float> out, dout;
    const float* normalisers;
    Rows<float> dq, dk, dv;
    Buffer dkeys, dvalues, dscores;

    Backward(Family family_, Rows<const float> out_, Rows<const float> dout_, const float* normalisers_, Rows<float> dq_,
             Rows<float> dk_, Rows<float> dv_)
        : family(std::move(family_)), out(out_), dout(dout_), normalisers(normalisers_), dq(dq_), dk(dk_), dv(dv_) {
        const size_t floats = size_t(family.width) * family.shape.head_dim;
        dkeys = allocate(floats), dvalues = allocate(floats);
        dscores = allocate(size_t(QUERIES) * family.width);
    }

    void run(int kv_head, Tokens own, int prompt) {
        const int size = family.shape.head_dim, width = family.width;
        family.take(kv_head, own, prompt, true);
        family.blocks(kv_head, own, prompt, [&](int head, int first, int count, int seen) {
            const int64_t start = own.start + first;
            const float *back = dout.at(start, head * size), *query = family.q.at(start, head * size);
            product(count, padded(seen), size, {back, dout.row, 1}, family.values_by.get(), width, dscores.get(), width, false);
            for (int i = 0; i < count; ++i) harden(start + i, head, i, prompt + first + i + 1, padded(seen));
            product(seen, size, count, {family.scores.get(), 1, width}, back, dout.row, dvalues.get(), size, true);
            product(seen, size, count, {dscores.get(), 1, width}, query, family.q.row, dkeys.get(), size, true);
            product(count, size, seen, {dscores.get(), width, 1}, family.keys.get(), size, dq.at(start, head * size), dq.row,
                    false);
        });
    }

    // Of one query: probabilities again, and from their gradient that of the scores.
    void harden(int64_t token, int head, int i, int seen, int end) {
        const Shape shape = family.shape;
        const int size = shape.head_dim;
        const float normaliser = normalisers[token * shape.heads + head];
        const float mean = dot(out.at(token, head * size), dout.at(token, head * size), size);
        float *row = family.row(i), *back = &dscores[size_t(i) * family.width];
        std::fill(row + seen, row + end, -3.0e38f);
        std::fill(back + seen, back + end, 0.0f);
        for (int j = 0; j < end; j += LANES) {
            const Vec p = exp(shape.scale * load(row + j) - normaliser);
            store(row + j, p);
            store(back + j, p * (load(back + j) - mean) * shape.scale);
        }
    }

    // Hands over what rows `from`, ... of the buffers have gathered, and starts them again.
    void give(int kv_head, Tokens own, int from) {
        const int size = family.shape.head_dim;
        for (int j = 0; j < own.length; ++j) {
            float *key = &dkeys[size_t(from + j) * size], *value = &dvalues[size_t(from + j) * size];
            std::copy(key, key + size, dk.at(own.start + j, kv_head * size));
            std::copy(value, value + size, dv.at(own.start + j, kv_head * size));
        }
        std::fill_n(&dkeys[size_t(from) * size], size_t(own.length) * size, 0.0f);
        std::fill_n(&dvalues[size_t(from) * size], size_t(own.length) * size, 0.0f);
    }
};

}  // namespace groupwise
