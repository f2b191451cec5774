// Work in numbered units, taken by whichever thread is free: a core that is busy elsewhere takes fewer.
#pragma once

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace groupwise {

// work(unit, thread) for every unit, the calling thread among the workers. Units must not depend on each other.
template <class Work>
inline void parallel(int units, int threads, const Work& work) {
    std::atomic<int> next{0};
    const auto take = [&](int thread) {
        for (int unit = next++; unit < units; unit = next++) work(unit, thread);
    };
    std::vector<std::thread> others;
    for (int thread = 1; thread < std::min(threads, units); ++thread) others.emplace_back(take, thread);
    take(0);
    for (std::thread& other : others) other.join();
}

}  // namespace groupwise
