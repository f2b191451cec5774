// The learner's kernels in float32: the parts of a block that are not large matrix products, forward and backward.
// Called by kernels/learn.py, which says what each does. Sums over rows go block by block in a fixed order, so that the
// number of threads changes no bit.

#include "packed.h"
#include "rows.h"
#include "workers.h"

using namespace groupwise;

namespace {

constexpr int BLOCK = 64;  // rows of one unit of work; kernels/learn.py knows it

template <class Work>
void each_row(int rows, int threads, const Work& work) {
    parallel((rows + BLOCK - 1) / BLOCK, threads, [&](int block, int) {
        for (int row = block * BLOCK; row < std::min(rows, (block + 1) * BLOCK); ++row) work(row, block);
    });
}

struct Heads {
    int q, kv, size;
    int64_t width() const { return int64_t(q + 2 * kv) * size; }
};

struct Plan {  // of families: (start and length of the prompt, first completion, one past the last)
    const int32_t (*prompts)[4];
    const int32_t (*completions)[2];  // start, length
};

}  // namespace

extern "C" {

void norm_forward(const float* x, const float* weight, float eps, int rows, int width, float* y, int threads) {
    each_row(rows, threads, [&](int row, int) { norm(x + int64_t(row) * width, weight, width, eps, y + int64_t(row) * width); });
}

void norm_backward(const float* x, const float* weight, float eps, int rows, int width, const float* dy, float* dx,
                   float* dweight, int threads) {
    each_row(rows, threads, [&](int row, int block) {
        const int64_t at = int64_t(row) * width;
        norm_backward(x + at, weight, width, eps, dy + at, dx + at, dweight + int64_t(block) * width);
    });
}

void heads_forward(const float* x, const float* q_weight, const float* k_weight, float eps, const float* cos,
                   const float* sin, const int64_t* positions, int rows, int q, int kv, int size, float* y, int threads) {
    const Heads heads{q, kv, size};
    each_row(rows, threads, [&](int row, int) {
        const float* from = x + row * heads.width();
        float* to = y + row * heads.width();
        float normed[1024];
        for (int head = 0; head < q + kv; ++head, from += size, to += size) {
            const float *weight = head < q ? q_weight : k_weight, *turned = from;
            if (weight) norm(from, weight, size, eps, normed), turned = normed;
            turn(turned, cos + positions[row] * size, sin + positions[row] * size, size, to);
        }
        std::copy(from, from + int64_t(kv) * size, to);
    });
}

void heads_backward(const float* x, const float* q_weight, const float* k_weight, float eps, const float* cos,
                    const float* sin, const int64_t* positions, int rows, int q, int kv, int size, const float* dq,
                    int64_t dq_row, const float* dk, int64_t dk_row, const float* dv, int64_t dv_row, float* dx,
                    float* dq_weight, float* dk_weight, int threads) {
    const Heads heads{q, kv, size};
    each_row(rows, threads, [&](int row, int block) {
        const float* from = x + row * heads.width();
        float *to = dx + row * heads.width(), turned[1024];
        for (int head = 0; head < q + kv; ++head, from += size, to += size) {
            const bool query = head < q;
            const float* dy = query ? dq + row * dq_row + head * size : dk + row * dk_row + (head - q) * size;
            const float *at_cos = cos + positions[row] * size, *at_sin = sin + positions[row] * size;
            const float* weight = query ? q_weight : k_weight;
            if (!weight) {
                turn_backward(dy, at_cos, at_sin, size, to);
                continue;
            }
            turn_backward(dy, at_cos, at_sin, size, turned);
            std::fill_n(to, size, 0.0f);
            norm_backward(from, weight, size, eps, turned, to, (query ? dq_weight : dk_weight) + int64_t(block) * size);
        }
        std::copy_n(dv + row * dv_row, kv * size, to);
    });
}

void gated_forward(const float* x, int rows, int width, float* y, int threads) {
    each_row(rows, threads, [&](int row, int) {
        const float* gate = x + int64_t(row) * 2 * width;
        gated(gate, gate + width, width, y + int64_t(row) * width);
    });
}

void gated_backward(const float* x, const float* dy, int rows, int width, float* y, float* dx, int threads) {
    each_row(rows, threads, [&](int row, int) {
        const int64_t at = int64_t(row) * 2 * width;
        gated_backward(x + at, x + at + width, dy + at / 2, width, y + at / 2, dx + at, dx + at + width);
    });
}

void chance_forward(const float* logits, const int64_t* targets, float scale, int rows, int count, float* logprobs,
                    float* entropies, float* normalisers, int threads) {
    each_row(rows, threads, [&](int row, int) {
        const Chance found = chance(logits + int64_t(row) * count, count, targets[row], scale);
        logprobs[row] = found.logprob, entropies[row] = found.entropy, normalisers[row] = found.normaliser;
    });
}

void chance_backward(float* logits, const int64_t* targets, float scale, const float* normalisers, const float* by,
                     int rows, int count, int threads) {
    each_row(rows, threads, [&](int row, int) {
        chance_backward(logits + int64_t(row) * count, count, targets[row], scale, normalisers[row], by[row]);
    });
}

void attention_forward(const float* q, int64_t q_row, const float* k, int64_t k_row, const float* v, int64_t v_row,
                       const int32_t (*prompts)[4], const int32_t (*completions)[2], int families, int longest, int heads,
                       int kv_heads, int head_dim, float scale, float* out, int64_t out_row, float* normalisers,
                       int threads) {
    const Plan plan{prompts, completions};
    std::vector<Forward> workers;
    for (int thread = 0; thread < std::min(threads, families * kv_heads); ++thread) {
        Family family({heads, kv_heads, head_dim, scale}, {q, q_row}, {k, k_row}, {v, v_row}, longest);
        workers.push_back({std::move(family), {out, out_row}, normalisers});
    }
    parallel(families * kv_heads, threads, [&](int unit, int thread) {
        const int32_t* prompt = plan.prompts[unit / kv_heads];
        const int head = unit % kv_heads;
        workers[thread].run(head, {prompt[0], prompt[1]}, 0);
        for (int row = prompt[2]; row < prompt[3]; ++row) {
            workers[thread].run(head, {plan.completions[row][0], plan.completions[row][1]}, prompt[1]);
        }
    });
}

void attention_backward(const float* q, int64_t q_row, const float* k, int64_t k_row, const float* v, int64_t v_row,
                        const int32_t (*prompts)[4], const int32_t (*completions)[2], int families, int longest, int heads,
                        int kv_heads, int head_dim, float scale, const float* out, int64_t out_row,
                        const float* normalisers, const float* dout, int64_t dout_row, float* dq, int64_t dq_row, float* dk,
                        int64_t dk_row, float* dv, int64_t dv_row, int threads) {
    const Plan plan{prompts, completions};
    std::vector<Backward> workers;
    for (int thread = 0; thread < std::min(threads, families * kv_heads); ++thread) {
        Family family({heads, kv_heads, head_dim, scale}, {q, q_row}, {k, k_row}, {v, v_row}, longest);
        workers.emplace_back(std::move(family), Rows<const float>{out, out_row}, Rows<const float>{dout, dout_row},
                             normalisers, Rows<float>{dq, dq_row}, Rows<float>{dk, dk_row}, Rows<float>{dv, dv_row});
    }
    parallel(families * kv_heads, threads, [&](int unit, int thread) {
        const int32_t* prompt = plan.prompts[unit / kv_heads];
        const int head = unit % kv_heads;
        Backward& worker = workers[thread];
        worker.run(head, {prompt[0], prompt[1]}, 0);
        for (int row = prompt[2]; row < prompt[3]; ++row) {
            const Tokens own{plan.completions[row][0], plan.completions[row][1]};
            worker.run(head, own, prompt[1]);
            worker.give(head, own, prompt[1]);
        }
        worker.give(head, {prompt[0], prompt[1]}, 0);
    });
}

}  // extern "C"
