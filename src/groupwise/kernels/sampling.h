// From logits to a token, its log-probability and, where the choice was narrowed, what it was narrowed to.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "vector.h"

namespace groupwise {

struct Rule {
    int32_t max_tokens, top_k;
    double temperature, top_p, min_p;
    bool narrows() const { return temperature > 0 && (top_k > 0 || top_p < 1 || min_p > 0); }
};

// Philox 4x64-10 (Salmon et al. 2011), counted and read as numpy does: uniforms in [0, 1) that belong to one completion.
class Stream {
  public:
    Stream(uint64_t low, uint64_t high) : key_{low, high} {}

    // As after so many calls of `next`, from the beginning.
    void skip(uint64_t count) {
        counter_[0] = count / 4, counter_[1] = counter_[2] = counter_[3] = 0, at_ = 4;
        if (count % 4) fill(), at_ = int(count % 4);
    }

    double next() {
        if (at_ == 4) fill();
        return double(block_[at_++] >> 11) * 0x1.0p-53;
    }

  private:
    void fill() {
        for (int i = 0; i < 4; ++i)
            if (++counter_[i]) break;
        uint64_t key[2] = {key_[0], key_[1]}, c[4];
        std::memcpy(c, counter_, sizeof c);
        for (int round = 0; round < 10; ++round) {
            const __uint128_t a = __uint128_t(0xD2E7470EE14C6C93ull) * c[0], b = __uint128_t(0xCA5A826395121157ull) * c[2];
            const uint64_t next[4] = {uint64_t(b >> 64) ^ c[1] ^ key[0], uint64_t(b), uint64_t(a >> 64) ^ c[3] ^ key[1],
                                      uint64_t(a)};
            std::memcpy(c, next, sizeof c);
            key[0] += 0x9E3779B97F4A7C15ull, key[1] += 0xBB67AE8584CAA73Bull;
        }
        std::memcpy(block_, c, sizeof c);
        at_ = 0;
    }

    uint64_t key_[2], counter_[4] = {0, 0, 0, 0}, block_[4];
    int at_ = 4;
};

struct Drawn {
    int token;
    double logprob;
};

class Sampler {
  public:
    explicit Sampler(const Rule& rule, int vocabulary) : rule_(rule), size_(vocabulary), weights_(padded(vocabulary, BLOCK)) {}

    // Of the last draw: the ids left by top-k, top-p and min-p, in order; empty where all are.
    const std::vector<int>& kept() const { return kept_; }

    Drawn draw(const float* logits, Stream& stream) {
        kept_.clear();
        const double uniform = stream.next();
        const float temperature = rule_.temperature > 0 ? float(rule_.temperature) : 1.0f;
        const float top = weigh(logits, temperature);
        if (rule_.temperature == 0) {
            const int best = int(std::max_element(logits, logits + size_) - logits);
            return {best, double(logits[best] - top) - std::log(total_)};
        }
        const int token = rule_.narrows() ? among(logits, uniform) : anywhere(uniform);
        return {token, double(logits[token] / temperature - top) - std::log(total_)};
    }

  private:
    static constexpr int BLOCK = 4 * LANES;

    // e^(logit / temperature - largest) of every token; their sum by blocks. Returns the largest.
    float weigh(const float* logits, float temperature) {
        Vec highest = splat(-INFINITY);
        int i = 0;
        for (; i + LANES <= size_; i += LANES) highest = larger(highest, load(logits + i));
        float top = largest(highest);
        for (; i < size_; ++i) top = std::max(top, logits[i]);
        top /= temperature;
        blocks_.clear();
        total_ = 0;
        for (int start = 0; start < size_; start += BLOCK) {
            double block = 0;
            for (int at = start; at < start + BLOCK; at += LANES) {
                Vec weight{};
                if (at + LANES <= size_) {
                    weight = exp(load(logits + at) / temperature - top);
                } else {
                    for (int thread_index = 0; at + thread_index < size_; ++thread_index) weight[thread_index] = logits[at + thread_index] / temperature - top;
                    weight = exp(weight);
                    for (int thread_index = std::max(0, size_ - at); thread_index < LANES; ++thread_index) weight[thread_index] = 0;
                }
                store(&weights_[at], weight);
                for (int thread_index = 0; thread_index < LANES; ++thread_index) block += weight[thread_index];
            }
            blocks_.push_back(block);
            total_ += block;
        }
        return top;
    }

    // The first token whose cumulative weight exceeds the threshold: never one of weight 0.
    int anywhere(double uniform) const {
        const double threshold = uniform * total_;
        double sum = 0;
        size_t block = 0;
        while (block + 1 < blocks_.size() && sum + blocks_[block] <= threshold) sum += blocks_[block++];
        int last = int(block) * BLOCK;
        for (int i = last; i < size_; ++i) {
            if (weights_[i] == 0) continue;
            last = i;
            if ((sum += weights_[i]) > threshold) break;
        }
        return last;
    }

    int among(const float* logits, double uniform) {
        order_.resize(size_);
        std::iota(order_.begin(), order_.end(), 0);
        const auto before = [&](int a, int b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; };
        const int most = rule_.top_k > 0 ? std::min(rule_.top_k, size_) : size_;
        const double least = rule_.min_p * weights_[std::max_element(logits, logits + size_) - logits];
        double cumulative = 0;
        int sorted = 0;
        for (int i = 0; i < most; ++i) {
            if (i == sorted) {  // a few more in order: most of the vocabulary is never looked at
                const int upto = std::min(most, std::max(64, sorted * 4));
                std::partial_sort(order_.begin() + i, order_.begin() + upto, order_.end(), before);
                sorted = upto;
            }
            const double weight = weights_[order_[i]];
            if (i && (cumulative / total_ >= rule_.top_p || weight < least)) break;
            cumulative += weight;
            kept_.push_back(order_[i]);
        }
        std::sort(kept_.begin(), kept_.end());
        total_ = 0;
        for (const int id : kept_) total_ += weights_[id];
        const double threshold = uniform * total_;
        double sum = 0;
        int last = kept_[0];
        for (const int id : kept_) {
            if (weights_[id] == 0) continue;
            last = id;
            if ((sum += weights_[id]) > threshold) break;
        }
        return last;
    }

    const Rule rule_;
    const int size_;
    double total_ = 0;
    std::vector<float> weights_;
    std::vector<double> blocks_;
    std::vector<int> order_, kept_;
};

}  // namespace groupwise
