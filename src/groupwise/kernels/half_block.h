// The two halves of a block on many rows, forward and backward, tile by tile in one call: what lies between two matrix
// products stays in a core's cache, and nobody waits for an interpreter. networks/fused_blocks.py says what each half is.
#pragma once

#include "tiles.h"
#include "rope.h"

namespace groupwise {

struct Project {
    Norm before;
    Adapted qkv;
    const float* bias;
    Rope rope;
    int64_t rows;
    int tile;

    int in() const { return qkv.layer.in; }
    int out() const { return qkv.layer.out; }

    void forward(ThreadPool& pool, const float* x, float* raw, float* made) const {
        const ScratchSlots scratch(pool.count(), int64_t(tile) * (in() + qkv.rank()), 2);
        const Tiles tiles = Strands::halved(rows, tile).all();
        const auto stages = std::make_shared<Stages>();
        stages->add(int(tiles.size()), [&](int unit, int thread_index) {
            const auto [at, count] = tiles[size_t(unit)];
            Scratch space = scratch[thread_index];
            float *normed = space.take(int64_t(count) * in()), *here = raw + at * out();
            before.forward(x + at * in(), count, normed);
            for (int row = 0; bias && row < count; ++row) std::copy_n(bias, out(), here + int64_t(row) * out());
            qkv.forward(normed, count, here, bias != nullptr, space);
            for (int row = 0; row < count; ++row)
                rope.forward(here + int64_t(row) * out(), at + row, made + (at + row) * out());
        });
        pool.run(stages);
    }

    struct Gradients {
        Turned back;
        float* dx;
        LayerSums qkv;
        Sums before, q, k, bias;
    };

    // dx is written, the sums grow.
    void backward(ThreadPool& pool, const float* x, const float* raw, const Gradients& to) const {
        const Growth growth(pool.count());
        const ScratchSlots slots(growth.slots(), int64_t(tile) * (2 * in() + out()), 3);
        const ScratchSlots scratch(pool.count(), int64_t(tile) * qkv.rank(), 1);
        struct Slot {
            float *normed, *dnormed, *draw;
        };
        const auto slot = [&](Place place) {
            Scratch space = slots[place.slot];
            return Slot{space.take(int64_t(tile) * in()), space.take(int64_t(tile) * in()), space.take(int64_t(tile) * out())};
        };
        const auto work = [&](const Tile& tile, Place place) {
            const auto [normed, dnormed, draw] = slot(place);
            const auto [at, count] = tile;
            for (int64_t row = at; row < at + count; ++row)
                rope.backward(raw ? raw + row * out() : nullptr, row, to.back, &draw[(row - at) * out()]);
            before.forward(x + at * in(), count, normed);
            qkv.backward(draw, count, dnormed, scratch[place.thread_index]);
            std::fill_n(to.dx + at * in(), int64_t(count) * in(), 0.0f);
            before.backward(x + at * in(), dnormed, count, to.dx + at * in());
        };
        std::vector<Grow> grow;
        grow_layer(grow, qkv, to.qkv, scratch, [&](const Tile&, Place at) { return slot(at).draw; },
                   [&](const Tile&, Place at) { return slot(at).normed; });
        if (to.before)
            grow.push_back([&](const Tile& tile, Place at) {
                before.learn(x + tile.at * in(), slot(at).dnormed, tile.rows, to.before.of(at.strand));
            });
        if (raw && to.q)
            grow.push_back([&](const Tile& tile, Place at) {
                for (int64_t row = tile.at; row < tile.at + tile.rows; ++row)
                    rope.learn(raw + row * out(), row, to.back, to.q.of(at.strand), to.k.of(at.strand));
            });
        if (to.bias)
            grow.push_back([&](const Tile& tile, Place at) {
                const float* draw = slot(at).draw;
                float* dbias = to.bias.of(at.strand);
                for (int64_t i = 0; i < int64_t(tile.rows) * out(); ++i) dbias[i % out()] += draw[i];
            });
        const auto stages = std::make_shared<Stages>();
        const std::vector<int> last = growth.add(*stages, Strands::halved(rows, tile), work, grow);
        to.qkv.join(*stages, last), to.before.join(*stages, last), to.bias.join(*stages, last);
        to.q.join(*stages, last), to.k.join(*stages, last);
        pool.run(stages);
    }
};

struct Finish {
    Norm after_attention, before, after;  // the outer ones on what a half block adds, where there are any
    Adapted out, gate_up, down;
    bool by_gelu;
    int64_t rows;
    int tile;

