// Threads that read the same large weights make a step together: each weight is read by one of them, for the rows of all.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <vector>

namespace groupwise {

struct ExpertRows;

// The threads of one step. Each has a place among them.
class Team {
  public:
    int size() const { return int(rows_.size()); }

    // What the thread at each place has for the work that all do; it is good between two meetings.
    std::vector<const ExpertRows*>& rows() { return rows_; }

    // Returns the next unit of that work.
    int take() { return next_.fetch_add(1, std::memory_order_relaxed); }

    // Returns once all have come: what they wrote before is seen by all after. Throws what one of them left with.
    void meet() {
        const long round = round_.load(std::memory_order_acquire);
        if (come_.fetch_add(1, std::memory_order_acq_rel) + 1 == size()) {
            come_.store(0, std::memory_order_relaxed), next_.store(0, std::memory_order_relaxed);
            std::lock_guard<std::mutex> lock(mutex_);
            round_.store(round + 1, std::memory_order_release);
            return changed_.notify_all();
        }
        const auto met = [&] { return round_.load(std::memory_order_acquire) != round; };
        const auto until = std::chrono::steady_clock::now() + AWAKE;
        while (!met() && std::chrono::steady_clock::now() < until) continue;
        if (met()) return;
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [&] { return met() || error_; });
        if (!met()) std::rethrow_exception(error_);
    }

    // One of them will not come any more: its step is over. With an error, returns once that holds of all, so that nobody
    // reads any more what it had for their work.
    void leave(std::exception_ptr error = nullptr) {
        std::unique_lock<std::mutex> lock(mutex_);
        error_ = error_ ? error_ : error, ++left_;
        if (error_) changed_.notify_all();
        if (error) changed_.wait(lock, [&] { return left_ == size(); });
    }

  private:
    friend class Meeting;
    static constexpr auto AWAKE = std::chrono::microseconds(50);  // that a thread waits before it sleeps

    std::vector<const ExpertRows*> rows_;  // empty until the step begins
    std::atomic<int> come_{0}, next_{0};
    std::atomic<long> round_{0};
    std::mutex mutex_;
    std::condition_variable changed_;
    std::exception_ptr error_;
    int left_ = 0;
};

// A thread's place in a team; without one it works alone.
struct Seat {
    std::shared_ptr<Team> team;
    int place = 0;
};

// Where threads come together before a step. Whoever is expected comes as soon as its last step is done, or is expected no
// more.
class Meeting {
  public:
    // One more thread has steps to make, or one less.
    void expect(bool one_more) {
        std::lock_guard<std::mutex> lock(mutex_);
        expected_ += one_more ? 1 : -1;
        if (come_ && come_ >= expected_) begin();
    }

    // Returns a place among all that begin a step now.
    Seat join() {
        std::unique_lock<std::mutex> lock(mutex_);
        if (expected_ < 2) return {};
        if (!come_) forming_ = std::make_shared<Team>();
        const std::shared_ptr<Team> team = forming_;
        const int place = come_++;
        if (come_ >= expected_) begin();
        changed_.wait(lock, [&] { return team->size() > 0; });
        return team->size() > 1 ? Seat{team, place} : Seat{};
    }

  private:
    void begin() {
        forming_->rows_.resize(size_t(come_)), come_ = 0;
        changed_.notify_all();
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    int expected_ = 0, come_ = 0;  // come: those that wait for a step to begin
    std::shared_ptr<Team> forming_;
};

}  // namespace groupwise
