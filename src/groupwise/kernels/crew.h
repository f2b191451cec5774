// Threads that sample side by side. Each holds rows of its own and decodes them together; prompts are computed once, by
// whoever is free; a thread with much to do gives half of it to one that has run dry.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <string>

#include "sampling.h"
#include "transformer.h"
#include "workers.h"

namespace groupwise {

struct Asked {
    std::vector<int> prompt;
    std::vector<uint64_t> seeds;  // the low and the high half of each completion's key
};

struct Work {
    std::vector<Asked> asked;
    Rule rule;
    std::vector<int> stop_tokens;
    std::vector<std::string> stop_strings, pieces;  // pieces: the bytes of each token, where there are stop strings
    int threads, max_rows, context;
    bool every_token;
};

// A completion on its way.
struct Row {
    Row(int request, int index, const Asked& asked, std::shared_ptr<Stretch> before,
        std::shared_ptr<std::vector<float>> logits, Pool* pool)
        : request(request), index(index), prompt(int(asked.prompt.size())), before(std::move(before)),
          first_logits(std::move(logits)), own(std::make_unique<Stretch>(pool)),
          stream(asked.seeds[2 * index], asked.seeds[2 * index + 1]) {}

    int request, index, prompt;
    std::shared_ptr<Stretch> before;
    std::shared_ptr<std::vector<float>> first_logits;  // of the prompt's last token
    std::unique_ptr<Stretch> own;
    Stream stream;
    std::vector<int> tokens, kept, kept_sizes;
    std::vector<double> logprobs;
    std::string text;  // where stop strings are looked for
    bool finished = false;
};

// What the caller hears: every token if it asked for them, and each completion as it ends.
struct News {
    int request, index, token;
    std::unique_ptr<Row> row;
};

class Crew {
  public:
    // As many threads as wanted, or as there can be; where there is none, whoever waits for news does the work.
    Crew(Transformer& model, Work work) : model_(model), work_(std::move(work)) {
        workers_ = size_t(std::max(1, work_.threads));
        for (int i = 0; i < work_.threads; ++i)
            if (!threads_.start([this] { labour(); })) break;
        std::lock_guard<std::mutex> lock(mutex_);
        workers_ = std::max<size_t>(1, threads_.size());
    }

    ~Crew() { stop(nullptr); }

    // All that is new, after at most about `seconds`; `over` once nothing more will come. Throws what a thread threw.
    std::vector<News> hear(double seconds, bool& over) {
        const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
        if (!threads_.size()) {
            if (!own_) own_ = std::make_unique<Worker>(model_, work_);
            while (news_.empty() && std::chrono::steady_clock::now() < until && turn(*own_)) continue;
        }
        std::unique_lock<std::mutex> lock(mutex_);
        heard_.wait_until(lock, until, [&] { return !news_.empty() || done() || stopping_; });
        if (error_) std::rethrow_exception(error_);
        std::vector<News> all;
        all.swap(news_);
        over = done() || stopping_;
        return all;
    }

  private:
    typedef std::vector<std::unique_ptr<Row>> Rows;
    static constexpr int PASS = 192;  // prompt tokens computed together

    struct Worker {
        Worker(Transformer& model, const Work& work) : forward(model), sampler(work.rule, model.shape.vocabulary) {}
        Forward forward;
        Sampler sampler;
        Rows mine;
        std::vector<size_t> prompts;
    };

    bool done() const { return next_ == work_.asked.size() && !computing_ && ready_.empty() && !running_; }

    void stop(std::exception_ptr error) noexcept {
        std::lock_guard<std::mutex> lock(mutex_);
        stopping_ = true, error_ = error_ ? error_ : error;
        more_.notify_all(), heard_.notify_all();
    }

    void labour() noexcept {
        try {
            Worker worker(model_, work_);
            while (turn(worker)) continue;
        } catch (...) {
            stop(std::current_exception());
        }
    }

    // One piece of work; false when all is done.
    bool turn(Worker& worker) {
        if (!next(worker.mine, worker.prompts)) return false;
        if (worker.prompts.empty()) step(worker.forward, worker.sampler, worker.mine);
        else compute(worker.forward, worker.prompts);
        return true;
    }

    // Waits for something to do: prompts to compute, or rows to go on with. False when all is done.
    bool next(Rows& mine, std::vector<size_t>& prompts) {
        std::unique_lock<std::mutex> lock(mutex_);
        prompts.clear();
        while (!stopping_ && !done()) {
            take_prompts(prompts);
            if (prompts.empty() && !computing_) take_rows(mine);
            if (prompts.empty()) share(mine);
            if (!prompts.empty() || !mine.empty()) return true;
            ++idle_, more_.wait(lock), --idle_;
        }
        more_.notify_all(), heard_.notify_all();
        return false;
    }

    // While there is room for their completions: rows decoded together cost less than rows decoded one after another.
    void take_prompts(std::vector<size_t>& prompts) {
        size_t tokens = 0, taken = running_ + ready_.size();
        while (next_ < work_.asked.size() && taken < size_t(work_.max_rows) && tokens < PASS) {
            const Asked& asked = work_.asked[next_];
            tokens += asked.prompt.size(), taken += asked.seeds.size() / 2;
            prompts.push_back(next_++), ++computing_;
        }
    }

    void take_rows(Rows& mine) {
        const size_t fair = (running_ + ready_.size() + workers_ - 1) / workers_;
        for (; !ready_.empty() && mine.size() < fair && running_ < size_t(work_.max_rows); ++running_) {
            mine.push_back(std::move(ready_.front()));
            ready_.pop_front();
        }
        // Rows of one prompt side by side.
        std::sort(mine.begin(), mine.end(), [](const auto& a, const auto& b) { return a->request < b->request; });
    }

