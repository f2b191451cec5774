// Threads that sample side by side. Each holds rows of its own and decodes them together; prompts are computed once, by
// whoever is free; a thread with much to do gives half of it to one that has run dry. Groups come and are cancelled at any
// time. A completion that was kept goes on where it ended: only what is new to it is computed, and its keys and values are
// those that a row which begins with the same tokens would have, to the bit.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <map>
#include <string>

#include "groups.h"
#include "threads.h"

namespace groupwise {

class Scheduler {
  public:
    // As many threads as wanted, or as there can be; where there is none, whoever waits for events does the work.
    Scheduler(Transformer& model, Work work) : model_(model), work_(std::move(work)), shared_(model.shared()) {
        workers_ = size_t(std::max(1, work_.threads));
        for (int i = 0; i < work_.threads; ++i)
            if (!threads_.start([this] { work_loop(); })) break;
        std::lock_guard<std::mutex> lock(mutex_);
        workers_ = std::max<size_t>(1, threads_.size());
    }

    ~Scheduler() { stop(nullptr); }

    // Takes groups of at least one completion each.
    void submit(const Groups& groups) {
        std::lock_guard<std::mutex> lock(mutex_);
        for (const std::shared_ptr<Group>& group : groups) {
            group->left = size_t(group->completions()), group->origin = group->number;
            groups_[group->number] = group;
            const auto from = kept_.find(group->follows);
            if (from == kept_.end() || !from->second.leads_to(*group)) {
                waiting_.push_back(group);
                continue;
            }
            Kept& kept = from->second;
            group->origin = kept.group->origin;
            ready_.push_back(std::make_unique<Row>(group, 0, kept.before, nullptr, std::move(kept.own), kept.computed));
            kept_.erase(from);
        }
        more_.notify_all();
    }

    // Nothing more is drawn for these groups, and what was kept of them is given back.
    void cancel(const int32_t* numbers, int count) {
        std::lock_guard<std::mutex> lock(mutex_);
        for (int i = 0; i < count; ++i) cancel(numbers[i]);
    }

    // All that is new, after at most about `seconds`; `over` while nothing is under way. Throws what a thread threw.
    std::vector<SampleEvent> poll(double seconds, bool& over) {
        const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
        if (!threads_.size()) {
            if (!own_) own_ = std::make_unique<Worker>(model_, work_, false);
            while (events_.empty() && std::chrono::steady_clock::now() < until && work_once(*own_)) continue;
        }
        std::unique_lock<std::mutex> lock(mutex_);
        polled_.wait_until(lock, until, [&] { return !events_.empty() || done() || stopping_; });
        if (error_) std::rethrow_exception(error_);
        std::vector<SampleEvent> all;
        all.swap(events_);
        over = done() || stopping_;
        return all;
    }

  private:
    void cancel(int number) {
        kept_.erase(kept_.lower_bound({number, 0}), kept_.lower_bound({number + 1, 0}));
        const auto found = groups_.find(number);
        if (found == groups_.end()) return;
        found->second->cancelled = true;
        groups_.erase(found);
        const auto its = [&](const auto& group) { return group->number == number; };
        waiting_.erase(std::remove_if(waiting_.begin(), waiting_.end(), its), waiting_.end());
        const auto of_it = [&](const auto& row) { return row->group->number == number; };
        ready_.erase(std::remove_if(ready_.begin(), ready_.end(), of_it), ready_.end());
        more_.notify_all(), polled_.notify_all();
    }

    typedef std::vector<std::unique_ptr<Row>> Rows;
    static constexpr int PASS = 192;  // tokens of prompts, or of what completions begin with, computed together

    struct Worker {
        Worker(Transformer& model, const Work& work, bool waits)
            : forward(model), sampler(work.rule, model.shape.vocabulary), waits(waits) {}

        bool steps() const { return prompts.empty() && !mine.empty(); }
        Forward forward;
        Sampler sampler;
        const bool waits;  // where there is nothing to do; else it says so
        Rows mine;
        Groups prompts;
        bool expected = false;  // by others that begin a step
    };

    bool done() const { return waiting_.empty() && !computing_ && ready_.empty() && !running_; }

    void stop(std::exception_ptr error) noexcept {
        std::lock_guard<std::mutex> lock(mutex_);
        stopping_ = true, error_ = error_ ? error_ : error;
        more_.notify_all(), polled_.notify_all();
    }

    void work_loop() noexcept {
        try {
            Worker worker(model_, work_, true);
            try {
                while (work_once(worker)) continue;
            } catch (...) {
                expect(worker, false);
                throw;
            }
        } catch (...) {
            stop(std::current_exception());
        }
    }

