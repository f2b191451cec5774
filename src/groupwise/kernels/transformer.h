// The forward pass of a decoder-only transformer for a few tokens at a time.
#pragma once

#include <atomic>

#include "attention.h"

namespace groupwise {

struct Norm {
    Buffer weight;  // offset + weight; none where the model has no such norm
    void take(const float* given, int size, float offset) {
        if (!given) return;
        weight = allocate(padded(size));
        for (int i = 0; i < size; ++i) weight[i] = offset + given[i];
    }
};

struct Layer {
    Matrix qkv, out, gate_up, down;  // gate and up in turn, sixteen of each
    Norm before_attention, after_attention, before_mlp, after_mlp, q, k;
    int window = 0, rope = 0;
};

struct Shape {
    int32_t layers, width, heads, kv_heads;
    int32_t head_dim, padded_head_dim;  // a head's numbers, and their place: the next multiple of 16, 0 from head_dim on
    int32_t hidden, vocabulary, ropes, positions, gelu;
    float eps, attention_scale, attention_cap, logit_cap, embedding_scale, norm_offset;
};

inline void normalise(const float* x, const Norm& norm, int size, float eps, float* to) {
    Vec squares{};
    for (int i = 0; i < padded(size); i += LANES) squares += load(x + i) * load(x + i);
    const float scale = 1.0f / std::sqrt(sum(squares) / float(size) + eps);
    for (int i = 0; i < padded(size); i += LANES) store(to + i, load(x + i) * scale * load(&norm.weight[i]));
}

inline void rotate(float* x, const float* cosine, const float* sine, int size) {
    const int half = size / 2;
    for (int i = 0; i < half; ++i) {
        const float first = x[i], second = x[i + half];
        x[i] = first * cosine[i] - second * sine[i];
        x[i + half] = second * cosine[i + half] + first * sine[i + half];
    }
}

// The angles of each rope, [positions, head_dim]. They may become longer while others read: what was there stays.
class Ropes {
  public:
    void shape(int count) { tables_ = std::vector<Table>(size_t(count)); }

    // Copies tables of so many floats each.
    void take(const float* const* cosines, const float* const* sines, size_t floats) {
        for (size_t i = 0; i < tables_.size(); ++i)
            tables_[i].cos = copied(cosines[i], floats), tables_[i].sin = copied(sines[i], floats);
    }

    const float* cos(int rope) const { return tables_[size_t(rope)].cos.load(std::memory_order_acquire); }
    const float* sin(int rope) const { return tables_[size_t(rope)].sin.load(std::memory_order_acquire); }

  private:
    struct Table {
        std::atomic<const float*> cos{nullptr}, sin{nullptr};
    };

    const float* copied(const float* from, size_t floats) {
        held_.push_back(allocate(floats));
        std::memcpy(held_.back().get(), from, floats * sizeof(float));
        return held_.back().get();
    }

    std::vector<Table> tables_;
    std::vector<Buffer> held_;
};

struct Transformer {
    Shape shape;
    std::vector<Layer> layers;
    Norm norm;
    Matrix head;
    const float* embedding;  // [vocabulary, width], the model's own memory
    Ropes ropes;
    Pool pool;
};

// One thread's working memory, and the pass itself.
class Forward {
  public:
    explicit Forward(Transformer& model) : m_(model), s_(model.shape) {
        width_ = padded(s_.width, PANEL), heads_ = padded(s_.heads * s_.padded_head_dim, PANEL);
        qkv_ = padded((s_.heads + 2 * s_.kv_heads) * s_.padded_head_dim, PANEL), hidden_ = padded(s_.hidden, PANEL);
    }

    // Leaves each token's last hidden state, before the final norm, in row order. Tokens with one `before` come together.
    void run(const std::vector<Token>& tokens) {
        reserve(int(tokens.size()));
        for (int row = 0; row < rows_; ++row) {
            const float* from = m_.embedding + size_t(tokens[row].id) * s_.width;
            for (int i = 0; i < s_.width; ++i) x(row)[i] = from[i] * s_.embedding_scale;
        }
        for (int number = 0; number < s_.layers; ++number) {
            const Layer& layer = m_.layers[number];
            all_normalised(layer.before_attention);
            multiply(layer.qkv, normal_.get(), width_, rows_, [&](int row, int column, Vec a, Vec b) {
                store(projected(row) + column, a), store(projected(row) + column + LANES, b);
            });
            for (int row = 0; row < rows_; ++row) place(number, tokens[row], projected(row));
            attend(number, tokens);
            added(layer.out, mixed_.get(), heads_, layer.after_attention);
            all_normalised(layer.before_mlp);
            multiply(layer.gate_up, normal_.get(), width_, rows_, [&](int row, int column, Vec gate, Vec up) {
                store(&active_[size_t(row) * hidden_ + column / 2], (s_.gelu ? gelu(gate) : silu(gate)) * up);
            });
            added(layer.down, active_.get(), hidden_, layer.after_mlp);
        }
    }

