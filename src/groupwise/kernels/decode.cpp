// What Python calls: begin a batch of completions, hear of them as they end, end it. Every function says by its code
// whether it could; none throws, none ends the process.

#include "crew.h"

using namespace groupwise;

extern "C" {

struct Projection {
    const float *weight, *bias;
    int32_t outputs;
};

struct LayerWeights {
    Projection q, k, v, o, gate, up, down;
    const float *before_attention, *after_attention, *before_mlp, *after_mlp, *q_norm, *k_norm;
    int32_t window, rope;
};

struct Weights {
    Shape shape;
    const LayerWeights* layers;
    const float *embedding, *head, *head_bias, *norm;
    const float *const *cosines, *const *sines;  // [positions, head_dim] of each rope
};

struct Requests {
    int32_t count;
    const int32_t *prompts, *prompt_sizes, *group_sizes;
    const uint64_t* seeds;  // two halves of each completion's key
    Rule rule;
    int32_t stop_tokens, stop_strings, pieces;
    const int32_t* stop_ids;
    const char* const* stops;
    const int32_t* stop_sizes;
    const char* const* piece_bytes;
    const int32_t* piece_sizes;
    int32_t threads, max_rows, context, every_token;
};

struct Event {
    int32_t request, index, token, finished, length, kept;
    const int32_t *tokens, *kept_sizes, *kept_ids;
    const double* logprobs;  // none: this is a token, not a completion
};

}  // extern "C"

namespace {

void fill(Matrix& matrix, int inner, std::initializer_list<const Projection*> parts) {
    int outputs = 0;
    for (const Projection* part : parts) outputs += part->outputs;
    matrix.shape(outputs, inner);
    int first = 0;
    for (const Projection* part : parts) matrix.take(part->weight, part->bias, part->outputs, first), first += part->outputs;
}

void fill(Layer& layer, const LayerWeights& from, const Shape& shape) {
    fill(layer.qkv, shape.width, {&from.q, &from.k, &from.v});
    fill(layer.out, shape.heads * shape.head_room, {&from.o});
    fill(layer.down, shape.hidden, {&from.down});
    layer.gate_up.shape(2 * padded(shape.hidden), shape.width);
    layer.gate_up.take(from.gate.weight, from.gate.bias, shape.hidden, 0, true);
    layer.gate_up.take(from.up.weight, from.up.bias, shape.hidden, LANES, true);
    layer.before_attention.take(from.before_attention, shape.width, shape.norm_offset);
    layer.after_attention.take(from.after_attention, shape.width, shape.norm_offset);
    layer.before_mlp.take(from.before_mlp, shape.width, shape.norm_offset);
    layer.after_mlp.take(from.after_mlp, shape.width, shape.norm_offset);
    layer.q.take(from.q_norm, shape.head_dim, shape.norm_offset);
    layer.k.take(from.k_norm, shape.head_dim, shape.norm_offset);
    layer.window = from.window, layer.rope = from.rope;
}

Buffer copy(const float* from, size_t floats) {
    Buffer made = allocate(floats);
    std::memcpy(made.get(), from, floats * sizeof(float));
    return made;
}

struct Batch {
    Transformer model;
    std::unique_ptr<Crew> crew;
    std::vector<News> news;
    std::vector<Event> events;

    Batch(const Weights& weights, int threads) {
        const Shape& shape = model.shape = weights.shape;
        model.layers.resize(size_t(shape.layers));
        parallel(shape.layers, threads, [&](int n) { fill(model.layers[size_t(n)], weights.layers[n], shape); });
        const Projection head{weights.head, weights.head_bias, shape.vocabulary};
        fill(model.head, shape.width, {&head});
        model.norm.take(weights.norm, shape.width, shape.norm_offset);
        model.embedding = weights.embedding;
        for (int i = 0; i < shape.ropes; ++i) {
            model.cos.push_back(copy(weights.cosines[i], size_t(shape.positions) * shape.head_dim));
            model.sin.push_back(copy(weights.sines[i], size_t(shape.positions) * shape.head_dim));
        }
        model.pool.shape(shape.layers, shape.kv_heads, shape.head_room);
    }
};

Work work_of(const Requests& from) {
    Work work;
    const int32_t* prompt = from.prompts;
    const uint64_t* seeds = from.seeds;
    for (int i = 0; i < from.count; ++i) {
        const int keys = 2 * from.group_sizes[i];
        work.asked.push_back({{prompt, prompt + from.prompt_sizes[i]}, {seeds, seeds + keys}});
        prompt += from.prompt_sizes[i], seeds += keys;
    }
    work.rule = from.rule;
    work.stop_tokens.assign(from.stop_ids, from.stop_ids + from.stop_tokens);
    for (int i = 0; i < from.stop_strings; ++i) work.stop_strings.emplace_back(from.stops[i], from.stop_sizes[i]);
    for (int i = 0; i < from.pieces; ++i) work.pieces.emplace_back(from.piece_bytes[i], from.piece_sizes[i]);
    work.threads = from.threads, work.max_rows = from.max_rows, work.context = from.context;
    work.every_token = from.every_token;
    return work;
}

}  // namespace

extern "C" {

const char* groupwise_error() { return last_error; }

int32_t groupwise_begin(const Weights* weights, const Requests* requests, void** handle) noexcept {
    return guarded([&] {
        auto batch = std::make_unique<Batch>(*weights, requests->threads);
        batch->crew = std::make_unique<Crew>(batch->model, work_of(*requests));
        *handle = batch.release();
    });
}

// Waits at most about `seconds`. There are `count` events; they live until the next call. `over`: nothing more will come.
int32_t groupwise_hear(void* handle, double seconds, const Event** events, int32_t* count, int32_t* over) noexcept {
    return guarded([&] {
        Batch& batch = *static_cast<Batch*>(handle);
        bool last = false;
        batch.news = batch.crew->hear(seconds, last);
        batch.events.clear();
        for (const News& news : batch.news) {
            Event event{news.request, news.index, news.token, 0, 0, 0, nullptr, nullptr, nullptr, nullptr};
            if (const Row* row = news.row.get()) {
                event.finished = row->finished, event.length = int32_t(row->tokens.size());
                event.kept = int32_t(row->kept.size());
                event.tokens = row->tokens.data(), event.logprobs = row->logprobs.data();
                event.kept_sizes = row->kept_sizes.data(), event.kept_ids = row->kept.data();
            }
            batch.events.push_back(event);
        }
        *events = batch.events.data(), *count = int32_t(batch.events.size()), *over = last;
    });
}

int32_t groupwise_end(void* handle) noexcept {
    return guarded([&] { delete static_cast<Batch*>(handle); });
}

// `count` uniforms of a completion's stream.
void groupwise_uniforms(uint64_t low, uint64_t high, int32_t count, double* to) noexcept {
    Stream stream(low, high);
    for (int i = 0; i < count; ++i) to[i] = stream.next();
}

}  // extern "C"
