// What Python calls: begin a batch of completions, submit some at any time, poll of them as they end, cancel some, end
// it. Every function says by its code whether it could; none throws, none ends the process.

#include "scheduler.h"

using namespace groupwise;

extern "C" {

// Weights of matrices, and the embedding, are bfloat16 where the shape says half; all else is float32.
struct Projection {
    const void* weight;
    const float* bias;
    int32_t outputs;
};

// A norm's weight and bias; none where the model has none.
struct NormWeights {
    const float *weight, *bias;
};

// Experts lie one after the other: gate, up [hidden, width] and down [width, hidden] of the first, of the second, ...
struct MixtureWeights {
    Projection router;
    const void* weights;
    const float* biases;  // [hidden], [hidden] and [width] of each; none where there are none
    const float* correction;
    Choice choice;
    int32_t hidden;
};

// A latent's outputs as they lie side by side; ``out``'s are keys, each with room for what is turned, then values.
struct LatentWeights {
    Projection in, out;
    NormWeights q, kv;
    const int32_t* turned;
    int32_t q_size, kv_size;
    float eps;
};

struct LayerWeights {
    Projection q, k, v, o, gate, up, down;  // gate without a weight: there is none
    NormWeights before_attention, after_attention, before_mlp, after_mlp, q_norm, k_norm;
    MixtureWeights mixture;
    LatentWeights latent;
    const float* sinks;
    int32_t hidden, window, rope, query_rope;
};

struct Weights {
    Shape shape;
    const LayerWeights* layers;
    const void* embedding;
    const float* places;
    const void* head;
    const float* head_bias;
    NormWeights norm;
    const float *const *cosines, *const *sines;  // [positions, head_dim] of each rope
};

// How a batch is drawn.
struct Rules {
    Rule rule;
    int32_t stop_tokens, stop_strings, pieces;
    const int32_t* stop_ids;
    const char* const* stops;
    const int32_t* stop_sizes;
    const char* const* piece_bytes;
    const int32_t* piece_sizes;
    int32_t threads, max_rows, context, every_token;
};

// Groups of at least one completion each. All that is of one kind lies one after the other.
struct Requests {
    int32_t count;
    const int32_t *numbers, *prompts, *prompt_sizes, *forced, *forced_sizes, *group_sizes;
    const uint64_t* seeds;  // two halves of each completion's key
    const int32_t *most, *keeps;
    const int32_t* follows;  // number and index of the completion that each goes on from; -1: none
};

struct Event {
    int32_t request, index, token, finished, length, kept;
    const int32_t *tokens, *kept_sizes, *kept_ids;
    const double* logprobs;  // none: this is a token, not a completion
};

}  // extern "C"