    int width() const { return before.width; }
    int inner() const { return out.layer.in; }
    int hidden() const { return down.layer.in; }
    int rank() const { return std::max({out.rank(), gate_up.rank(), down.rank()}); }

    // What stays for the backward pass, row by row: what attention adds, y, the rows of gate and up, what they add. The
    // first and the last where they are normed; gate and up where they are to be kept.
    template <class T>
    struct Kept {
        T *attended, *middle, *rows, *added;
        static T* part(T* all, int64_t from) { return all ? all + from : nullptr; }
    };

    void forward(ThreadPool& pool, const float* x, const float* mixed, Kept<float> kept, float* result) const {
        const ScratchSlots scratch(pool.count(), int64_t(tile) * (width() + 3 * hidden() + rank()), 4);
        const Tiles tiles = Strands::halved(rows, tile).all();
        const auto stages = std::make_shared<Stages>();
        stages->add(int(tiles.size()), [&](int unit, int thread_index) {
            const auto [at, count] = tiles[size_t(unit)];
            const int64_t from = at * width();
            Scratch space = scratch[thread_index];
            float *normed = space.take(int64_t(count) * width()), *active = space.take(int64_t(count) * hidden());
            float *here = kept.rows ? kept.rows + at * 2 * hidden() : space.take(int64_t(count) * 2 * hidden());
            float* y = kept.middle + from;
            add(out, after_attention, mixed + at * inner(), x + from, count, kept.part(kept.attended, from), y, space);
            before.forward(y, count, normed);
            gate_up.forward(normed, count, here, false, space);
            for (int64_t row = 0; row < count; ++row, here += 2 * hidden())
                swiglu(here, here + hidden(), hidden(), &active[row * hidden()], by_gelu);
            add(down, after, active, y, count, kept.part(kept.added, from), result + from, space);
        });
        pool.run(stages);
    }

    struct Gradients {
        float *dx, *dmixed;
        Sums after_attention, before, after;
        LayerSums out, gate_up, down;
    };

