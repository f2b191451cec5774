// Feed-forward layers, and mixtures of them: a router chooses a few experts for each token, whose results are added by its
// weights.
#pragma once

#include <vector>

#include "norm.h"
#include "team.h"

namespace groupwise {

enum Kind : int32_t { SILU, GELU, CLAMPED };

// What stands between the matrix products of a feed-forward layer. CLAMPED is gpt-oss's.
struct Activation {
    int32_t kind;
    float slope, limit;

    Vec operator()(Vec x) const { return kind == GELU ? gelu(x) : silu(x); }
    Vec operator()(Vec gate, Vec up) const {
        if (kind != CLAMPED) return (*this)(gate) * up;
        gate = smaller(gate, splat(limit)), up = larger(smaller(up, splat(limit)), splat(-limit));
        return gate / (1.0f + exp(-slope * gate)) * (up + 1.0f);
    }
};

struct FeedForward {
    Matrix gate_up, down;  // gate and up in turn, sixteen of each; without a gate, up alone
    bool gated = true;

    // `place`: zeros for both matrices, one behind the other.
    void shape(int hidden, int width, bool gated_, bool half, float* place = nullptr) {
        gated = gated_, gate_up.shape(gated ? 2 * padded(hidden) : hidden, width, half, place);
        down.shape(width, hidden, half, place ? place + gate_up.size() : nullptr);
    }
    size_t size() const { return gate_up.size() + down.size(); }
    int stride() const { return padded(down.inner, PANEL); }

    // What gate and up make of rows, [rows, stride()].
    void activate(const float* x, int x_row, int rows, Activation active_of, float* active) const {
        const int to_row = stride();
        if (gated)
            return multiply(gate_up, x, x_row, rows, [&](int row, int column, Vec gate, Vec up) {
                store(active + size_t(row) * to_row + column / 2, active_of(gate, up));
            });
        multiply(gate_up, x, x_row, rows, [&](int row, int column, Vec a, Vec b) {
            float* to = active + size_t(row) * to_row + column;
            store(to, active_of(a)), store(to + LANES, active_of(b));
        });
    }
};

// How a router chooses and weighs experts.
struct Choice {
    int32_t chosen = 0;       // experts of a token; 0: there is no mixture
    int32_t normalised = 1;   // weights of the chosen sum to 1; else those of all
    int32_t sigmoid = 0;      // weights are sigmoids of scores, each by itself, and not their softmax
    int32_t groups = 1, chosen_groups = 1;  // experts of the groups with the highest two alone are chosen from
    float scale = 1.0f;       // of the weights
};

struct Mixture {
    Choice choice;
    std::vector<float> correction;  // is added to each expert's sigmoid where experts are chosen, not where they are weighed
    Matrix router;
    std::vector<FeedForward> experts;
    Buffer panels;  // of all experts, in the order in which they are read

    // So many gated experts.
    void shape(int count, int hidden, int width, bool half) {
        experts.resize(size_t(count));
        FeedForward one;
        one.shape(hidden, width, true, half);
        panels = allocate(one.size() * size_t(count));
        for (size_t i = 0; i < experts.size(); ++i) experts[i].shape(hidden, width, true, half, panels.get() + i * one.size());
    }

    explicit operator bool() const { return choice.chosen > 0; }

    // Whether experts do not stay in a core's cache from one step to the next.
    bool large() const { return experts.size() && experts.size() * experts[0].size() * sizeof(float) > (size_t(1) << 20); }
};

struct Pick {
    int row, expert;
    float weight;
};

// Rows of one thread, and which experts they go to.
struct ExpertRows {
    const float* x;
    std::vector<Pick> picks;  // by expert, and by row
    std::vector<int> starts;  // where each expert's picks begin, and where the last one's end
    float* made;              // of each pick, what its expert makes of its row
};

// One thread's working memory for mixtures.
class Experts {
  public:
    // Adds the chosen experts' results to sums. A row's are added in the order of the experts, whoever computes them and
    // whoever is beside it.
    void add(const Mixture& mixture, const float* x, int x_row, int rows, Activation active_of, float* sums, int sums_row,
             const Seat& seat = {}) {
        const int count = int(mixture.experts.size());
        route(mixture, x, x_row, rows);
        sort_picks(count);
        grow(made_, mine_.picks.size() * size_t(sums_row));
        mine_.x = x, mine_.made = made_.get();
        if (Team* team = seat.team.get()) {
            team->rows()[size_t(seat.place)] = &mine_;
            team->meet();
            for (int expert; (expert = team->take()) < count;)
                compute(mixture.experts[size_t(expert)], expert, team->rows(), x_row, active_of, sums_row);
            team->meet();
        } else {
            alone_.assign(1, &mine_);
            for (int expert = 0; expert < count; ++expert)
                compute(mixture.experts[size_t(expert)], expert, alone_, x_row, active_of, sums_row);
        }
        const float* made = made_.get();
        for (const Pick& pick : mine_.picks) {
            float* to = sums + size_t(pick.row) * sums_row;
            for (int i = 0; i < sums_row; i += LANES, made += LANES) store(to + i, load(to + i) + load(made) * pick.weight);
        }
    }