namespace {

void fill(Matrix& matrix, int inner, bool half, std::initializer_list<const Projection*> parts) {
    int outputs = 0;
    for (const Projection* part : parts) outputs += part->outputs;
    matrix.shape(outputs, inner, half);
    int first = 0;
    for (const Projection* part : parts) matrix.take(part->weight, part->bias, part->outputs, first), first += part->outputs;
}

// Of the sizes that the layer has already.
void fill(FeedForward& feed, const Projection& gate, const Projection& up, const Projection& down) {
    feed.down.take(down.weight, down.bias, down.outputs, 0);
    if (gate.weight) feed.gate_up.take(gate.weight, gate.bias, gate.outputs, 0, true);
    feed.gate_up.take(up.weight, up.bias, up.outputs, gate.weight ? LANES : 0, bool(gate.weight));
}

void fill(Mixture& mixture, const MixtureWeights& from, const Shape& shape) {
    if (!from.choice.chosen) return;
    mixture.choice = from.choice;
    if (from.correction) mixture.correction.assign(from.correction, from.correction + from.router.outputs);
    fill(mixture.router, shape.width, shape.half, {&from.router});
    mixture.shape(from.router.outputs, from.hidden, shape.width, shape.half);
    const size_t part = size_t(from.hidden) * size_t(shape.width) * (shape.half ? sizeof(uint16_t) : sizeof(float));
    const char* at = static_cast<const char*>(from.weights);
    const float* bias = from.biases;
    const auto next = [&](int outputs) {
        const Projection found{at, bias, outputs};
        at += part, bias += bias ? outputs : 0;
        return found;
    };
    for (FeedForward& expert : mixture.experts) {
        const Projection gate = next(from.hidden), up = next(from.hidden), down = next(shape.width);
        fill(expert, gate, up, down);
    }
}

void fill(Latent& latent, const LayerWeights& from, const Shape& shape) {
    const LatentWeights& given = from.latent;
    latent.q_size = given.q_size, latent.kv_size = given.kv_size, latent.eps = given.eps;
    fill(latent.in, shape.width, shape.half, {&given.in});
    fill(latent.queries, given.q_size ? given.q_size : shape.width, shape.half, {&from.q});
    fill(latent.out, given.kv_size, shape.half, {&given.out});
    latent.q.take(given.q.weight, nullptr, given.q_size, 0.0f, false);
    latent.kv.take(given.kv.weight, nullptr, given.kv_size, 0.0f, false);
    latent.turned.assign(given.turned, given.turned + shape.head_dim);
}

void fill(Layer& layer, const LayerWeights& from, const Shape& shape) {
    if (from.latent.kv_size) fill(layer.latent, from, shape);
    else fill(layer.qkv, shape.width, shape.half, {&from.q, &from.k, &from.v});
    fill(layer.out, shape.heads * shape.padded_head_dim, shape.half, {&from.o});
    if (from.hidden) {
        layer.feed.shape(from.hidden, shape.width, from.gate.weight, shape.half);
        fill(layer.feed, from.gate, from.up, from.down);
    }
    fill(layer.mixture, from.mixture, shape);
    const auto take = [&](Norm& norm, const NormWeights& given, int size, bool centred) {
        norm.take(given.weight, given.bias, size, shape.norm_offset, centred);
    };
    take(layer.before_attention, from.before_attention, shape.width, shape.centred);
    take(layer.after_attention, from.after_attention, shape.width, shape.centred);
    take(layer.before_mlp, from.before_mlp, shape.width, shape.centred);
    take(layer.after_mlp, from.after_mlp, shape.width, shape.centred);
    const bool rows = shape.head_norms == OF_ROWS;
    take(layer.q, from.q_norm, rows ? shape.heads * shape.padded_head_dim : shape.head_dim, false);
    take(layer.k, from.k_norm, rows ? shape.kv_heads * shape.padded_head_dim : shape.head_dim, false);
    if (from.sinks) layer.sinks.assign(from.sinks, from.sinks + shape.heads);
    layer.window = from.window, layer.rope = from.rope, layer.query_rope = from.query_rope;
}

struct Batch {
    Transformer model;
    std::unique_ptr<Scheduler> scheduler;
    std::vector<SampleEvent> sample_events;
    std::vector<Event> events;

    Batch(const Weights& weights, int threads) {
        const Shape& shape = model.shape = weights.shape;
        model.layers.resize(size_t(shape.layers));
        parallel(shape.layers, threads, [&](int n) { fill(model.layers[size_t(n)], weights.layers[n], shape); });
        const Projection head{weights.head, weights.head_bias, shape.vocabulary};
        fill(model.head, shape.width, shape.half, {&head});
        model.norm.take(weights.norm.weight, weights.norm.bias, shape.width, shape.norm_offset, shape.centred);
        model.embedding = weights.embedding, model.places = weights.places;
        for (const Layer& layer : model.layers) model.hidden = std::max(model.hidden, layer.feed.down.inner);
        model.ropes.shape(shape.ropes);
        reach(shape.positions, weights.cosines, weights.sines);
        model.pool.shape(shape.layers, shape.kv_heads, shape.padded_head_dim);
    }

