// Norms of hidden states and of heads as the engine applies them.
#pragma once

#include "matrix.h"

namespace groupwise {

// RMSNorm, or LayerNorm where the mean is taken away first; none where the model has no such norm.
struct Norm {
    Buffer weight, bias;  // offset + weight; a bias where there is one
    bool centred = false;

    void take(const float* given, const float* given_bias, int size, float offset, bool centred_) {
        if (!given) return;
        weight = copied(given, size, offset), centred = centred_;
        if (given_bias) bias = copied(given_bias, size, 0.0f);
    }

  private:
    static Buffer copied(const float* from, int size, float offset) {
        Buffer to = allocate(padded(size));
        for (int i = 0; i < size; ++i) to[i] = offset + from[i];
        return to;
    }
};

// Of `size` numbers that lie among `span`; the others are 0.
inline void normalise(const float* x, const Norm& norm, int size, int span, float eps, float* to) {
    float mean = 0.0f;
    if (norm.centred) {
        Vec total{};
        for (int i = 0; i < span; i += LANES) total += load(x + i);
        mean = sum(total) / float(size);
    }
    Vec squares{};
    for (int i = 0; i < span; i += LANES) squares += (load(x + i) - mean) * (load(x + i) - mean);
    const float others = float(span - size) * mean * mean;
    const float scale = 1.0f / std::sqrt(std::max(0.0f, sum(squares) - others) / float(size) + eps);
    for (int i = 0; i < span; i += LANES) {
        const Vec here = (load(x + i) - mean) * scale * load(&norm.weight[i]);
        store(to + i, norm.bias ? here + load(&norm.bias[i]) : here);
    }
}

inline void normalise(const float* x, const Norm& norm, int size, float eps, float* to) {
    normalise(x, norm, size, padded(size), eps, to);
}

}  // namespace groupwise
