// The learner's kernels in float32: what a block does, forward and backward. Called by kernels/learn.py, halves.py and
// token_logprobs.py, whose structures these are. Every function says by its code whether it could; none throws, none ends the
// process. Sums over rows go in a fixed order, so that the number of threads changes no bit.

#include "token_logprobs.h"
#include "half_block.h"
#include "packed_attention.h"
#include "views.h"

using namespace groupwise;

namespace {

constexpr int BLOCK = 64;  // rows of one unit of work; kernels/learn.py knows it

int (*set_product_threads)(int) = nullptr;

// Within a thread_index a matrix product has one thread.
struct OneThread {
    int before = set_product_threads ? set_product_threads(1) : 0;
    ~OneThread() {
        if (set_product_threads) set_product_threads(before);
    }
};

ThreadPool& pool_of(void* handle) { return *static_cast<ThreadPool*>(handle); }

int number(int64_t count) {
    expect(count >= 0 && count < (int64_t(1) << 31), "more than 2^31 rows or numbers in one");
    return int(count);
}

void expect_vectors(int64_t width) { expect(width > 0 && width % LANES == 0, "a width that is not whole vectors of 16"); }

template <class Work>
void each_row(int64_t rows, void* pool, const Work& work) {
    const auto stages = std::make_shared<Stages>();
    stages->add(number((rows + BLOCK - 1) / BLOCK), [&](int block, int) {
        for (int64_t row = int64_t(block) * BLOCK; row < std::min(rows, (int64_t(block) + 1) * BLOCK); ++row) work(row, block);
    });
    pool_of(pool).run(stages);
}

}  // namespace

extern "C" {

struct RopeArguments {
    View cos, sin;
    Numbers positions;
    View q_norm, k_norm;
    int32_t q, kv, size;
    float eps;
};

struct LayerViews {  // and of their gradients
    View weight, bias, a, b;
    int32_t half;  // whether the weight's numbers are bfloat16
};

struct ProjectCall {
    View x, norm;
    LayerViews qkv;
    RopeArguments rope_arguments;
    View raw, made;
    int32_t tile;
    float eps;
};

struct ProjectGradients {
    View dq, dk, dv, dx, norm, q_norm, k_norm;
    LayerViews qkv;
};

struct FinishCall {
    View x, mixed, after_attention, before, after;
    LayerViews out, gate_up, down;
    View attended, middle, kept, added, result;
    int32_t gelu, tile;
    float eps;
};

struct FinishGradients {
    View dy, dx, dmixed, after_attention, before, after;
    LayerViews out, gate_up, down;
};

struct AttentionCall {
    View q, k, v;  // [N, heads * head_dim]
    Spans prompts, completions;  // start, length, first completion, one past the last; start, length
    int32_t heads, kv_heads, head_dim, longest;
    float scale;
    View out, normalisers;
};

struct AttentionGradients {
    View dout, dq, dk, dv;
};

struct TokenLogprobsCall {
    View hidden, matrix;
    int32_t half;  // whether the matrix's numbers are bfloat16
    Numbers targets;
    float scale;
    int32_t tile, strands;
    View kept, found;  // logits of all rows, or none; log-probabilities, entropies, normalisers
};

}  // extern "C"

