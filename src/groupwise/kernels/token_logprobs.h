// Log-probabilities of given tokens under softmax(scale * hidden matrixᵀ), forward and backward, without the table of all.
// learners/token_logprobs.py says how many rows go together.
#pragma once

#include "tiles.h"

namespace groupwise {

struct Chances {
    Linear head;  // [vocabulary, width]
    const float* hidden;
    const int64_t* targets;
    float scale;
    int64_t rows;
    int tile, strands;  // rows of a tile; strands whose sums are apart
    float* kept;        // logits of all rows, where they are kept

    static constexpr int WIDE = 8192;   // a vocabulary whose logits are made by several threads for one tile
    static constexpr int COLUMNS = 2048, ROWS = 64;  // of a unit of work
    static constexpr int64_t MOST = int64_t(1) << 26;  // logits at once, unless all of them are kept

    struct Found {
        float *logprobs, *entropies, *normalisers;
    };

    int vocabulary() const { return head.out; }
    int width() const { return head.in; }
    bool wide() const { return vocabulary() > WIDE; }

    void forward(ThreadPool& pool, const Found& found) const {
        const auto read = [&](int64_t row, const float* logits) {
            const Chance chance = groupwise::chance(logits, vocabulary(), targets[row], scale);
            found.logprobs[row] = chance.logprob, found.entropies[row] = chance.entropy;
            found.normalisers[row] = chance.normaliser;
        };
        const auto stages = std::make_shared<Stages>();
        const ScratchSlots scratch(kept || wide() ? 1 : pool.count(), kept ? 0 : int64_t(tile) * vocabulary(), 1);
        const Tiles all = tiles();
        if (!wide()) {
            stages->add(int(all.size()), [&](int unit, int thread_index) {
                const auto [at, count] = all[size_t(unit)];
                float* logits = kept ? kept + at * vocabulary() : scratch[thread_index].next;
                head.forward(hidden + at * width(), count, logits);
                for (int64_t row = 0; row < count; ++row) read(at + row, logits + row * vocabulary());
            });
            return pool.run(stages);
        }
        int last = -1;
        for (const Tile& tile : all) {
            float* logits = kept ? kept + tile.at * vocabulary() : scratch[0].next;
            const int made = stages->add(units(vocabulary(), COLUMNS), columns(tile, logits), after(last));
            last = stages->add(units(tile.rows, ROWS), [=](int unit, int) {
                for (int64_t row = unit * ROWS; row < std::min(tile.rows, (unit + 1) * ROWS); ++row)
                    read(tile.at + row, logits + row * vocabulary());
            }, {made});
        }
        pool.run(stages);
    }

    struct Gradients {
        const float *normalisers, *by;
        float* dhidden;
        const Sums& matrix;
    };

    // dhidden is written; the matrix's sums grow, where there are any. What is kept is used up.
    void backward(ThreadPool& pool, const Gradients& to) const { wide() ? by_columns(pool, to) : by_tiles(pool, to); }

  private:
    static int units(int64_t all, int each) { return int((all + each - 1) / each); }
    static std::vector<int> after(int stage) { return stage < 0 ? std::vector<int>{} : std::vector<int>{stage}; }

    Tiles tiles() const {
        Tiles found;
        for (int64_t at = 0; at < rows; at += tile) found.push_back({at, int(std::min<int64_t>(tile, rows - at))});
        return found;
    }

    // Logits of a tile, some of the vocabulary each.
    Stages::Work columns(const Tile& tile, float* logits) const {
        return [=](int unit, int) {
            const int from = unit * COLUMNS, count = std::min(COLUMNS, vocabulary() - from);
            head.forward(hidden + tile.at * width(), tile.rows, logits + from, from, from + count, false);
        };
    }

    // Rows of a tile's logits become their gradient.
    void turn_back(const Tile& tile, int from, int to, float* logits, const Gradients& given) const {
        for (int row = from; row < to; ++row) {
            const int64_t at = tile.at + row;
            token_logprob_backward(logits + int64_t(row) * vocabulary(), vocabulary(), targets[at], scale, given.normalisers[at],
                            given.by[at]);
        }
    }

    // The matrix's gradient by one tile, for `each` of its rows.
    void grow(const Tile& tile, const float* back, int unit, int each, float* sum) const {
        const int from = unit * each;
        head.learn(back, hidden + tile.at * width(), tile.rows, sum, from, std::min(vocabulary(), from + each));
    }

    void by_tiles(ThreadPool& pool, const Gradients& to) const {
        const int64_t together = MOST / (int64_t(tile) * vocabulary());
        const Growth growth(int(std::min<int64_t>(pool.count(), std::max<int64_t>(1, together / 2))));
        const ScratchSlots scratch(growth.slots(), kept ? 0 : int64_t(tile) * vocabulary(), 1);
        const auto logits = [&](const Tile& tile, Place place) {
            return kept ? kept + tile.at * vocabulary() : scratch[place.slot].next;
        };
        const auto work = [&](const Tile& tile, Place place) {
            float* here = logits(tile, place);
            if (!kept) head.forward(hidden + tile.at * width(), tile.rows, here);
            turn_back(tile, 0, tile.rows, here, to);
            head.backward(here, tile.rows, to.dhidden + tile.at * width());
        };
        std::vector<Grow> grown;
        const int each = head.step(PRODUCT);
        for (int unit = 0; to.matrix && unit < units(vocabulary(), each); ++unit)
            grown.push_back([this, &to, &logits, unit, each](const Tile& tile, Place at) {
                grow(tile, logits(tile, at), unit, each, to.matrix.of(at.strand));
            });
        Strands apart;
        int number = 0;
        for (const Tile& tile : tiles()) apart.of[number++ % strands].push_back(tile);
        const auto stages = std::make_shared<Stages>();
        to.matrix.join(*stages, growth.add(*stages, apart, work, grown));
        pool.run(stages);
    }

    // One tile after the other, each by all threads.
    void by_columns(ThreadPool& pool, const Gradients& to) const {
        const ScratchSlots scratch(1, kept ? 0 : int64_t(tile) * vocabulary(), 1);
        const auto stages = std::make_shared<Stages>();
        std::vector<int> last;
        int strand = 0;
        for (const Tile& tile : tiles()) {
            float* logits = kept ? kept + tile.at * vocabulary() : scratch[0].next;
            float* sum = to.matrix.of(strand++ % strands);
            if (!kept) last = {stages->add(units(vocabulary(), COLUMNS), columns(tile, logits), last)};
            const int turned = stages->add(units(tile.rows, ROWS), [=, &to](int unit, int) {
                turn_back(tile, unit * ROWS, std::min(tile.rows, (unit + 1) * ROWS), logits, to);
            }, last);
            last = {stages->add(units(tile.rows, ROWS), [=, &to](int unit, int) {
                const int64_t row = int64_t(unit) * ROWS, count = std::min<int64_t>(ROWS, tile.rows - row);
                head.backward(logits + row * vocabulary(), int(count), to.dhidden + (tile.at + row) * width());
            }, {turned})};
            if (sum) last.push_back(stages->add(units(vocabulary(), COLUMNS), [=](int unit, int) {
                grow(tile, logits, unit, COLUMNS, sum);
            }, {turned}));
        }
        to.matrix.join(*stages, last);
        pool.run(stages);
    }
};

}  // namespace groupwise