    void reach(int positions, const float* const* cosines, const float* const* sines) {
        model.ropes.take(cosines, sines, size_t(positions) * size_t(model.shape.head_dim));
    }
};

Work work_of(const Rules& from) {
    Work work;
    work.rule = from.rule;
    work.stop_tokens.assign(from.stop_ids, from.stop_ids + from.stop_tokens);
    for (int i = 0; i < from.stop_strings; ++i) work.stop_strings.emplace_back(from.stops[i], size_t(from.stop_sizes[i]));
    for (int i = 0; i < from.pieces; ++i) work.pieces.emplace_back(from.piece_bytes[i], size_t(from.piece_sizes[i]));
    work.threads = from.threads, work.max_rows = from.max_rows, work.context = from.context;
    work.every_token = from.every_token;
    return work;
}

Groups groups_of(const Requests& from) {
    Groups groups;
    const int32_t *prompt = from.prompts, *forced = from.forced;
    const uint64_t* seeds = from.seeds;
    for (int i = 0; i < from.count; ++i) {
        const auto group = std::make_shared<Group>();
        const int keys = 2 * from.group_sizes[i];
        group->number = from.numbers[i], group->most = from.most[i], group->keeps = from.keeps[i];
        group->prompt.assign(prompt, prompt + from.prompt_sizes[i]);
        group->forced.assign(forced, forced + from.forced_sizes[i]);
        group->seeds.assign(seeds, seeds + keys);
        group->follows = {from.follows[2 * i], from.follows[2 * i + 1]};
        groups.push_back(group);
        prompt += from.prompt_sizes[i], forced += from.forced_sizes[i], seeds += keys;
    }
    return groups;
}

}  // namespace

extern "C" {

const char* groupwise_error() { return last_error; }

// Whether weights may be bfloat16.
int32_t groupwise_has_bfloat() { return HAS_BFLOAT; }

int32_t groupwise_begin(const Weights* weights, const Rules* rules, void** handle) noexcept {
    return guarded([&] {
        auto batch = std::make_unique<Batch>(*weights, rules->threads);
        batch->scheduler = std::make_unique<Scheduler>(batch->model, work_of(*rules));
        *handle = batch.release();
    });
}

// Longer tables for the ropes, before prompts come that are longer than any before.
int32_t groupwise_reach(void* handle, int32_t positions, const float* const* cosines, const float* const* sines) noexcept {
    return guarded([&] { static_cast<Batch*>(handle)->reach(positions, cosines, sines); });
}

int32_t groupwise_submit(void* handle, const Requests* requests) noexcept {
    return guarded([&] { static_cast<Batch*>(handle)->scheduler->submit(groups_of(*requests)); });
}

int32_t groupwise_cancel(void* handle, const int32_t* numbers, int32_t count) noexcept {
    return guarded([&] { static_cast<Batch*>(handle)->scheduler->cancel(numbers, count); });
}

// Pages of sixteen positions that prompts and completions have, those that are kept among them.
int32_t groupwise_held(void* handle, int64_t* pages) noexcept {
    return guarded([&] { *pages = int64_t(static_cast<Batch*>(handle)->model.pool.held()); });
}

// Waits at most about `seconds`. There are `count` events; they live until the next call. `over`: nothing is under way.
int32_t groupwise_poll(void* handle, double seconds, const Event** events, int32_t* count, int32_t* over) noexcept {
    return guarded([&] {
        Batch& batch = *static_cast<Batch*>(handle);
        bool last = false;
        batch.sample_events = batch.scheduler->poll(seconds, last);
        batch.events.clear();
        for (const SampleEvent& each : batch.sample_events) {
            Event event{each.request, each.index, each.token, 0, 0, 0, nullptr, nullptr, nullptr, nullptr};
            if (const Row* row = each.row.get()) {
                event.finished = row->finished, event.length = int32_t(row->tokens.size() - row->forced());
                event.kept = int32_t(row->kept.size());
                event.tokens = row->tokens.data() + row->forced(), event.logprobs = row->logprobs.data();
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