    void share(Rows& mine) {
        if (!idle_ || mine.size() < 2 || !ready_.empty()) return;
        for (size_t half = mine.size() / 2; half; --half, --running_, mine.pop_back()) ready_.push_back(std::move(mine.back()));
        more_.notify_all();
    }

    // Prompts one after the other in passes of equal size.
    void compute(Forward& forward, const std::vector<size_t>& prompts) {
        std::vector<std::shared_ptr<Stretch>> stretches;
        std::vector<std::shared_ptr<std::vector<float>>> logits;
        std::vector<Token> tokens;
        std::vector<int> ends;
        const auto pass = [&] {
            forward.run(tokens);
            const float* found = ends.empty() ? nullptr : forward.logits(ends);
            for (size_t i = 0; i < ends.size(); ++i, found += forward.stride())
                logits.push_back(std::make_shared<std::vector<float>>(found, found + model_.shape.vocabulary));
            tokens.clear(), ends.clear();
        };
        for (const size_t number : prompts) {
            const std::vector<int>& prompt = work_.asked[number].prompt;
            stretches.push_back(std::make_shared<Stretch>(&model_.pool));
            for (int i = 0; i < int(prompt.size()) && !stopping_; ++i) {
                stretches.back()->reach(i);
                tokens.push_back({prompt[i], i, stretches.back().get(), nullptr, i + 1, 0});
                if (i + 1 == int(prompt.size())) ends.push_back(int(tokens.size()) - 1);
                if (int(tokens.size()) == PASS) pass();
            }
        }
        if (!tokens.empty()) pass();
        std::lock_guard<std::mutex> lock(mutex_);
        computing_ -= int(prompts.size());
        for (size_t i = 0; i < prompts.size() && !stopping_; ++i) wait_in_line(int(prompts[i]), stretches[i], logits[i]);
        more_.notify_all();
    }

    void wait_in_line(int number, std::shared_ptr<Stretch> before, std::shared_ptr<std::vector<float>> logits) {
        const Asked& asked = work_.asked[number];
        for (int i = 0; i < int(asked.seeds.size()) / 2; ++i)
            ready_.push_back(std::make_unique<Row>(number, i, asked, before, logits, &model_.pool));
    }

    // One token more for every row of this thread.
    void step(Forward& forward, Sampler& sampler, Rows& mine) {
        std::vector<Token> tokens;
        std::vector<int> numbers;
        for (const auto& row : mine) {
            const int seen = int(row->tokens.size());
            if (!seen) continue;
            row->own->reach(seen - 1);
            numbers.push_back(int(tokens.size()));
            tokens.push_back({row->tokens.back(), row->prompt + seen - 1, row->before.get(), row->own.get(), row->prompt, seen});
        }
        const float* logits = nullptr;
        if (!tokens.empty()) forward.run(tokens), logits = forward.logits(numbers);
        std::vector<News> news;
        Rows left;
        for (auto& row : mine) {
            const bool fresh = row->tokens.empty();
            const bool ended = extend(*row, fresh ? row->first_logits->data() : logits, sampler);
            if (fresh) row->first_logits.reset();
            else logits += forward.stride();
            if (work_.every_token) news.push_back({row->request, row->index, row->tokens.back(), nullptr});
            if (!ended) {
                left.push_back(std::move(row));
                continue;
            }
            row->own.reset(), row->before.reset();
            news.push_back({row->request, row->index, 0, std::move(row)});
        }
        const size_t ended = mine.size() - left.size();
        mine.swap(left);
        if (news.empty()) return;
        std::lock_guard<std::mutex> lock(mutex_);
        running_ -= ended;
        std::move(news.begin(), news.end(), std::back_inserter(news_));
        heard_.notify_all();
        if (ended) more_.notify_all();
    }

    // Draws a token; true where the row ends with it.
    bool extend(Row& row, const float* logits, Sampler& sampler) {
        const Drawn drawn = sampler.draw(logits, row.stream);
        row.tokens.push_back(drawn.token), row.logprobs.push_back(drawn.logprob);
        if (work_.rule.narrows()) {
            row.kept.insert(row.kept.end(), sampler.kept().begin(), sampler.kept().end());
            row.kept_sizes.push_back(int(sampler.kept().size()));
        }
        const std::vector<int>& stops = work_.stop_tokens;
        row.finished = std::find(stops.begin(), stops.end(), drawn.token) != stops.end() || said_stop(row);
        return row.finished || int(row.tokens.size()) >= std::min(work_.rule.max_tokens, work_.context - row.prompt);
    }

    bool said_stop(Row& row) const {
        if (work_.stop_strings.empty()) return false;
        const size_t token = row.tokens.back();
        if (token >= work_.pieces.size()) return false;
        const std::string& piece = work_.pieces[token];
        row.text += piece;
        for (const std::string& stop : work_.stop_strings) {
            const size_t reach = piece.size() + stop.size();
            const size_t from = row.text.size() > reach ? row.text.size() - reach : 0;
            if (row.text.find(stop, from) != std::string::npos) return true;
        }
        return false;
    }

    Transformer& model_;
    const Work work_;
    std::mutex mutex_;
    std::condition_variable more_, heard_;
    std::deque<std::unique_ptr<Row>> ready_;
    std::vector<News> news_;
    std::exception_ptr error_;
    std::atomic<bool> stopping_{false};
    size_t next_ = 0, running_ = 0, workers_ = 1;  // requests taken; rows that a thread holds
    int computing_ = 0, idle_ = 0;
    std::unique_ptr<Worker> own_;
    Threads threads_;  // last: they end before what they use does
};

}  // namespace groupwise