    // Says whether others that begin a step are to wait for this worker.
    void expect(Worker& worker, bool steps) {
        if (!shared_ || worker.expected == steps) return;
        worker.expected = steps;
        meeting_.expect(steps);
    }

    // One piece of work; false where there is none and the worker does not wait, and at the end.
    bool work_once(Worker& worker) {
        const bool some = next(worker);
        expect(worker, some && worker.steps());
        if (!some) return false;
        if (worker.prompts.empty()) step(worker.forward, worker.sampler, worker.mine);
        else compute(worker.forward, worker.prompts);
        return true;
    }

    // Finds something to do: prompts to compute, or rows to go on with.
    bool next(Worker& worker) {
        std::unique_lock<std::mutex> lock(mutex_);
        Groups& prompts = worker.prompts;
        Rows& mine = worker.mine;
        prompts.clear();
        while (!stopping_) {
            take_prompts(prompts);
            if (prompts.empty() && !computing_) take_rows(mine);
            if (prompts.empty()) share(mine);
            if (!prompts.empty() || !mine.empty()) return true;
            if (!worker.waits) return false;
            expect(worker, false);
            ++idle_, more_.wait(lock), --idle_;
        }
        return false;
    }

    // While there is room for their completions: rows decoded together cost less than rows decoded one after another.
    void take_prompts(Groups& prompts) {
        size_t tokens = 0, taken = running_ + ready_.size();
        while (!waiting_.empty() && taken < size_t(work_.max_rows) && tokens < PASS) {
            tokens += waiting_.front()->prompt.size(), taken += size_t(waiting_.front()->completions());
            prompts.push_back(std::move(waiting_.front()));
            waiting_.pop_front(), ++computing_;
        }
    }

    void take_rows(Rows& mine) {
        const size_t fair = (running_ + ready_.size() + workers_ - 1) / workers_;
        for (; !ready_.empty() && mine.size() < fair && running_ < size_t(work_.max_rows); ++running_) {
            mine.push_back(std::move(ready_.front()));
            ready_.pop_front();
        }
        // Rows of one prompt side by side.
        const auto before = [](const auto& a, const auto& b) { return a->group->origin < b->group->origin; };
        std::sort(mine.begin(), mine.end(), before);
    }

    void share(Rows& mine) {
        if (!idle_ || mine.size() < 2 || !ready_.empty()) return;
        for (size_t half = mine.size() / 2; half; --half, --running_, mine.pop_back()) ready_.push_back(std::move(mine.back()));
        more_.notify_all();
    }

    // Prompts one after the other in passes of equal size.
    void compute(Forward& forward, const Groups& groups) {
        std::vector<std::shared_ptr<Stretch>> stretches;
        std::vector<std::shared_ptr<std::vector<float>>> logits(groups.size());
        std::vector<Token> tokens;
        std::vector<int> ends;
        std::vector<size_t> whose;
        const auto pass = [&] {
            forward.run(tokens, ends);
            const float* found = ends.empty() ? nullptr : forward.logits();
            for (size_t i = 0; i < ends.size(); ++i, found += forward.stride())
                logits[whose[i]] = std::make_shared<std::vector<float>>(found, found + model_.shape.vocabulary);
            tokens.clear(), ends.clear(), whose.clear();
        };
        for (size_t number = 0; number < groups.size(); ++number) {
            const std::vector<int>& prompt = groups[number]->prompt;
            stretches.push_back(std::make_shared<Stretch>(&model_.pool));
            for (int i = 0; i < int(prompt.size()) && !stopping_ && !groups[number]->cancelled; ++i) {
                stretches.back()->reach(i);
                tokens.push_back({prompt[size_t(i)], i, stretches.back().get(), nullptr, i + 1, 0});
                if (i + 1 == int(prompt.size())) ends.push_back(int(tokens.size()) - 1), whose.push_back(number);
                if (int(tokens.size()) == PASS) pass();
            }
        }
        if (!tokens.empty()) pass();
        std::lock_guard<std::mutex> lock(mutex_);
        computing_ -= int(groups.size());
        for (size_t i = 0; i < groups.size() && !stopping_; ++i)
            if (!groups[i]->cancelled) wait_in_line(groups[i], stretches[i], logits[i]);
        more_.notify_all();
        if (done()) polled_.notify_all();
    }

    void wait_in_line(const std::shared_ptr<Group>& group, const std::shared_ptr<Stretch>& before,
                      const std::shared_ptr<std::vector<float>>& logits) {
        for (int i = 0; i < group->completions(); ++i) {
            auto own = std::make_unique<Stretch>(&model_.pool);
            ready_.push_back(std::make_unique<Row>(group, i, before, logits, std::move(own)));
        }
    }

