// The learner's kernels in float32: the parts of a block that are not large matrix products, forward and backward.
// Called by kernels/learn.py, which says what each does. Sums over rows go block by block in a fixed order, so that the
// number of threads changes no bit.

#include "halves.h"
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
    const Turning turning{{q, kv, size}, q_weight, k_weight, eps, cos, sin, positions};
    const int64_t width = turning.heads.width();
    each_row(rows, threads, [&](int row, int) { turning.forward(x + row * width, row, y + row * width); });
}

void heads_backward(const float* x, const float* q_weight, const float* k_weight, float eps, const float* cos,
                    const float* sin, const int64_t* positions, int rows, int q, int kv, int size, const float* dq,
                    int64_t dq_row, const float* dk, int64_t dk_row, const float* dv, int64_t dv_row, float* dx,
                    float* dq_weight, float* dk_weight, int threads) {
    const Turning turning{{q, kv, size}, q_weight, k_weight, eps, cos, sin, positions};
    const int64_t width = turning.heads.width();
    each_row(rows, threads, [&](int row, int block) {
        turning.backward(x ? x + row * width : nullptr, row, dq + row * dq_row, dk + row * dk_row, dv + row * dv_row,
                         dx + row * width, dq_weight + int64_t(block) * size, dk_weight + int64_t(block) * size);
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

void use_product(void* found) { sgemm = reinterpret_cast<Sgemm>(found); }

void project(const float* x, const float* weight, float eps, const float* qkv, const float* bias, const float* a,
             const float* b, int rank, const float* q_weight, const float* k_weight, const float* cos, const float* sin,
             const int64_t* positions, int rows, int width, int q, int kv, int size, int tile, float* raw, float* made,
             float* room, int) {
    const Turning turning{{q, kv, size}, q_weight, k_weight, eps, cos, sin, positions};
    const Adapted linear{qkv, a, b, rank, turning.heads.width(), width};
    Project{{weight, eps, width}, linear, bias, turning, rows, tile}.forward(x, raw, made, {room});
}

void project_backward(const float* x, const float* weight, float eps, const float* qkv, const float* bias, const float* a,
                      const float* b, int rank, const float* raw, const float* q_weight, const float* k_weight,
                      const float* cos, const float* sin, const int64_t* positions, int rows, int width, int q, int kv,
                      int size, const float* dq, int64_t dq_row, const float* dk, int64_t dk_row, const float* dv,
                      int64_t dv_row, int tile, float* dx, float* dweight, float* dq_weight, float* dk_weight, float* dqkv,
                      float* dbias, float* da, float* db, float* room, int) {
    const Turning turning{{q, kv, size}, q_weight, k_weight, eps, cos, sin, positions};
    const Adapted linear{qkv, a, b, rank, turning.heads.width(), width};
    Project{{weight, eps, width}, linear, bias, turning, rows, tile}.backward(
        x, raw, {dq, dq_row}, {dk, dk_row}, {dv, dv_row}, dx, dweight, dq_weight, dk_weight, {dqkv, da, db}, dbias, {room});
}

void finish(const float* x, const float* mixed, const float* after_attention, const float* before, const float* after,
            float eps, int by_gelu, const float* out, const float* out_a, const float* out_b, int out_rank,
            const float* gate_up, const float* gate_up_a, const float* gate_up_b, int gate_up_rank, const float* down,
            const float* down_a, const float* down_b, int down_rank, int rows, int width, int inner, int hidden, int tile,
            float* attended, float* middle, float* kept, float* added, float* result, float* room, int) {
    const Adapted first{out, out_a, out_b, out_rank, width, inner};
    const Adapted second{gate_up, gate_up_a, gate_up_b, gate_up_rank, 2 * hidden, width};
    const Adapted third{down, down_a, down_b, down_rank, width, hidden};
    const Norm norms[]{{after_attention, eps, width}, {before, eps, width}, {after, eps, width}};
    const Finish half{norms[0], norms[1], norms[2], first, second, third, by_gelu != 0, rows, tile};
    half.forward(x, mixed, {attended, middle, kept, added}, result, {room});
}

void finish_backward(const float* dy, const float* mixed, const float* attended, const float* middle, const float* kept,
                     const float* added, const float* after_attention, const float* before, const float* after, float eps,
                     int by_gelu, const float* out, const float* out_a, const float* out_b, int out_rank,
                     const float* gate_up, const float* gate_up_a, const float* gate_up_b, int gate_up_rank,
                     const float* down, const float* down_a, const float* down_b, int down_rank, int rows, int width,
                     int inner, int hidden, int tile, float* dx, float* dmixed, float* dafter_attention, float* dbefore,
                     float* dafter, float* dout, float* dout_a, float* dout_b, float* dgate_up, float* dgate_up_a,
                     float* dgate_up_b, float* ddown, float* ddown_a, float* ddown_b, float* room, int) {
    const Adapted first{out, out_a, out_b, out_rank, width, inner};
    const Adapted second{gate_up, gate_up_a, gate_up_b, gate_up_rank, 2 * hidden, width};
    const Adapted third{down, down_a, down_b, down_rank, width, hidden};
    const Norm norms[]{{after_attention, eps, width}, {before, eps, width}, {after, eps, width}};
    const Finish half{norms[0], norms[1], norms[2], first, second, third, by_gelu != 0, rows, tile};
    const Finish::Sums sums{dafter_attention, dbefore, dafter, {dout, dout_a, dout_b}, {dgate_up, dgate_up_a, dgate_up_b},
                            {ddown, ddown_a, ddown_b}};
    half.backward(dy, mixed, {attended, middle, kept, added}, dx, dmixed, sums, {room});
}

}  // extern "C"
