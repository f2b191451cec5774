// What Python hands over by pointer, with all that must be known to see that nothing is read or written beside it.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace groupwise {

inline void expect(bool so, const char* what) {
    if (!so) throw std::invalid_argument(what);
}

// Rows of floats, `stride` floats from one to the next; data is none where there is no such tensor.
struct View {
    float* data;
    int64_t rows, width, stride;

    explicit operator bool() const { return data != nullptr; }

    // Its address where it has that shape and its rows lie one after the other; of no numbers there may be none.
    float* as(int64_t rows_, int64_t width_, const char* what) const {
        if ((!data && rows_ && width_) || rows != rows_ || width != width_ || (stride != width && rows > 1 && width)) refuse(rows_, width_, what);
        return data;
    }
    // The same, or none where there is none.
    float* maybe(int64_t rows_, int64_t width_, const char* what) const { return data ? as(rows_, width_, what) : nullptr; }
    // Its address where rows may lie apart.
    float* apart(int64_t rows_, int64_t width_, const char* what) const {
        if ((!data && rows_ && width_) || rows != rows_ || width != width_ || (stride < width && rows > 1 && width)) refuse(rows_, width_, what);
        return data;
    }

  private:
    [[noreturn]] void refuse(int64_t rows_, int64_t width_, const char* what) const {
        const std::string seen = std::to_string(rows) + " x " + std::to_string(width) + " rows " + std::to_string(stride);
        throw std::invalid_argument(std::string(what) + ": seen " + (data ? seen + " apart" : "nothing") + ", expected " +
                                    std::to_string(rows_) + " x " + std::to_string(width_));
    }
};

// Whole numbers, one after the other.
struct Numbers {
    const int64_t* data;
    int64_t count;

    // Where there are so many, all from 0 to below `end`.
    const int64_t* below(int64_t end, int64_t count_, const char* what) const {
        if (count != count_) throw std::invalid_argument(std::string(what) + ": there are more or fewer than rows");
        for (int64_t i = 0; i < count; ++i)
            if (data[i] < 0 || data[i] >= end)
                throw std::invalid_argument(std::string(what) + ": seen " + std::to_string(data[i]) + ", expected 0 to " +
                                            std::to_string(end - 1));
        return data;
    }
};

// Spans of packed sequences, `width` numbers each.
struct Spans {
    const int32_t* data;
    int64_t count;
};

}  // namespace groupwise