    // What each row's next token depends on: the token drawn last, or as much as fits of what it began with. Returns
    // where in `tokens` each row's last one is; -1 where it is not its last, or where it has none.
    std::vector<int> inputs(const Rows& mine, std::vector<Token>& tokens) const {
        std::vector<int> lasts;
        size_t budget = PASS;
        for (const auto& row : mine) {
            const size_t size = row->tokens.size(), more = size > row->computed ? size - row->computed - 1 : 0;
            const size_t to = size - more + std::min(more, budget);
            for (budget -= std::min(more, budget); row->computed < to; ++row->computed) {
                const int at = int(row->computed);
                row->own->reach(at);
                tokens.push_back({row->tokens[row->computed], row->prompt + at, row->before.get(), row->own.get(),
                                  row->prompt, at + 1});
            }
            lasts.push_back(size && to == size ? int(tokens.size()) - 1 : -1);
        }
        return lasts;
    }

    // One token more for every row of this thread, but for those that have not taken in what they began with.
    void step(Forward& forward, Sampler& sampler, Rows& mine) {
        const size_t all = mine.size();
        mine.erase(std::remove_if(mine.begin(), mine.end(), [](const auto& row) { return row->cancelled(); }), mine.end());
        std::vector<Token> tokens;
        const std::vector<int> lasts = inputs(mine, tokens);
        std::vector<int> numbers;
        std::copy_if(lasts.begin(), lasts.end(), std::back_inserter(numbers), [](int last) { return last >= 0; });
        const float* logits = nullptr;
        if (!tokens.empty()) run(forward, tokens, numbers);
        if (!numbers.empty()) logits = forward.logits();
        std::vector<SampleEvent> events;
        Rows left;
        for (size_t number = 0; number < mine.size(); ++number) {
            std::unique_ptr<Row>& row = mine[number];
            const bool fresh = row->tokens.empty();
            bool ended = false;
            if (fresh || lasts[number] >= 0) {
                ended = extend(*row, fresh ? row->first_logits->data() : logits, sampler);
                if (!fresh) logits += forward.stride();
                row->first_logits.reset();
                if (work_.every_token) events.push_back({row->group->number, row->index, row->tokens.back(), nullptr});
            }
            if (ended) events.push_back({row->group->number, row->index, 0, std::move(row)});
            else left.push_back(std::move(row));
        }
        const size_t gone = all - left.size();
        mine.swap(left);
        if (!events.empty() || gone) tell(events, gone);
    }

    // Beside whoever begins a step now.
    void run(Forward& forward, const std::vector<Token>& tokens, const std::vector<int>& ends) {
        const Seat seat = shared_ ? meeting_.join() : Seat{};
        try {
            forward.run(tokens, ends, seat);
            if (seat.team) seat.team->leave();
        } catch (...) {
            if (seat.team) seat.team->leave(std::current_exception());
            throw;
        }
    }

    // `gone`: rows that this thread no longer holds.
    void tell(std::vector<SampleEvent>& events, size_t gone) {
        std::lock_guard<std::mutex> lock(mutex_);
        running_ -= gone;
        for (SampleEvent& each : events) {
            if (each.row) put_away(*each.row);
            events_.push_back(std::move(each));
        }
        polled_.notify_all();
        if (gone) more_.notify_all();
    }

    // Gives back what a row that ended has, or keeps it.
    void put_away(Row& row) {
        Group& group = *row.group;
        if (group.keeps && !group.cancelled)
            kept_[{group.number, row.index}] = {row.group, row.before, std::move(row.own), row.tokens, row.computed};
        row.own.reset(), row.before.reset();
        if (!--group.left) groups_.erase(group.number);
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
        const int before = row.prompt + int(row.forced());
        const int most = std::min({work_.rule.max_tokens, row.group->most, work_.context - before});
        return row.finished || int(row.tokens.size() - row.forced()) >= most;
    }

    bool said_stop(Row& row) const {
        if (work_.stop_strings.empty()) return false;
        const size_t token = size_t(row.tokens.back());
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
    const bool shared_;
    Meeting meeting_;
    std::mutex mutex_;
    std::condition_variable more_, polled_;
    std::deque<std::shared_ptr<Group>> waiting_;
    std::deque<std::unique_ptr<Row>> ready_;
    std::map<int, std::shared_ptr<Group>> groups_;  // that have not ended
    std::map<std::pair<int, int>, Kept> kept_;
    std::vector<SampleEvent> events_;
    std::exception_ptr error_;
    std::atomic<bool> stopping_{false};
    size_t running_ = 0, workers_ = 1;  // running: rows that a thread holds
    int computing_ = 0, idle_ = 0;
    std::unique_ptr<Worker> own_;
    Threads threads_;  // last: they end before what they use does
};

}  // namespace groupwise