namespace {

Rope rope_of(const RopeArguments& from, int64_t rows) {
    expect(from.q > 0 && from.kv > 0 && from.size <= LARGEST_HEAD, "heads that are none, or larger than 1024");
    expect_vectors(from.size);
    const int64_t size = from.size, places = from.cos.rows;
    return {{from.q, from.kv, from.size}, from.q_norm.maybe(1, size, "norm of queries"), from.k_norm.maybe(1, size, "norm of keys"),
            from.eps, from.cos.as(places, size, "cosines"), from.sin.as(places, size, "sines"),
            from.positions.below(places, rows, "positions")};
}

Linear linear(const View& weight, bool half, int64_t out, int64_t in, const char* what) {
    expect(HAS_BFLOAT || !half, "bfloat16 weights on a processor without instructions for them");
    float* numbers = weight.as(out, in, what);
    if (half) return {nullptr, number(out), number(in), {reinterpret_cast<const uint16_t*>(numbers), nullptr, nullptr}};
    return {numbers, number(out), number(in)};
}

void lay_out(ThreadPool& pool, Linear& layer, Panels& panels, bool forward, bool backward) {
    if (forward) panels.forward(pool, layer.half, layer.out, layer.in);
    if (backward) panels.backward(pool, layer.half, layer.out, layer.in);
}

Adapted adapted(const LayerViews& from, int64_t out, int64_t in) {
    const int64_t rank = from.a ? from.a.rows : 0;
    expect(bool(from.a) == bool(from.b), "one of an adapter's two matrices is missing");
    return {linear(from.weight, from.half, out, in, "weight"),
            {from.a.maybe(rank, in, "adapter's a"), number(rank), number(in)},
            {from.b.maybe(out, rank, "adapter's b"), number(out), number(rank)}};
}

Sums sums_of(const View& to, int64_t rows, int64_t width, bool both, const char* what) {
    return {to.maybe(rows, width, what), rows * width, both};
}

LayerSums sums_of(const LayerViews& to, const Adapted& layer, bool both) {
    const int64_t out = layer.layer.out, in = layer.layer.in, rank = layer.rank();
    expect(bool(to.a) == bool(to.b), "one of an adapter's two gradients is missing");
    return {sums_of(to.weight, out, in, both, "gradient of a weight"), sums_of(to.a, rank, in, both, "gradient of an adapter's a"),
            sums_of(to.b, out, rank, both, "gradient of an adapter's b")};
}

Project project_of(const ProjectCall& from) {
    const Rope rope = rope_of(from.rope_arguments, from.x.rows);
    const int64_t width = from.x.width, out = rope.heads.width();
    expect_vectors(width);
    expect(from.tile > 0, "tiles without rows");
    return {{from.norm.as(1, width, "norm"), from.eps, number(width)}, adapted(from.qkv, out, width),
            from.qkv.bias.maybe(1, out, "bias"), rope, from.x.rows, from.tile};
}

Finish finish_of(const FinishCall& from, int64_t rows, int64_t width) {
    const int64_t inner = from.mixed.width, hidden = from.down.weight.width;
    expect_vectors(width), expect_vectors(inner), expect_vectors(hidden);
    expect(from.tile > 0, "tiles without rows");
    const auto norm = [&](const View& weight) { return Norm{weight.maybe(1, width, "norm"), from.eps, number(width)}; };
    expect(bool(from.before), "the norm before the feed-forward layers is missing");
    return {norm(from.after_attention), norm(from.before), norm(from.after), adapted(from.out, width, inner),
            adapted(from.gate_up, 2 * hidden, width), adapted(from.down, width, hidden), from.gelu != 0, rows, from.tile};
}

template <class T>
Finish::Kept<T> kept_of(const FinishCall& from, const Finish& half, bool rows_too) {
    const int64_t rows = half.rows, width = half.width(), both = 2 * int64_t(half.hidden());
    const auto where = [&](const Norm& norm, const View& view, const char* what) {
        return norm.weight ? view.as(rows, width, what) : nullptr;
    };
    float* kept = rows_too ? from.kept.as(rows, both, "rows of gate and up") : from.kept.maybe(rows, both, "rows of gate and up");
    return {where(half.after_attention, from.attended, "what attention adds"), from.middle.as(rows, width, "y"), kept,
            where(half.after, from.added, "what is added last")};
}

// Families and completions of a packing; all of their tokens are there.
struct Plan {
    const int32_t (*prompts)[4];
    const int32_t (*completions)[2];
    int families;

