// The forward pass of a decoder-only transformer for a few tokens at a time.
#pragma once

#include <atomic>

#include "attention.h"
#include "mixture.h"

namespace groupwise {

enum HeadNorms : int32_t { OF_HEADS, OF_ROWS, OF_TURNED };

// Queries, keys and values by way of few numbers (DeepSeek-V2, arXiv 2405.04434): `in` makes latents of a query, of keys and
// values, and what of every key is turned, each beginning on a panel; `out` makes keys and values of their latent.
struct Latent {
    Matrix in, queries, out;
    Norm q, kv;  // q: none where queries are made of hidden states
    int q_size = 0, kv_size = 0;
    float eps = 0;
    std::vector<int32_t> turned;  // of each of a key's numbers where it stands in what is turned; -1: it is not turned

    explicit operator bool() const { return in.inner > 0; }
    int kv_at() const { return padded(q_size, PANEL); }
    int turned_at() const { return kv_at() + padded(kv_size, PANEL); }
};

struct Layer {
    Matrix qkv, out;
    Latent latent;
    FeedForward feed;  // none where experts alone stand there
    Mixture mixture;
    Norm before_attention, after_attention, before_mlp, after_mlp, q, k;
    std::vector<float> sinks;  // of each head; empty: none
    int window = 0, rope = 0, query_rope = 0;
};

struct Shape {
    int32_t layers, width, heads, kv_heads;
    int32_t head_dim, padded_head_dim;  // a head's numbers, and their place: the next multiple of 16, 0 from head_dim on
    int32_t vocabulary, ropes, positions;
    Activation activation;
    int32_t centred, parallel, head_norms, half;
    float eps, attention_scale, attention_cap, logit_cap, embedding_scale, norm_offset;
};

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
    const void* embedding;   // [vocabulary, width], the model's own memory
    const float* places;     // [positions, width] that are added to it; none where places are told otherwise
    int hidden = 0;          // the widest feed-forward layer's
    Ropes ropes;
    Pool pool;

    // Whether threads do better to make their steps together.
    bool shared() const {
        return std::any_of(layers.begin(), layers.end(), [](const Layer& layer) { return layer.mixture.large(); });
    }
};

// One thread's working memory, and the pass itself.
class Forward {
  public:
    explicit Forward(Transformer& model) : m_(model), s_(model.shape) {
        width_ = padded(s_.width, PANEL), heads_ = padded(s_.heads * s_.padded_head_dim, PANEL);
        qkv_ = padded((s_.heads + 2 * s_.kv_heads) * s_.padded_head_dim, PANEL), hidden_ = padded(m_.hidden, PANEL);
    }

    // Leaves the last hidden states, before the final norm, of the tokens at `ends`, in that ascending order. Of others
    // nobody asks for more than what later tokens see of them: the last layer's keys and values are the last thing that
    // is computed. Tokens with one `before` come together, and among them those with one `own`. Threads with a seat compute
    // experts together.
    void run(const std::vector<Token>& tokens, const std::vector<int>& ends, Seat seat = {}) {
        seat_ = std::move(seat);
        reserve(int(tokens.size()));
        for (int row = 0; row < rows_; ++row) {
            embed(size_t(tokens[row].id) * size_t(s_.width), x(row));
            if (!m_.places) continue;
            const float* place = m_.places + size_t(tokens[row].position) * s_.width;
            for (int i = 0; i < s_.width; ++i) x(row)[i] += place[i];
        }
        for (int number = 0; number < s_.layers; ++number) {
            const Layer& layer = m_.layers[number];
            all_normalised(layer.before_attention);
            if (layer.latent) project(layer.latent);
            else project(layer.qkv, normal_.get(), width_, 0);
            for (int row = 0; row < rows_; ++row) place(number, tokens[row], projected(row));
            if (number + 1 < s_.layers) attend(number, tokens);
            else if (keep(ends); rows_) attend(number, at(tokens, ends));
            else if (!seat_.team) break;
            added(layer.out, mixed_.get(), heads_, layer.after_attention);
            if (!s_.parallel) all_normalised(layer.before_mlp);
            feed_forward(layer);
        }
    }

