// Queries of several tokens against the keys and values of the positions before them.
//
// A query's own arithmetic never depends on what is computed beside it: positions that it does not see weigh exactly 0.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "kv_pages.h"

namespace groupwise {

// A token to compute, and what it sees: `before` is the prompt that its group shares, `own` its completion so far.
struct Token {
    int id, position;
    Stretch* before;
    Stretch* own;  // none while the prompt itself is computed
    int seen_before, seen_own;
};

struct Query {
    const float* q;  // [head_dim], scaled
    float* out;      // [head_dim]
    float* scores;   // of both stretches, one after the other, each padded to whole pages
    const Token* token;
    float sink;  // a score that takes weight and gives nothing; -inf: there is none
    int most_own = 0;  // positions of its own stretch that are looked at: those that it sees, and those of tokens beside it
};

struct Attention {
    const Pool& pool;
    int layer, kv_head, head_dim, window;
    float cap;

    // Queries of tokens with one `before`, those of one completion side by side.
    void mix(std::vector<Query>& queries) const {
        int most = 0;
        for (const Query& query : queries) most = std::max(most, query.token->seen_before);
        const int split = padded(most), count = int(queries.size());
        Stretch* before = queries[0].token->before;
        tiles(&queries[0], count, [&](auto n, Query* some) { score<n()>(*before, most, 0, some); });
        own(queries, [&](auto n, Query* some) {
            int most_own = 0;
            for (int i = 0; i < n(); ++i) most_own = std::max(most_own, some[i].token->seen_own);
            for (int i = 0; i < n(); ++i) some[i].most_own = most_own;
            score<n()>(*some->token->own, most_own, split, some);
        });
        for (Query& query : queries) soften(query, split);
        tiles(&queries[0], count, [&](auto n, Query* some) { add<n()>(*before, most, 0, some); });
        own(queries, [&](auto n, Query* some) { add<n()>(*some->token->own, some->most_own, split, some); });
    }

  private:
    template <int N>
    struct Number {
        constexpr int operator()() const { return N; }
    };

    template <class Work>
    static void tiles(Query* queries, int count, const Work& work) {
        for (; count >= 8; queries += 8, count -= 8) work(Number<8>(), queries);
        if (count >= 4) work(Number<4>(), queries), queries += 4, count -= 4;
        if (count >= 2) work(Number<2>(), queries), queries += 2, count -= 2;
        if (count >= 1) work(Number<1>(), queries);
    }

    // The tokens of one completion together.
    template <class Work>
    static void own(std::vector<Query>& queries, const Work& work) {
        for (size_t from = 0, to; from < queries.size(); from = to) {
            const Stretch* its = queries[from].token->own;
            for (to = from + 1; to < queries.size() && queries[to].token->own == its;) ++to;
            if (its) tiles(&queries[from], int(to - from), work);
        }
    }

    template <int N>
    void score(const Stretch& stretch, int seen, int at, Query* queries) const {
        pages<N, N <= 2 ? 4 / N : 1>(stretch, 0, (seen + LANES - 1) / LANES, at, queries);
    }

    // From page `first` on, as many at a time as keep a core busy: where queries are few, sums over one page wait for
    // one another.
    template <int N, int PAGES>
    void pages(const Stretch& stretch, int first, int count, int at, Query* queries) const {
        for (; first + PAGES <= count; first += PAGES) {
            const float *keys[PAGES], *next[PAGES];
            for (int p = 0; p < PAGES; ++p) {
                const int then = first + PAGES + p;
                keys[p] = pool.keys(stretch.pages[size_t(first + p)], layer, kv_head);
                // What is read next: more keys, then the first values.
                next[p] = then < count ? pool.keys(stretch.pages[size_t(then)], layer, kv_head)
                                       : pool.values(stretch.pages[size_t(then - count) % size_t(count)], layer, kv_head);
            }
            Vec found[PAGES][N] = {};
            for (int d = 0; d < head_dim; ++d) {
#pragma GCC unroll 4
                for (int p = 0; p < PAGES; ++p) {
                    const Vec key = load(keys[p] + d * LANES);
                    __builtin_prefetch(next[p] + d * LANES);
#pragma GCC unroll 8
                    for (int i = 0; i < N; ++i) found[p][i] += splat(queries[i].q[d]) * key;
                }
            }
            for (int p = 0; p < PAGES; ++p)
                for (int i = 0; i < N; ++i) store(queries[i].scores + at + (first + p) * LANES, found[p][i]);
        }
        if constexpr (PAGES > 1) pages<N, PAGES / 2>(stretch, first, count, at, queries);
    }

