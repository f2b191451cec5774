// Work in numbered units, taken by whichever thread is free: a core that is busy elsewhere takes fewer. Nothing here ends
// the process: where the system has no thread, those that there are do the work; what a unit throws reaches the caller.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace groupwise {

// What a function that Python calls returns.
enum Code { DONE = 0, NO_MEMORY = 1, FAILED = 2 };

// Of the last call in this thread that failed.
inline thread_local char last_error[256] = "";

// Runs `work`; nothing that it throws goes further.
template <class Work>
inline int guarded(const Work& work) noexcept {
    try {
        work();
        return DONE;
    } catch (const std::bad_alloc&) {
        return NO_MEMORY;
    } catch (const std::exception& error) {
        std::snprintf(last_error, sizeof last_error, "%s", error.what());
    } catch (...) {
        std::snprintf(last_error, sizeof last_error, "an error without a name");
    }
    return FAILED;
}

// Threads that are waited for, whatever happens. What they run throws nothing.
class Threads {
  public:
    Threads() = default;
    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;
    ~Threads() { join(); }

    size_t size() const { return threads_.size(); }

    // One more; false where the system has no thread, or no memory for one.
    template <class Work>
    bool start(Work work) noexcept {
        try {
            threads_.reserve(threads_.size() + 1);
            threads_.emplace_back(std::move(work));
            return true;
        } catch (const std::system_error&) {
            return false;
        } catch (const std::bad_alloc&) {
            return false;
        }
    }

    void join() noexcept {
        for (std::thread& thread : threads_) thread.join();
        threads_.clear();
    }

  private:
    std::vector<std::thread> threads_;
};

// Units of several stages. Those of one stage do not depend on each other; a stage begins once the stages that it comes
// after are done. Whoever has nothing to do waits.
class Stages {
  public:
    typedef std::function<void(int unit, int thread_index)> Work;

    // Returns the stage's number.
    int add(int units, Work work, std::vector<int> after = {}) {
        stages_.push_back({units, 0, 0, std::move(work), std::move(after)});
        left_ += units;
        return int(stages_.size()) - 1;
    }

    int units() const { return left_; }

    // Takes units until there are none.
    void work(int thread_index) noexcept {
        std::unique_lock<std::mutex> lock(mutex_);
        while (left_ && !error_) {
            Stage* stage = ready();
            if (!stage) {
                changed_.wait(lock);
                continue;
            }
            const int unit = stage->taken++;
            --left_, ++running_;
            lock.unlock();
            std::exception_ptr error;
            try {
                stage->work(unit, thread_index);
            } catch (...) {
                error = std::current_exception();
            }
            lock.lock();
            if (error && !error_) error_ = error;
            if (++stage->done == stage->units || error_ || !left_) changed_.notify_all();
            --running_;
        }
    }

    // Returns once every unit that was taken is done. Throws what the first of them threw that threw.
    void finish() {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [&] { return !running_; });
        if (error_) std::rethrow_exception(error_);
    }

  private:
    struct Stage {
        int units, taken, done;
        Work work;
        std::vector<int> after;
    };

    bool done(int number) const { return stages_[size_t(number)].done == stages_[size_t(number)].units; }

    // The first stage that has units left and may begin.
    Stage* ready() {
        while (first_ < stages_.size() && stages_[first_].taken == stages_[first_].units) ++first_;
        for (size_t number = first_; number < stages_.size(); ++number) {
            Stage& stage = stages_[number];
            const auto over = [&](int before) { return done(before); };
            if (stage.taken < stage.units && std::all_of(stage.after.begin(), stage.after.end(), over)) return &stage;
        }
        return nullptr;
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Stage> stages_;
    std::exception_ptr error_;
    size_t first_ = 0;
    int left_ = 0, running_ = 0;
};

// ThreadPool of one owner: the calling thread, and threads that are made when they are first needed and end with their owner.
class ThreadPool {
  public:
    // `ready`: what each thread does first.
    ThreadPool(int count, std::function<void()> ready) : count_(std::max(1, count)), ready_(std::move(ready)) {}

    ~ThreadPool() {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            closing_ = true;
        }
        called_.notify_all();
    }

    int count() const { return count_; }

    // All units. Whoever comes while another thread is in here works alone.
    void run(const std::shared_ptr<Stages>& stages) {
        std::unique_lock<std::mutex> mine(busy_, std::try_to_lock);
        if (mine && stages->units() > 1) call(stages);
        stages->work(0);
        if (mine) call(nullptr);
        stages->finish();
    }

  private:
    void call(const std::shared_ptr<Stages>& stages) {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            job_ = stages, number_ += stages != nullptr;
        }
        if (!stages) return;
        for (int thread_index = int(threads_.size()) + 1; thread_index < count_; ++thread_index)
            if (!threads_.start([this, thread_index] { serve(thread_index); })) break;
        called_.notify_all();
    }

    void serve(int thread_index) noexcept {
        ready_();
        long seen = 0;
        std::unique_lock<std::mutex> lock(mutex_);
        while (true) {
            called_.wait(lock, [&] { return closing_ || (job_ && number_ != seen); });
            if (closing_) return;
            std::shared_ptr<Stages> job = job_;
            seen = number_;
            lock.unlock();
            job->work(thread_index);
            job.reset();
            lock.lock();
        }
    }

    const int count_;
    const std::function<void()> ready_;
    std::mutex mutex_, busy_;
    std::condition_variable called_;
    std::shared_ptr<Stages> job_;
    long number_ = 0;
    bool closing_ = false;
    Threads threads_;  // last: they end before what they use does
};

// work(unit) for every unit, on threads of its own and the calling one.
template <class Work>
inline void parallel(int units, int threads, const Work& work) {
    Stages stages;
    stages.add(units, [&](int unit, int) { work(unit); });
    Threads others;
    for (int thread_index = 1; thread_index < std::min(threads, units); ++thread_index)
        if (!others.start([&stages, thread_index] { stages.work(thread_index); })) break;
    stages.work(0);
    others.join();
    stages.finish();
}

}  // namespace groupwise
