// Queries and keys of a row: normed head by head, where they are, and turned by the angles of their position.
#pragma once

#include <algorithm>

#include "row_ops.h"

namespace groupwise {

constexpr int LARGEST_HEAD = 1024;  // kernels/learn.py knows it

struct Heads {
    int q, kv, size;
    int width() const { return (q + 2 * kv) * size; }
};

// Gradients of turned queries, turned keys and values, a row of each so far from the next.
struct Turned {
    const float *q, *k, *v;
    int64_t q_row, k_row, v_row;
};

struct Rope {
    Heads heads;
    const float *q_weight, *k_weight;
    float eps;
    const float *cos, *sin;
    const int64_t* positions;

    void forward(const float* x, int64_t row, float* y) const {
        const int size = heads.size;
        float normed[LARGEST_HEAD];
        for (int head = 0; head < heads.q + heads.kv; ++head, x += size, y += size) {
            const float *weight = head < heads.q ? q_weight : k_weight, *turned = x;
            if (weight) norm(x, weight, size, eps, normed), turned = normed;
            apply_rope(turned, cos + positions[row] * size, sin + positions[row] * size, size, y);
        }
        std::copy(x, x + int64_t(heads.kv) * size, y);
    }

    // Of x, which is not read where nothing is normed.
    void backward(const float* x, int64_t row, const Turned& back, float* dx) const {
        const int size = heads.size;
        float turned[LARGEST_HEAD];
        for (int head = 0; head < heads.q + heads.kv; ++head, dx += size) {
            const float* weight = head < heads.q ? q_weight : k_weight;
            turn_back(row, head, back, weight ? turned : dx);
            if (!weight) continue;
            std::fill_n(dx, size, 0.0f);
            norm_backward(x + int64_t(head) * size, weight, size, eps, turned, dx);
        }
        std::copy_n(back.v + row * back.v_row, int64_t(heads.kv) * size, dx);
    }

    // Of the norms' weights, which grow.
    void learn(const float* x, int64_t row, const Turned& back, float* dq_weight, float* dk_weight) const {
        const int size = heads.size;
        float turned[LARGEST_HEAD];
        for (int head = 0; head < heads.q + heads.kv; ++head, x += size) {
            const bool query = head < heads.q;
            if (!(query ? q_weight : k_weight)) continue;
            turn_back(row, head, back, turned);
            norm_learn(x, size, eps, turned, query ? dq_weight : dk_weight);
        }
    }

  private:
    void turn_back(int64_t row, int head, const Turned& back, float* to) const {
        const int64_t size = heads.size, at = positions[row] * size;
        const float* dy = head < heads.q ? back.q + row * back.q_row + head * size
                                         : back.k + row * back.k_row + (head - heads.q) * size;
        apply_rope_backward(dy, cos + at, sin + at, int(size), to);
    }
};

}  // namespace groupwise