  private:
    void route(const Mixture& mixture, const float* x, int x_row, int rows) {
        const int stride = mixture.router.stride(), count = int(mixture.experts.size());
        grow(scores_, size_t(rows) * stride);
        multiply(mixture.router, x, x_row, rows, [&](int row, int column, Vec a, Vec b) {
            float* to = &scores_[size_t(row) * stride + column];
            store(to, a), store(to + LANES, b);
        });
        picks_.clear();
        for (int row = 0; row < rows; ++row) choose_of(&scores_[size_t(row) * stride], row, count, mixture);
    }

    // The highest, the first where two are equal.
    void choose_of(float* scores, int row, int count, const Mixture& mixture) {
        const Choice& choice = mixture.choice;
        if (choice.sigmoid)
            for (int i = 0; i < count; ++i) scores[i] = 1.0f / (1.0f + std::exp(-scores[i]));
        worth_.assign(scores, scores + count);
        if (choice.sigmoid) {
            for (int i = 0; i < count; ++i) worth_[size_t(i)] += mixture.correction[size_t(i)];
            keep_best_groups(count, choice);
        }
        highest(worth_, order_, choice.normalised || choice.sigmoid ? choice.chosen : count);
        const float top = choice.sigmoid ? 0.0f : scores[order_[0]];
        const auto weight = [&](int expert) { return choice.sigmoid ? scores[expert] : std::exp(scores[expert] - top); };
        float total = choice.sigmoid ? 1e-20f : 0.0f;
        for (int i = 0; i < (choice.normalised ? choice.chosen : count); ++i) total += weight(order_[size_t(i)]);
        if (choice.sigmoid && !choice.normalised) total = 1.0f;
        for (int i = 0; i < choice.chosen; ++i)
            picks_.push_back({row, order_[size_t(i)], weight(order_[size_t(i)]) / total * choice.scale});
    }

    // A group is worth the sum of its highest two.
    void keep_best_groups(int count, const Choice& choice) {
        const int size = count / choice.groups;
        groups_.resize(size_t(choice.groups));
        for (int group = 0; group < choice.groups; ++group) {
            float first = -INFINITY, second = -INFINITY;
            for (int i = group * size; i < (group + 1) * size; ++i) {
                const float here = worth_[size_t(i)];
                if (here > first) second = first, first = here;
                else second = std::max(second, here);
            }
            groups_[size_t(group)] = first + second;
        }
        highest(groups_, order_, choice.groups);
        for (int at = choice.chosen_groups; at < choice.groups; ++at)
            std::fill_n(worth_.begin() + order_[size_t(at)] * size, size, -INFINITY);
    }

    static void highest(const std::vector<float>& values, std::vector<int>& order, int most) {
        order.resize(values.size());
        for (size_t i = 0; i < values.size(); ++i) order[i] = int(i);
        std::partial_sort(order.begin(), order.begin() + most, order.end(), [&](int a, int b) {
            return values[size_t(a)] > values[size_t(b)] || (values[size_t(a)] == values[size_t(b)] && a < b);
        });
    }

    void sort_picks(int count) {
        mine_.starts.assign(size_t(count) + 1, 0);
        for (const Pick& pick : picks_) ++mine_.starts[size_t(pick.expert) + 1];
        for (size_t i = 1; i < mine_.starts.size(); ++i) mine_.starts[i] += mine_.starts[i - 1];
        mine_.picks.resize(picks_.size());
        order_.assign(mine_.starts.begin(), mine_.starts.end());
        for (const Pick& pick : picks_) mine_.picks[size_t(order_[size_t(pick.expert)]++)] = pick;
    }

    // Of everybody's rows that one expert was chosen for.
    void compute(const FeedForward& expert, int number, const std::vector<const ExpertRows*>& all, int x_row, Activation active_of,
                 int made_row) {
        const int stride = expert.stride();
        results_.clear();
        for (const ExpertRows* each : all)
            for (int i = each->starts[size_t(number)]; i < each->starts[size_t(number) + 1]; ++i)
                results_.push_back(each->made + size_t(i) * made_row);
        const int rows = int(results_.size());
        if (!rows) return;
        grow(inputs_, size_t(rows) * x_row), grow(active_, size_t(rows) * stride);
        float* to = inputs_.get();
        for (const ExpertRows* each : all)
            for (int i = each->starts[size_t(number)]; i < each->starts[size_t(number) + 1]; ++i, to += x_row)
                std::memcpy(to, each->x + size_t(each->picks[size_t(i)].row) * x_row, size_t(x_row) * sizeof(float));
        expert.activate(inputs_.get(), x_row, rows, active_of, active_.get());
        multiply(expert.down, active_.get(), stride, rows, [&](int row, int column, Vec a, Vec b) {
            float* made = results_[size_t(row)] + column;
            store(made, a), store(made + LANES, b);
        });
    }

    struct Room {
        Buffer data;
        size_t size = 0;
        float& operator[](size_t at) { return data[at]; }
        float* get() { return data.get(); }
    };

    static void grow(Room& room, size_t floats) {
        if (room.size < floats) room.data = allocate(floats), room.size = floats;
    }

    Room scores_, inputs_, active_, made_;
    ExpertRows mine_;
    std::vector<const ExpertRows*> alone_;
    std::vector<float*> results_;
    std::vector<Pick> picks_;
    std::vector<float> worth_, groups_;
    std::vector<int> order_;
};

}  // namespace groupwise