    // Scores become weights that sum to 1 over what the query sees.
    void soften(Query& query, int split) const {
        const Token& token = *query.token;
        const int first = window ? token.position - window + 1 : 0;
        const int end = split + padded(query.most_own);
        Vec highest = splat(-INFINITY);
        for (int at = 0; at < end; at += LANES) {
            Vec scores = load(query.scores + at);
            if (cap) scores = cap * tanh(scores / cap);
            const bool ours = at >= split;
            const int from = first - (ours ? token.seen_before : 0), seen = ours ? token.seen_own : token.seen_before;
            const Int place = LANE_NUMBERS + (ours ? at - split : at);
            scores = choose((place >= from) & (place < seen), scores, splat(-INFINITY));
            highest = larger(highest, scores);
            store(query.scores + at, scores);
        }
        const float top = std::max(largest(highest), query.sink);
        Vec total{};
        for (int at = 0; at < end; at += LANES) {
            const Vec weight = exp(load(query.scores + at) - top);
            total += weight;
            store(query.scores + at, weight);
        }
        const float share = 1.0f / (sum(total) + std::exp(query.sink - top));
        for (int at = 0; at < end; at += LANES) store(query.scores + at, load(query.scores + at) * share);
    }

    template <int N>
    void add(const Stretch& stretch, int seen, int at, Query* queries) const {
        columns<N, N <= 2 ? 4 : N <= 4 ? 2 : 1>(stretch, seen, at, 0, queries);
    }

    // From element d on, as many at a time as registers hold.
    template <int N, int WIDE>
    void columns(const Stretch& stretch, int seen, int at, int d, Query* queries) const {
        for (; d + WIDE * LANES <= head_dim; d += WIDE * LANES) add<N, WIDE>(stretch, seen, at, d, queries);
        if constexpr (WIDE > 1) columns<N, WIDE / 2>(stretch, seen, at, d, queries);
    }

    // Elements d .. d + 16 WIDE - 1 of the values.
    template <int N, int WIDE>
    void add(const Stretch& stretch, int seen, int at, int d, Query* queries) const {
        Vec mixed[N][WIDE];
        for (int i = 0; i < N; ++i)
            for (int w = 0; w < WIDE; ++w) mixed[i][w] = load(queries[i].out + d + w * LANES);
        for (int start = 0; start < seen; start += LANES) {
            const size_t page = start / LANES;
            const float* values = pool.values(stretch.pages[page], layer, kv_head) + d;
            const float* next = pool.values(stretch.pages[start + LANES < seen ? page + 1 : page], layer, kv_head) + d;
            const int count = std::min(LANES, seen - start);
            for (int p = 0; p < count; ++p) {
#pragma GCC unroll 4
                for (int w = 0; w < WIDE; ++w) {
                    __builtin_prefetch(next + p * head_dim + w * LANES);
                    const Vec value = load(values + p * head_dim + w * LANES);
#pragma GCC unroll 8
                    for (int i = 0; i < N; ++i) mixed[i][w] += splat(queries[i].scores[at + start + p]) * value;
                }
            }
        }
        for (int i = 0; i < N; ++i)
            for (int w = 0; w < WIDE; ++w) store(queries[i].out + d + w * LANES, mixed[i][w]);
    }

    static constexpr Int LANE_NUMBERS = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
};

}  // namespace groupwise