    Plan(const AttentionCall& from, int64_t tokens)
        : prompts(reinterpret_cast<const int32_t(*)[4]>(from.prompts.data)),
          completions(reinterpret_cast<const int32_t(*)[2]>(from.completions.data)), families(number(from.prompts.count)) {
        const auto inside = [&](int64_t start, int64_t length) { return start >= 0 && length >= 0 && start + length <= tokens; };
        for (int i = 0; i < families; ++i) {
            const int32_t* prompt = prompts[i];
            expect(inside(prompt[0], prompt[1]), "a prompt beyond the packed tokens");
            expect(prompt[2] >= 0 && prompt[2] <= prompt[3] && prompt[3] <= from.completions.count, "completions that are not there");
            for (int row = prompt[2]; row < prompt[3]; ++row) {
                expect(inside(completions[row][0], completions[row][1]), "a completion beyond the packed tokens");
                expect(int64_t(prompt[1]) + completions[row][1] <= from.longest, "a sequence longer than the longest");
            }
            expect(prompt[1] <= from.longest, "a prompt longer than the longest");
        }
    }

    // run(number of the family, head) and its completions, in a worker of the thread_index's own.
    template <class Worker, class Make, class Each>
    void each_head(ThreadPool& pool, int kv_heads, const Make& make, const Each& each) const {
        std::vector<std::unique_ptr<Worker>> workers(size_t(pool.count()));
        const auto stages = std::make_shared<Stages>();
        stages->add(number(int64_t(families) * kv_heads), [&](int unit, int thread_index) {
            std::unique_ptr<Worker>& worker = workers[size_t(thread_index)];
            if (!worker) worker = std::make_unique<Worker>(make());
            each(*worker, unit / kv_heads, unit % kv_heads);
        });
        pool.run(stages);
    }

    Tokens prompt(int family) const { return {prompts[family][0], prompts[family][1]}; }
};

Family family_of(const AttentionCall& from) {
    const int64_t rows = from.q.rows, size = from.head_dim;
    expect(from.kv_heads > 0 && from.heads % from.kv_heads == 0, "heads that are no multiple of the key-value heads");
    expect_vectors(size);
    const auto view = [&](const View& x, int64_t heads, const char* what) {
        return Rows<const float>{x.apart(rows, heads * size, what), x.stride};
    };
    return Family({from.heads, from.kv_heads, from.head_dim, from.scale}, view(from.q, from.heads, "queries"),
                  view(from.k, from.kv_heads, "keys"), view(from.v, from.kv_heads, "values"), from.longest);
}

Chances chances_of(const TokenLogprobsCall& from) {
    const int64_t rows = from.hidden.rows, vocabulary = from.matrix.rows, width = from.hidden.width;
    expect(from.tile > 0 && from.strands > 0 && from.strands <= STRANDS, "tiles without rows, or too many strands");
    return {linear(from.matrix, from.half, vocabulary, width, "vocabulary matrix"),
            from.hidden.as(rows, width, "hidden states"), from.targets.below(vocabulary, rows, "targets"), from.scale, rows,
            from.tile, from.strands, from.kept.maybe(rows, vocabulary, "logits")};
}

}  // namespace