    // Logits [ends, stride] of the hidden states that were left.
    const float* logits() {
        if (logit_rows_ < rows_) logits_ = allocate(size_t(logit_rows_ = rows_) * stride());
        for (int row = 0; row < rows_; ++row) normalise(x(row), m_.norm, s_.width, s_.eps, &normal_[size_t(row) * width_]);
        const float cap = s_.logit_cap;
        multiply(m_.head, normal_.get(), width_, rows_, [&](int row, int column, Vec a, Vec b) {
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

    // These rows become the first ones, and all.
    void keep(const std::vector<int>& ends) {
        for (size_t row = 0; row < ends.size(); ++row) {
            const size_t from = size_t(ends[row]);
            if (from == row) continue;
            std::memcpy(&x_[row * width_], &x_[from * width_], size_t(width_) * sizeof(float));
            std::memcpy(&normal_[row * width_], &normal_[from * width_], size_t(width_) * sizeof(float));
            std::memcpy(&projected_[row * qkv_], &projected_[from * qkv_], size_t(qkv_) * sizeof(float));
        }
        rows_ = int(ends.size());
    }

    static std::vector<Token> at(const std::vector<Token>& tokens, const std::vector<int>& places) {
        std::vector<Token> found;
        for (const int place : places) found.push_back(tokens[size_t(place)]);
        return found;
    }

    void embed(size_t from, float* to) const {
        const float* whole = static_cast<const float*>(m_.embedding);
        const uint16_t* half = static_cast<const uint16_t*>(m_.embedding);
        for (size_t i = 0; i < size_t(s_.width); ++i) to[i] = (s_.half ? widened(half[from + i]) : whole[from + i]) * s_.embedding_scale;
    }

    // normal_ becomes x, normed where there is a norm.
    void all_normalised(const Norm& norm) {
        if (!norm.weight) std::memcpy(normal_.get(), x_.get(), size_t(rows_) * width_ * sizeof(float));
        else
            for (int row = 0; row < rows_; ++row) normalise(x(row), norm, s_.width, s_.eps, &normal_[size_t(row) * width_]);
    }

    // Rows of queries, keys and values from a column on.
    void project(const Matrix& matrix, const float* x, int stride, int first) {
        multiply(matrix, x, stride, rows_, [&](int row, int column, Vec a, Vec b) {
            float* to = projected(row) + first + column;
            store(to, a), store(to + LANES, b);
        });
    }

    void project(const Latent& latent) {
        const int stride = latent.in.stride(), keys = s_.heads * s_.padded_head_dim;
        if (latents_.size() < size_t(rows_) * stride) latents_.resize(size_t(rows_) * stride);
        multiply(latent.in, normal_.get(), width_, rows_, [&](int row, int column, Vec a, Vec b) {
            float* to = &latents_[size_t(row) * stride + column];
            store(to, a), store(to + LANES, b);
        });
        for (int row = 0; row < rows_; ++row) {
            float *q = &latents_[size_t(row) * stride], *kv = q + latent.kv_at();
            if (latent.q.weight) normalise(q, latent.q, latent.q_size, latent.eps, q);
            normalise(kv, latent.kv, latent.kv_size, latent.eps, kv);
        }
        if (latent.q.weight) project(latent.queries, latents_.data(), stride, 0);
        else project(latent.queries, normal_.get(), width_, 0);
        project(latent.out, latents_.data() + latent.kv_at(), stride, keys);
        for (int row = 0; row < rows_; ++row) {
            const float* from = &latents_[size_t(row) * stride + latent.turned_at()];
            for (int head = 0; head < s_.heads; ++head) {
                float* key = projected(row) + keys + head * s_.padded_head_dim;
                for (int i = 0; i < s_.head_dim; ++i)
                    if (latent.turned[size_t(i)] >= 0) key[i] = from[latent.turned[size_t(i)]];
            }
        }
    }

    // x += what the layer makes of normal_.
    void feed_forward(const Layer& layer) {
        if (layer.feed.down.inner) {
            layer.feed.activate(normal_.get(), width_, rows_, s_.activation, active_.get());
            if (!layer.mixture) return added(layer.feed.down, active_.get(), layer.feed.stride(), layer.after_mlp);
        }
        std::memset(sum_.get(), 0, size_t(rows_) * width_ * sizeof(float));
        experts_.add(layer.mixture, normal_.get(), width_, rows_, s_.activation, sum_.get(), width_, seat_);
        if (layer.feed.down.inner)
            multiply(layer.feed.down, active_.get(), layer.feed.stride(), rows_, [&](int row, int column, Vec a, Vec b) {
                float* to = &sum_[size_t(row) * width_ + column];
                store(to, load(to) + a), store(to + LANES, load(to + LANES) + b);
            });
        add_sum(layer.after_mlp);
    }

    // x += W input, or x += norm(W input).
    void added(const Matrix& matrix, const float* input, int stride, const Norm& norm) {
        float* to = norm.weight ? sum_.get() : x_.get();
        const bool fresh = bool(norm.weight);
        multiply(matrix, input, stride, rows_, [&](int row, int column, Vec a, Vec b) {
            float* at = to + size_t(row) * width_ + column;
            store(at, fresh ? a : load(at) + a), store(at + LANES, fresh ? b : load(at + LANES) + b);
        });
        if (fresh) add_sum(norm);
    }

    void add_sum(const Norm& norm) {
        for (int row = 0; row < rows_; ++row) {
            float* change = &sum_[size_t(row) * width_];
            if (norm.weight) normalise(change, norm, s_.width, s_.eps, change);
            for (int i = 0; i < width_; i += LANES) store(x(row) + i, load(x(row) + i) + load(change + i));
        }
    }

    // Queries and keys are normalised and turned; keys and values go to their page.
    void place(int number, const Token& token, float* qkv) {
        const Layer& layer = m_.layers[number];
        const int padded_dim = s_.padded_head_dim, at = token.own ? token.seen_own - 1 : token.seen_before - 1;
        const size_t angle = size_t(token.position) * size_t(s_.head_dim);
        if (s_.head_norms == OF_ROWS) {
            normalise_heads(layer.q, qkv, s_.heads);
            normalise_heads(layer.k, qkv + s_.heads * padded_dim, s_.kv_heads);
        }
        for (int head = 0; head < s_.heads + s_.kv_heads; ++head) {
            float* x = qkv + head * padded_dim;
            const Norm& norm = head < s_.heads ? layer.q : layer.k;
            const int rope = head < s_.heads ? layer.query_rope : layer.rope;
            if (norm.weight && s_.head_norms == OF_HEADS) normalise(x, norm, s_.head_dim, s_.eps, x);
            rotate(x, m_.ropes.cos(rope) + angle, m_.ropes.sin(rope) + angle, s_.head_dim);
            if (norm.weight && s_.head_norms == OF_TURNED) normalise(x, norm, s_.head_dim, s_.eps, x);
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

    void normalise_heads(const Norm& norm, float* x, int heads) {
        normalise(x, norm, heads * s_.head_dim, heads * s_.padded_head_dim, s_.eps, x);
    }

    float sink(int number, int head) const {
        const std::vector<float>& sinks = m_.layers[size_t(number)].sinks;
        return sinks.empty() ? -INFINITY : sinks[size_t(head)];
    }

    void attend(int number, const std::vector<Token>& tokens) {
        const int group = s_.heads / s_.kv_heads;
        std::memset(mixed_.get(), 0, size_t(rows_) * heads_ * sizeof(float));
        for (int from = 0, to; from < rows_; from = to) {
            int longest = 0, own = 0;
            const auto together = [&](int next) {  // up to 16, and the rest of one completion
                const Token &a = tokens[next - 1], &b = tokens[next];
                return b.before == a.before && (next - from < 16 || (b.own && b.own == a.own && next - from < 32));
            };
            for (to = from; to < rows_ && (to == from || together(to)); ++to) {
                longest = std::max(longest, tokens[to].seen_before), own = std::max(own, tokens[to].seen_own);
            }
            const size_t reach = padded(longest) + padded(own);
            if (scores_.size() < reach * (to - from) * group) scores_.resize(reach * (to - from) * group);
            for (int head = 0; head < s_.kv_heads; ++head) {
                queries_.clear();
                for (int row = from; row < to; ++row)
                    for (int i = head * group; i < (head + 1) * group; ++i)
                        queries_.push_back({projected(row) + i * s_.padded_head_dim, &mixed_[size_t(row) * heads_ + i * s_.padded_head_dim],
                                            scores_.data() + reach * queries_.size(), &tokens[row], sink(number, i)});
                Attention{m_.pool, number, head, s_.padded_head_dim, m_.layers[number].window, s_.attention_cap}.mix(queries_);
            }
        }
    }

    Transformer& m_;
    const Shape& s_;
    int width_, heads_, qkv_, hidden_, rows_ = 0, room_ = 0, logit_rows_ = 0;
    Buffer x_, normal_, projected_, mixed_, active_, sum_, logits_;
    std::vector<float> scores_, latents_;
    std::vector<Query> queries_;
    Experts experts_;
    Seat seat_;
};

}  // namespace groupwise
