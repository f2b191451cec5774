// Rows in tiles, and sums over them that are the same whoever computes which tile, and however many do.
//
// Tiles belong to one of two strands, and gradients grow tile by tile in a strand's order. What a tile needs for that is
// kept in a slot until they have grown by it; there are a few slots for all, so that memory does not grow with the rows.
#pragma once

#include "linear.h"
#include "threads.h"

namespace groupwise {

constexpr int STRANDS = 2;
constexpr int64_t PRODUCT = int64_t(1) << 24;  // multiplications that make a unit of work at least

struct Tile {
    int64_t at;
    int rows;
};

// A tile at work: where its own numbers lie, and who works.
struct Place {
    int strand, slot, thread_index;
};

typedef std::vector<Tile> Tiles;

// Rows from `from` to below `to` in as few tiles of equal size as can be, of at most `most`.
inline void append(Tiles& tiles, int64_t from, int64_t to, int most) {
    const int64_t count = std::max<int64_t>(1, (to - from + most - 1) / most), size = (to - from + count - 1) / count;
    for (int64_t at = from; at < to; at += size) tiles.push_back({at, int(std::min(size, to - at))});
}

// The first half of the rows is one strand, the second the other.
struct Strands {
    Tiles of[STRANDS];

    static Strands halved(int64_t rows, int most) {
        Strands made;
        const int64_t half = (rows + 1) / 2;
        append(made.of[0], 0, half, most), append(made.of[1], half, rows, most);
        return made;
    }

    Tiles all() const {
        Tiles both = of[0];
        both.insert(both.end(), of[1].begin(), of[1].end());
        return both;
    }

    bool both() const { return !of[1].empty(); }
};

// Grows by one tile. Units that grow different numbers may work at once.
typedef std::function<void(const Tile&, Place)> Grow;

class Growth {
  public:
    explicit Growth(int pool) : each_(std::max(1, (pool + 1) / 2)), flight_(pool > 1 ? 2 : 1) {}

    // One thread_index takes one strand after the other, and so needs one slot.
    int slots() const { return flight_ == 1 ? 1 : flight_ * each_ * STRANDS; }

    // `work` on every tile, and after it all of `grow`; what a thread_index has made is still in its cache when gradients grow by
    // it, unless another was faster. Returns what comes after all that grows.
    std::vector<int> add(Stages& stages, const Strands& strands, const Grow& work, const std::vector<Grow>& grow) const {
        std::vector<int> grown[STRANDS];
        const int groups = int(std::max(strands.of[0].size(), strands.of[1].size()) + size_t(each_) - 1) / each_;
        for (int number = 0; number < groups * STRANDS; ++number) {
            const int group = flight_ == 1 ? number % groups : number / STRANDS;
            const int strand = flight_ == 1 ? number / groups : number % STRANDS;
            const auto mine = members(strands.of[strand], group, strand);
            const bool follows = flight_ == 1 && strand && grown[strand].empty() && !grown[0].empty();
            if (!mine.empty()) add(stages, mine, follows ? grown[0].back() : -1, grown[strand], work, grow);
        }
        std::vector<int> last;
        for (const std::vector<int>& each : grown)
            if (!each.empty()) last.push_back(each.back());
        return last;
    }

  private:
    typedef std::vector<std::pair<Tile, Place>> Members;

    void add(Stages& stages, const Members& mine, int before, std::vector<int>& grown, const Grow& work,
             const std::vector<Grow>& grow) const {
        std::vector<int> after;
        if (before >= 0) after.push_back(before);
        if (int(grown.size()) >= flight_) after.push_back(grown[grown.size() - size_t(flight_)]);
        after = {stages.add(int(mine.size()), [=](int unit, int thread_index) {
            const auto& [tile, place] = mine[size_t(unit)];
            work(tile, {place.strand, place.slot, thread_index});
        }, after)};
        if (grow.empty()) return grown.push_back(after[0]);
        if (!grown.empty()) after.push_back(grown.back());
        grown.push_back(stages.add(int(grow.size()), [=](int unit, int thread_index) {
            for (const auto& [tile, place] : mine) grow[size_t(unit)](tile, {place.strand, place.slot, thread_index});
        }, after));
    }

    Members members(const Tiles& tiles, int group, int strand) const {
        Members found;
        for (int number = 0; number < each_; ++number) {
            const size_t at = size_t(group * each_ + number);
            const int slot = flight_ == 1 ? 0 : ((group % flight_) * each_ + number) * STRANDS + strand;
            if (at < tiles.size()) found.push_back({tiles[at], {strand, slot, 0}});
        }
        return found;
    }

    int each_, flight_;
};

// Sums of a tensor's gradient: one for each strand, the first where the caller wants it.
class Sums {
  public:
    Sums(float* first, int64_t count, bool both) : first_(first), count_(first ? count : 0) {
        if (first && both) second_ = allocate(size_t(count));
    }
    explicit operator bool() const { return first_; }
    float* of(int strand) const { return strand ? second_.get() : first_; }

    // The second strand's is added to the first's, after the stages that made them.
    void join(Stages& stages, const std::vector<int>& after) const {
        if (!second_) return;
        constexpr int64_t most = int64_t(1) << 18;
        const int units = int((count_ + most - 1) / most);
        stages.add(units, [=](int unit, int) {
            const int64_t end = std::min(count_, (unit + 1) * most);
            const float* from = second_.get();
            for (int64_t i = unit * most; i < end; ++i) first_[i] += from[i];
        }, after);
    }

  private:
    float* first_;
    int64_t count_;
    Buffer second_;
};

// The gradients of a layer and of the adapter beside it; what the caller has none of does not learn.
struct LayerSums {
    Sums weight, a, b;

    void join(Stages& stages, const std::vector<int>& after) const { weight.join(stages, after), a.join(stages, after), b.join(stages, after); }
};

// Adds what a layer's gradients grow by, in units of about equal size: `dy` and `x` say where a tile has what came back
// and what went in.
template <class From, class To>
inline void grow_layer(std::vector<Grow>& grow, const Adapted& layer, const LayerSums& sums, const ScratchSlots& scratch, From dy, To x) {
    if (sums.weight) {
        const int step = layer.layer.step(PRODUCT);
        for (int from = 0; from < layer.layer.out; from += step) {
            const int to = std::min(layer.layer.out, from + step);
            grow.push_back([=, &layer, &sums](const Tile& tile, Place at) {
                layer.layer.learn(dy(tile, at), x(tile, at), tile.rows, sums.weight.of(at.strand), from, to);
            });
        }
    }
    if (!layer.rank() || !sums.a) return;
    grow.push_back([=, &layer, &sums, &scratch](const Tile& tile, Place at) {
        layer.learn_a(dy(tile, at), x(tile, at), tile.rows, sums.a.of(at.strand), scratch[at.thread_index]);
    });
    grow.push_back([=, &layer, &sums, &scratch](const Tile& tile, Place at) {
        layer.learn_b(dy(tile, at), x(tile, at), tile.rows, sums.b.of(at.strand), scratch[at.thread_index]);
    });
}

}  // namespace groupwise
