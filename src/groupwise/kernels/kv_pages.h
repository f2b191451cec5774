// Keys and values in pages of sixteen positions, taken from a pool as a sequence grows and given back when it ends.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "matrix.h"

namespace groupwise {

class Pool {
  public:
    void shape(int layers, int kv_heads, int head_dim) {
        kv_heads_ = kv_heads, head_dim_ = head_dim;
        floats_ = size_t(layers) * kv_heads * 2 * LANES * head_dim;
    }

    float* take() {
        std::lock_guard<std::mutex> lock(mutex_);
        if (free_.empty()) {
            const size_t count = (CHUNK + floats_ - 1) / floats_;
            chunks_.push_back(allocate(floats_ * count));
            for (size_t i = count; i--;) free_.push_back(chunks_.back().get() + floats_ * i);
        }
        float* page = free_.back();
        free_.pop_back(), ++held_;
        return page;
    }

    void give(const std::vector<float*>& pages) {
        std::lock_guard<std::mutex> lock(mutex_);
        free_.insert(free_.end(), pages.begin(), pages.end()), held_ -= pages.size();
    }

    // Pages that some sequence has.
    size_t held() {
        std::lock_guard<std::mutex> lock(mutex_);
        return held_;
    }

    // [head_dim][16]: position last, so that a query meets sixteen keys at once.
    float* keys(float* page, int layer, int head) const {
        return page + (size_t(layer) * kv_heads_ + head) * 2 * LANES * head_dim_;
    }
    // [16][head_dim].
    float* values(float* page, int layer, int head) const { return keys(page, layer, head) + LANES * head_dim_; }

  private:
    static constexpr size_t CHUNK = size_t(1) << 20;  // floats asked for at a time
    int kv_heads_ = 0, head_dim_ = 0;
    size_t floats_ = 0, held_ = 0;
    std::mutex mutex_;
    std::vector<float*> free_;
    std::vector<Buffer> chunks_;
};

// A stretch of positions. A completion sees its prompt's stretch, which all of its group share, then its own.
struct Stretch {
    Pool* pool;
    std::vector<float*> pages;

    explicit Stretch(Pool* from) : pool(from) {}
    Stretch(const Stretch&) = delete;
    ~Stretch() { pool->give(pages); }

    void reach(int position) {
        while (int(pages.size()) * LANES <= position) pages.push_back(pool->take());
    }
};

}  // namespace groupwise