    // Logits [rows, stride] of the hidden states of these rows.
    const float* logits(const std::vector<int>& rows) {
        const int count = int(rows.size());
        if (logit_rows_ < count) logits_ = allocate(size_t(logit_rows_ = count) * stride());
        for (int i = 0; i < count; ++i)
            normalise(x(rows[i]), m_.norm, s_.width, s_.eps, &normal_[size_t(i) * width_]);
        const float cap = s_.logit_cap;
        multiply(m_.head, normal_.get(), width_, count, [&](int row, int column, Vec a, Vec b) {
            if (cap) a = cap * tanh(a / cap), b = cap * tanh(b / cap);
            float* to = &logits_[size_t(row) * stride() + column];
            store(to, a), store(to + LANES, b);
        });
        return logits_.get();
    }

    int stride() const { return m_.head.stride(); }

  private:
    float* x(int row) { return &x_[size_t(row) * width_]; }
    float* projected(int row) { return &projected_[size_t(row) * qkv_]; }

    void reserve(int rows) {
        rows_ = rows;
        if (rows <= room_) return;
        room_ = rows;
        x_ = allocate(size_t(rows) * width_), normal_ = allocate(size_t(rows) * width_);
        projected_ = allocate(size_t(rows) * qkv_), mixed_ = allocate(size_t(rows) * heads_);
        active_ = allocate(size_t(rows) * hidden_), sum_ = allocate(size_t(rows) * width_);
    }

    void all_normalised(const Norm& norm) {
        for (int row = 0; row < rows_; ++row) normalise(x(row), norm, s_.width, s_.eps, &normal_[size_t(row) * width_]);
    }

    // x += W input, or x += norm(W input).
    void added(const Matrix& matrix, const float* input, int stride, const Norm& norm) {
        float* to = norm.weight ? sum_.get() : x_.get();
        const bool fresh = bool(norm.weight);
        multiply(matrix, input, stride, rows_, [&](int row, int column, Vec a, Vec b) {
            float* at = to + size_t(row) * width_ + column;
            store(at, fresh ? a : load(at) + a), store(at + LANES, fresh ? b : load(at + LANES) + b);
        });
        if (!fresh) return;
        for (int row = 0; row < rows_; ++row) {
            float* change = &sum_[size_t(row) * width_];
            normalise(change, norm, s_.width, s_.eps, change);
            for (int i = 0; i < width_; i += LANES) store(x(row) + i, load(x(row) + i) + load(change + i));
        }
    }

    // Queries and keys are normalised and turned; keys and values go to their page.
    void place(int number, const Token& token, float* qkv) {
        const Layer& layer = m_.layers[number];
        const int padded_dim = s_.padded_head_dim, at = token.own ? token.seen_own - 1 : token.seen_before - 1;
        const float* cosine = m_.ropes.cos(layer.rope) + size_t(token.position) * size_t(s_.head_dim);
        const float* sine = m_.ropes.sin(layer.rope) + size_t(token.position) * size_t(s_.head_dim);
        for (int head = 0; head < s_.heads + s_.kv_heads; ++head) {
            float* x = qkv + head * padded_dim;
            const Norm& norm = head < s_.heads ? layer.q : layer.k;
            if (norm.weight) normalise(x, norm, s_.head_dim, s_.eps, x);
            rotate(x, cosine, sine, s_.head_dim);
        }
        for (int i = 0; i < s_.heads * padded_dim; ++i) qkv[i] *= s_.attention_scale;
        float* page = (token.own ? token.own : token.before)->pages[at / LANES];
        for (int head = 0; head < s_.kv_heads; ++head) {
            const float* key = qkv + (s_.heads + head) * padded_dim;
            float* keys = m_.pool.keys(page, number, head) + at % LANES;
            for (int d = 0; d < padded_dim; ++d) keys[d * LANES] = key[d];
            std::memcpy(m_.pool.values(page, number, head) + at % LANES * padded_dim, key + s_.kv_heads * padded_dim, padded_dim * sizeof(float));
        }
    }

    void attend(int number, const std::vector<Token>& tokens) {
        const int group = s_.heads / s_.kv_heads;
        std::memset(mixed_.get(), 0, size_t(rows_) * heads_ * sizeof(float));
        for (int from = 0, to; from < rows_; from = to) {
            int longest = 0, own = 0;
            for (to = from; to < rows_ && tokens[to].before == tokens[from].before && to - from < 16; ++to) {
                longest = std::max(longest, tokens[to].seen_before), own = std::max(own, tokens[to].seen_own);
            }
            const size_t reach = padded(longest) + padded(own);
            if (scores_.size() < reach * (to - from) * group) scores_.resize(reach * (to - from) * group);
            for (int head = 0; head < s_.kv_heads; ++head) {
                queries_.clear();
                for (int row = from; row < to; ++row)
                    for (int i = head * group; i < (head + 1) * group; ++i)
                        queries_.push_back({projected(row) + i * s_.padded_head_dim, &mixed_[size_t(row) * heads_ + i * s_.padded_head_dim],
                                            scores_.data() + reach * queries_.size(), &tokens[row]});
                Attention{m_.pool, number, head, s_.padded_head_dim, m_.layers[number].window, s_.attention_cap}.mix(queries_, group);
            }
        }
    }

    Transformer& m_;
    const Shape& s_;
    int width_, heads_, qkv_, hidden_, rows_ = 0, room_ = 0, logit_rows_ = 0;
    Buffer x_, normal_, projected_, mixed_, active_, sum_, logits_;
    std::vector<float> scores_;
    std::vector<Query> queries_;
};

}  // namespace groupwise