extern "C" {

const char* groupwise_error() { return last_error; }

// Whether weights may be bfloat16.
int has_bfloat() noexcept { return HAS_BFLOAT; }

int use_product(void* product, void* threads) noexcept {
    sgemm = reinterpret_cast<Sgemm>(product), set_product_threads = reinterpret_cast<int (*)(int)>(threads);
    return DONE;
}

int threads_open(int count, void** pool) noexcept {
    return guarded([&] {
        *pool = new ThreadPool(count, [] {
            if (set_product_threads) set_product_threads(1);
        });
    });
}

int threads_close(void* pool) noexcept {
    return guarded([&] { delete static_cast<ThreadPool*>(pool); });
}

int norm_forward(View x, View weight, float eps, View y, void* pool) noexcept {
    return guarded([&] {
        const int width = number(x.width);
        const float *from = x.as(x.rows, x.width, "x"), *by = weight.as(1, x.width, "weight");
        float* to = y.as(x.rows, x.width, "y");
        expect_vectors(width);
        each_row(x.rows, pool, [=](int64_t row, int) { norm(from + row * width, by, width, eps, to + row * width); });
    });
}

// dx grows, and a row of dweight for each block of rows.
int norm_backward(View x, View weight, float eps, View dy, View dx, View dweight, void* pool) noexcept {
    return guarded([&] {
        const int width = number(x.width);
        const float *from = x.as(x.rows, x.width, "x"), *by = weight.as(1, x.width, "weight");
        const float* back = dy.as(x.rows, x.width, "dy");
        float *to = dx.as(x.rows, x.width, "dx"), *grown = dweight.as((x.rows + BLOCK - 1) / BLOCK, x.width, "dweight");
        expect_vectors(width);
        each_row(x.rows, pool, [=](int64_t row, int block) {
            const int64_t at = row * width;
            norm_backward(from + at, by, width, eps, back + at, to + at);
            norm_learn(from + at, width, eps, back + at, grown + int64_t(block) * width);
        });
    });
}

int heads_forward(View x, const RopeArguments* rope_arguments, View y, void* pool) noexcept {
    return guarded([&] {
        const Rope rope = rope_of(*rope_arguments, x.rows);
        const int64_t width = rope.heads.width();
        const float* from = x.as(x.rows, width, "x");
        float* to = y.as(x.rows, width, "y");
        each_row(x.rows, pool, [=](int64_t row, int) { rope.forward(from + row * width, row, to + row * width); });
    });
}

// x where heads are normed; then a row of dq_norm and dk_norm grows for each block of rows.
int heads_backward(View x, const RopeArguments* rope_arguments, View dq, View dk, View dv, View dx, View dq_norm, View dk_norm,
                   void* pool) noexcept {
    return guarded([&] {
        const int64_t rows = dq.rows, blocks = (rows + BLOCK - 1) / BLOCK;
        const Rope rope = rope_of(*rope_arguments, rows);
        const int64_t width = rope.heads.width(), size = rope.heads.size;
        const bool normed = rope.q_weight || rope.k_weight;
        const float* from = normed ? x.as(rows, width, "x") : nullptr;
        const Turned back{dq.apart(rows, rope.heads.q * size, "dq"), dk.apart(rows, rope.heads.kv * size, "dk"),
                          dv.apart(rows, rope.heads.kv * size, "dv"), dq.stride, dk.stride, dv.stride};
        float *to = dx.as(rows, width, "dx"), *q = dq_norm.as(blocks, size, "dq_norm"), *k = dk_norm.as(blocks, size, "dk_norm");
        each_row(rows, pool, [=](int64_t row, int block) {
            const float* here = from ? from + row * width : nullptr;
            rope.backward(here, row, back, to + row * width);
            if (normed) rope.learn(here, row, back, q + block * size, k + block * size);
        });
    });
}

int swiglu_forward(View x, View y, void* pool) noexcept {
    return guarded([&] {
        const int width = number(y.width);
        const float* from = x.as(y.rows, 2 * y.width, "x");
        float* to = y.as(y.rows, y.width, "y");
        expect_vectors(width);
        each_row(y.rows, pool, [=](int64_t row, int) {
            const float* gate = from + row * 2 * width;
            swiglu(gate, gate + width, width, to + row * width);
        });
    });
}

int swiglu_backward(View x, View dy, View y, View dx, void* pool) noexcept {
    return guarded([&] {
        const int width = number(dy.width);
        const float *from = x.as(dy.rows, 2 * dy.width, "x"), *back = dy.as(dy.rows, dy.width, "dy");
        float *to = y.as(dy.rows, dy.width, "y"), *change = dx.as(dy.rows, 2 * dy.width, "dx");
        expect_vectors(width);
        each_row(dy.rows, pool, [=](int64_t row, int) {
            const int64_t at = row * 2 * width;
            swiglu_backward(from + at, from + at + width, back + at / 2, width, to + at / 2, change + at, change + at + width);
        });
    });
}

int token_logprob_forward(View logits, Numbers targets, float scale, View found, void* pool) noexcept {
    return guarded([&] {
        const int64_t rows = logits.rows;
        const int count = number(logits.width);
        const float* from = logits.as(rows, count, "logits");
        const int64_t* wanted = targets.below(count, rows, "targets");
        float* to = found.as(3, rows, "what is found");
        each_row(rows, pool, [=](int64_t row, int) {
            const Chance each = chance(from + row * count, count, wanted[row], scale);
            to[row] = each.logprob, to[rows + row] = each.entropy, to[2 * rows + row] = each.normaliser;
        });
    });
}

int token_logprob_backward(View logits, Numbers targets, float scale, View normalisers, View by, void* pool) noexcept {
    return guarded([&] {
        const int64_t rows = logits.rows;
        const int count = number(logits.width);
        float* from = logits.as(rows, count, "logits");
        const int64_t* wanted = targets.below(count, rows, "targets");
        const float *norms = normalisers.as(1, rows, "normalisers"), *back = by.as(1, rows, "gradient of log-probabilities");
        each_row(rows, pool, [=](int64_t row, int) {
            token_logprob_backward(from + row * count, count, wanted[row], scale, norms[row], back[row]);
        });
    });
}

int attention_forward(const AttentionCall* call, void* pool) noexcept {
    return guarded([&] {
        const int64_t rows = call->q.rows, width = int64_t(call->heads) * call->head_dim;
        const Plan plan(*call, rows);
        const Rows<float> out{call->out.as(rows, width, "what attention finds"), width};
        float* normalisers = call->normalisers.as(rows, call->heads, "normalisers");
        const auto make = [&] { return Forward{family_of(*call), out, normalisers}; };
        plan.each_head<Forward>(pool_of(pool), call->kv_heads, make, [&](Forward& worker, int family, int head) {
            worker.run(head, plan.prompt(family), 0);
            for (int row = plan.prompts[family][2]; row < plan.prompts[family][3]; ++row)
                worker.run(head, {plan.completions[row][0], plan.completions[row][1]}, plan.prompts[family][1]);
        });
    });
}

int attention_backward(const AttentionCall* call, const AttentionGradients* to, void* pool) noexcept {
    return guarded([&] {
        const int64_t rows = call->q.rows, size = call->head_dim, width = call->heads * size, small = call->kv_heads * size;
        const Plan plan(*call, rows);
        const Rows<const float> out{call->out.as(rows, width, "what attention finds"), width};
        const Rows<const float> dout{to->dout.as(rows, width, "dout"), width};
        const float* normalisers = call->normalisers.as(rows, call->heads, "normalisers");
        const auto rows_of = [&](const View& x, int64_t wide, const char* what) {
            return Rows<float>{x.apart(rows, wide, what), x.stride};
        };
        const Rows<float> dq = rows_of(to->dq, width, "dq"), dk = rows_of(to->dk, small, "dk"), dv = rows_of(to->dv, small, "dv");
        const auto make = [&] { return Backward(family_of(*call), out, dout, normalisers, dq, dk, dv); };
        plan.each_head<Backward>(pool_of(pool), call->kv_heads, make, [&](Backward& worker, int family, int head) {
            worker.run(head, plan.prompt(family), 0);
            const int prompt = plan.prompts[family][1];
            for (int row = plan.prompts[family][2]; row < plan.prompts[family][3]; ++row) {
                const Tokens own{plan.completions[row][0], plan.completions[row][1]};
                worker.run(head, own, prompt);
                worker.give(head, own, prompt);
            }
            worker.give(head, plan.prompt(family), 0);
        });
    });
}

int project(const ProjectCall* call, void* pool) noexcept {
    return guarded([&] {
        const OneThread alone;
        Project half = project_of(*call);
        Panels panels;
        lay_out(pool_of(pool), half.qkv.layer, panels, true, false);
        const int64_t rows = half.rows, out = half.out();
        half.forward(pool_of(pool), call->x.as(rows, half.in(), "x"), call->raw.as(rows, out, "raw"), call->made.as(rows, out, "made"));
    });
}

int project_backward(const ProjectCall* call, const ProjectGradients* to, void* pool) noexcept {
    return guarded([&] {
        const OneThread alone;
        Project half = project_of(*call);
        Panels panels;
        lay_out(pool_of(pool), half.qkv.layer, panels, false, true);
        const Heads heads = half.rope.heads;
        const int64_t rows = half.rows, in = half.in(), out = half.out(), size = heads.size;
        const bool normed = half.rope.q_weight || half.rope.k_weight, both = rows > 1;
        const Turned back{to->dq.apart(rows, heads.q * size, "dq"), to->dk.apart(rows, heads.kv * size, "dk"),
                          to->dv.apart(rows, heads.kv * size, "dv"), to->dq.stride, to->dk.stride, to->dv.stride};
        const Project::Gradients sums{
            back, to->dx.as(rows, in, "dx"), sums_of(to->qkv, half.qkv, both), sums_of(to->norm, 1, in, both, "gradient of norm"),
            sums_of(to->q_norm, 1, size, both, "gradient of q_norm"), sums_of(to->k_norm, 1, size, both, "gradient of k_norm"),
            sums_of(to->qkv.bias, 1, out, both, "gradient of bias")};
        half.backward(pool_of(pool), call->x.as(rows, in, "x"), normed ? call->raw.as(rows, out, "raw") : nullptr, sums);
    });
}

int finish(const FinishCall* call, void* pool) noexcept {
    return guarded([&] {
        const OneThread alone;
        const int64_t rows = call->x.rows, width = call->x.width;
        Finish half = finish_of(*call, rows, width);
        Panels panels;
        for (Adapted* each : {&half.out, &half.gate_up, &half.down}) lay_out(pool_of(pool), each->layer, panels, true, false);
        half.forward(pool_of(pool), call->x.as(rows, width, "x"), call->mixed.as(rows, half.inner(), "mixed"),
                     kept_of<float>(*call, half, false), call->result.as(rows, width, "result"));
    });
}

int finish_backward(const FinishCall* call, const FinishGradients* to, void* pool) noexcept {
    return guarded([&] {
        const OneThread alone;
        const int64_t rows = to->dy.rows, width = to->dy.width;
        Finish half = finish_of(*call, rows, width);
        Panels panels;
        for (Adapted* each : {&half.out, &half.gate_up, &half.down}) lay_out(pool_of(pool), each->layer, panels, false, true);
        const bool both = rows > 1;
        const auto norm = [&](const View& view) { return sums_of(view, 1, width, both, "gradient of a norm"); };
        const Finish::Gradients sums{to->dx.as(rows, width, "dx"), to->dmixed.as(rows, half.inner(), "dmixed"),
                                     norm(to->after_attention), norm(to->before), norm(to->after),
                                     sums_of(to->out, half.out, both), sums_of(to->gate_up, half.gate_up, both),
                                     sums_of(to->down, half.down, both)};
        half.backward(pool_of(pool), to->dy.as(rows, width, "dy"), call->mixed.as(rows, half.inner(), "mixed"),
                      kept_of<const float>(*call, half, true), sums);
    });
}

int token_logprobs(const TokenLogprobsCall* call, void* pool) noexcept {
    return guarded([&] {
        const OneThread alone;
        Chances head = chances_of(*call);
        Panels panels;
        lay_out(pool_of(pool), head.head, panels, true, false);
        float* found = call->found.as(3, head.rows, "what is found");
        head.forward(pool_of(pool), {found, found + head.rows, found + 2 * head.rows});
    });
}

int token_logprobs_backward(const TokenLogprobsCall* call, View by, View dhidden, View dmatrix, void* pool) noexcept {
    return guarded([&] {
        const OneThread alone;
        Chances head = chances_of(*call);
        Panels panels;
        lay_out(pool_of(pool), head.head, panels, !head.kept, true);
        const int64_t rows = head.rows, vocabulary = head.vocabulary();
        const Sums sums = sums_of(dmatrix, vocabulary, head.width(), head.strands > 1, "gradient of the vocabulary matrix");
        const float* found = call->found.as(3, rows, "what was found");
        head.backward(pool_of(pool), {found + 2 * rows, by.as(1, rows, "gradient of log-probabilities"),
                                        dhidden.as(rows, head.width(), "gradient of hidden states"), sums});
    });
}

}  // extern "C"
