// What is sampled: groups of completions, a completion on its way, and one that was kept so that it can go on.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sampling.h"
#include "transformer.h"

namespace groupwise {

// One prompt and a completion for each seed.
struct Group {
    int number, origin, most;  // origin: of the group whose prompt it shares; most: tokens that are drawn
    std::vector<int> prompt, forced;  // forced: what each completion holds already when it begins
    std::vector<uint64_t> seeds;      // the low and the high half of each completion's key
    bool keeps;                       // whether what was computed of its completions stays, so that they can go on
    std::pair<int, int> follows;      // number and index of the completion that it goes on from; -1: none
    std::atomic<bool> cancelled{false};
    size_t left = 0;  // completions that have not ended

    int completions() const { return int(seeds.size() / 2); }
};

typedef std::vector<std::shared_ptr<Group>> Groups;

// How all completions are drawn, and by whom.
struct Work {
    Rule rule;
    std::vector<int> stop_tokens;
    std::vector<std::string> stop_strings, pieces;  // pieces: the bytes of each token, where there are stop strings
    int threads, max_rows, context;
    bool every_token;
};

// Keys and values of a completion that may go on.
struct Kept {
    std::shared_ptr<Group> group;
    std::shared_ptr<Stretch> before;
    std::unique_ptr<Stretch> own;
    std::vector<int> tokens;
    size_t computed;

    // Whether `next` is this completion and more.
    bool leads_to(const Group& next) const {
        return next.completions() == 1 && next.prompt == group->prompt && next.forced.size() >= tokens.size() &&
               std::equal(tokens.begin(), tokens.end(), next.forced.begin());
    }
};

// A completion on its way.
struct Row {
    Row(std::shared_ptr<Group> of, int index, std::shared_ptr<Stretch> before,
        std::shared_ptr<std::vector<float>> logits, std::unique_ptr<Stretch> own, size_t computed = 0)
        : group(std::move(of)), index(index), prompt(int(group->prompt.size())), before(std::move(before)),
          first_logits(std::move(logits)), own(std::move(own)),
          stream(group->seeds[2 * size_t(index)], group->seeds[2 * size_t(index) + 1]), tokens(group->forced),
          computed(computed) {
        stream.skip(tokens.size());
    }

    std::shared_ptr<Group> group;
    int index, prompt;
    std::shared_ptr<Stretch> before;
    std::shared_ptr<std::vector<float>> first_logits;  // of the prompt's last token
    std::unique_ptr<Stretch> own;
    Stream stream;
    std::vector<int> tokens, kept, kept_sizes;  // tokens: those that it began with, then those that were drawn
    size_t computed;                            // tokens whose keys and values are in `own`
    std::vector<double> logprobs;
    std::string text;  // where stop strings are looked for
    bool finished = false;

    size_t forced() const { return group->forced.size(); }
    bool cancelled() const { return group->cancelled; }
};

// What the caller hears: every token if it asked for them, and each completion as it ends.
struct SampleEvent {
    int request, index, token;
    std::unique_ptr<Row> row;
};

}  // namespace groupwise