    // dx and dmixed are written, the sums grow.
    void backward(ThreadPool& pool, const float* dy, const float* mixed, Kept<const float> kept, const Gradients& to) const {
        const Growth growth(pool.count());
        const int64_t most = tile;
        const int64_t spare = (after.weight ? width() : 0) + (after_attention.weight ? width() : 0);
        const ScratchSlots slots(growth.slots(), most * (2 * width() + 3 * hidden() + spare), 6);
        const ScratchSlots scratch(pool.count(), most * (hidden() + rank()), 2);
        struct Slot {
            float *normed, *dnormed, *active, *drows, *added, *attended;
        };
        const auto slot = [&](Place place) {
            Scratch space = slots[place.slot];
            float *normed = space.take(most * width()), *dnormed = space.take(most * width());
            float *active = space.take(most * hidden()), *drows = space.take(most * 2 * hidden());
            float* added = after.weight ? space.take(most * width()) : nullptr;
            return Slot{normed, dnormed, active, drows, added, after_attention.weight ? space.take(most * width()) : nullptr};
        };
        const auto work = [&](const Tile& tile, Place place) {
            const auto [normed, dnormed, active, drows, added, attended] = slot(place);
            const auto [at, count] = tile;
            const int64_t from = at * width();
            Scratch space = scratch[place.thread_index];
            float *dactive = space.take(int64_t(count) * hidden()), *change = to.dx + from, *back_to = drows;
            const float *y = kept.middle + from, *here = kept.rows + at * 2 * hidden();
            const float* back = through(after, kept.part(kept.added, from), dy + from, count, added);
            down.backward(back, count, dactive, space);
            for (int64_t row = 0; row < count; ++row, here += 2 * hidden(), back_to += 2 * hidden())
                swiglu_backward(here, here + hidden(), &dactive[row * hidden()], hidden(), &active[row * hidden()], back_to,
                               back_to + hidden(), by_gelu);
            before.forward(y, count, normed);
            gate_up.backward(drows, count, dnormed, space);
            std::copy_n(dy + from, int64_t(count) * width(), change);
            before.backward(y, dnormed, count, change);
            back = through(after_attention, kept.part(kept.attended, from), change, count, attended);
            out.backward(back, count, to.dmixed + at * inner(), space);
        };
        std::vector<Grow> grow;
        grow_layer(grow, gate_up, to.gate_up, scratch, [&](const Tile&, Place at) { return slot(at).drows; },
                   [&](const Tile&, Place at) { return slot(at).normed; });
        grow_layer(grow, down, to.down, scratch,
                   [&](const Tile& tile, Place at) { return after.weight ? slot(at).added : dy + tile.at * width(); },
                   [&](const Tile&, Place at) { return slot(at).active; });
        grow_layer(grow, out, to.out, scratch,
                   [&](const Tile& tile, Place at) {
                       return after_attention.weight ? slot(at).attended : to.dx + tile.at * width();
                   },
                   [&](const Tile& tile, Place) { return mixed + tile.at * inner(); });
        grow_norm(grow, after, to.after, [&](const Tile& tile, Place) { return kept.added + tile.at * width(); },
                  [&](const Tile& tile, Place) { return dy + tile.at * width(); });
        grow_norm(grow, before, to.before, [&](const Tile& tile, Place) { return kept.middle + tile.at * width(); },
                  [&](const Tile&, Place at) { return slot(at).dnormed; });
        grow_norm(grow, after_attention, to.after_attention,
                  [&](const Tile& tile, Place) { return kept.attended + tile.at * width(); },
                  [&](const Tile& tile, Place) { return to.dx + tile.at * width(); });
        const auto stages = std::make_shared<Stages>();
        const std::vector<int> last = growth.add(*stages, Strands::halved(rows, tile), work, grow);
        to.out.join(*stages, last), to.gate_up.join(*stages, last), to.down.join(*stages, last);
        to.after_attention.join(*stages, last), to.before.join(*stages, last), to.after.join(*stages, last);
        pool.run(stages);
    }

  private:
    template <class From, class Back>
    static void grow_norm(std::vector<Grow>& grow, const Norm& norm, const Sums& sums, From x, Back dy) {
        if (!norm.weight || !sums) return;
        grow.push_back([=, &norm, &sums](const Tile& tile, Place at) {
            norm.learn(x(tile, at), dy(tile, at), tile.rows, sums.of(at.strand));
        });
    }

    // y = base + layer(x), what the layer makes normed before, where it is; that is kept.
    void add(const Adapted& layer, const Norm& norm, const float* x, const float* base, int count, float* kept, float* y,
             Scratch space) const {
        if (norm.weight) {
            layer.forward(x, count, kept, false, space);
            norm.forward_onto(base, kept, count, y);
        } else {
            std::copy_n(base, int64_t(count) * width(), y);
            layer.forward(x, count, y, true, space);
        }
    }

    // The gradient of what was normed: dy where nothing was.
    const float* through(const Norm& norm, const float* x, const float* dy, int count, float* spare) const {
        if (!norm.weight) return dy;
        std::fill_n(spare, int64_t(count) * width(), 0.0f);
        norm.backward(x, dy, count, spare);
        return spare;
    }
};

}  // namespace groupwise
