// Runs CUDA sources on the CPU, one block after another, every thread of a block as a
// coroutine that goes on until it meets a barrier or a shuffle.
//
// The order of threads and blocks is chosen by whoever launches.  With WATCHED every access
// to shared memory is looked at: a value read that no thread of this block has written, two
// threads at one word without a barrier between them, and accesses of a warp that fall into
// one bank are counted and reported.

#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(...)
#define SHARED_IS_WATCHED

namespace emulation {

struct Index { unsigned x = 0, y = 0, z = 0; };

enum class State { ready, at_barrier, at_shuffle, done };

struct Access {
    const void* site;
    uintptr_t element;
    unsigned bytes;
};

struct Thread {
    Index index;
    State state = State::ready;
    bool started = false;
    jmp_buf place;
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    unsigned char offer[16];     // what this lane shows in a shuffle
    std::vector<Access> accesses;  // since the last barrier
};

struct Report {
    long long warp_accesses = 0;  // instructions of a warp on shared memory
    long long conflicts = 0;      // additional turns that they take
    long long barriers = 0;
    std::string error;
};

constexpr size_t STACK = 1 << 16;
constexpr unsigned WARP = 32;

inline std::vector<Thread> threads;
inline Thread* current = nullptr;
inline unsigned live = 0;         // threads of this block
inline unsigned char lanes[1024][16];  // offers of the last shuffle
inline long long block_number = 0;     // over all launches: what older blocks wrote is gone
inline long long interval = 0;         // between two barriers
inline Report report;
inline jmp_buf scheduler;
inline void (*kernel)(void**) = nullptr;
inline void** arguments = nullptr;
inline Index block_index, block_size, grid_size;

inline void fail(const std::string& what) {
    if (report.error.empty()) report.error = what;
}

// Leave the running thread; come back when the scheduler resumes it.
inline void leave(State state) {
    current->state = state;
    if (!_setjmp(current->place)) _longjmp(scheduler, 1);
}

inline void body() {
    for (;;) {
        kernel(arguments);
        leave(State::done);
    }
}

inline void resume(Thread& thread) {
    current = &thread;
    thread.state = State::ready;
    if (_setjmp(scheduler)) return;
    if (thread.started) _longjmp(thread.place, 1);
    thread.started = true;
    getcontext(&thread.context);
    thread.stack.reset(new char[STACK]);
    thread.context.uc_stack.ss_sp = thread.stack.get();
    thread.context.uc_stack.ss_size = STACK;
    thread.context.uc_link = nullptr;
    makecontext(&thread.context, body, 0);
    setcontext(&thread.context);
}

// Turns that the lanes' accesses take beyond the fewest: distinct words in one bank.
inline void count_turns(const std::vector<Access>& group) {
    unsigned bytes = group[0].bytes, part = bytes > 4 ? WARP * 4 / bytes : WARP;
    for (size_t begin = 0; begin < group.size(); begin += part) {
        size_t end = std::min(begin + part, group.size());
        uintptr_t words[WARP];
        unsigned turns[WARP] = {}, most = 0, distinct = 0;
        for (size_t i = begin; i < end; ++i) {
            uintptr_t word = group[i].element;
            if (std::find(words, words + distinct, word) != words + distinct) continue;
            words[distinct++] = word;
            most = std::max(most, ++turns[word % part]);
        }
        report.conflicts += most - 1;
    }
    report.warp_accesses += 1;
}

// Put together what the lanes of a warp did in one instruction: the same place in the
// code, the same time round.
inline void study_warp(unsigned first, unsigned last) {
    std::map<std::pair<const void*, int>, std::vector<Access>> groups;
    size_t length = threads[first].accesses.size();
    bool alike = true;
    for (unsigned t = first; t < last; ++t) alike &= threads[t].accesses.size() == length;
    std::vector<Access> group;
    for (size_t n = 0; alike && n < length; ++n) {
        for (unsigned t = first; t < last; ++t) {
            alike &= threads[t].accesses[n].site == threads[first].accesses[n].site;
        }
    }
    for (size_t n = 0; alike && n < length; ++n) {
        group.clear();
        for (unsigned t = first; t < last; ++t) group.push_back(threads[t].accesses[n]);
        count_turns(group);
    }
    for (unsigned t = first; !alike && t < last; ++t) {
        std::map<const void*, int> times;
        for (const Access& access : threads[t].accesses) {
            groups[{access.site, times[access.site]++}].push_back(access);
        }
    }
    for (const auto& entry : groups) count_turns(entry.second);
    for (unsigned t = first; t < last; ++t) threads[t].accesses.clear();
}

inline void end_interval() {
    for (unsigned first = 0; first < live; first += WARP) {
        study_warp(first, std::min(first + WARP, live));
    }
    interval += 1;
}

// All lanes of a warp have come to the shuffle: their offers stand, and they go on.
inline bool release_warp(unsigned first) {
    unsigned last = std::min(first + WARP, live);
    unsigned waiting = 0;
    for (unsigned t = first; t < last; ++t) waiting += threads[t].state == State::at_shuffle;
    if (waiting == 0) return false;
    for (unsigned t = first; t < last; ++t) {
        if (threads[t].state == State::ready) return false;
    }
    if (waiting < WARP) {
        fail("a shuffle that not all 32 lanes came to");
        return false;
    }
    for (unsigned t = first; t < last; ++t) {
        std::memcpy(lanes[t], threads[t].offer, sizeof lanes[t]);
        threads[t].state = State::ready;
    }
    return true;
}

inline bool release_block() {
    for (unsigned t = 0; t < live; ++t) {
        if (threads[t].state != State::at_barrier) return false;
    }
    end_interval();
    report.barriers += 1;
    for (unsigned t = 0; t < live; ++t) threads[t].state = State::ready;
    return true;
}

inline void run_block(const std::vector<unsigned>& order) {
    block_number += 1;
    interval += 1;
    for (unsigned t = 0; t < live; ++t) threads[t].state = State::ready;
    while (report.error.empty()) {
        for (unsigned t : order) {
            if (threads[t].state == State::ready) resume(threads[t]);
        }
        bool released = release_block();
        for (unsigned first = 0; first < live; first += WARP) released |= release_warp(first);
        if (released) continue;
        unsigned done = 0;
        for (unsigned t = 0; t < live; ++t) done += threads[t].state == State::done;
        if (done < live) fail("a barrier that not all threads of the block came to");
        break;
    }
    end_interval();
    current = nullptr;
}

inline void arrange(std::vector<unsigned>& order, int seed) {
    for (unsigned i = 0; i < order.size(); ++i) order[i] = i;
    if (seed == 1) std::reverse(order.begin(), order.end());
    if (seed > 1) std::shuffle(order.begin(), order.end(), std::mt19937(seed));
}

// Seed 0: threads and blocks in order; 1: the other way round; else shuffled.
inline const char* launch(
    void (*function)(void**), void** args, unsigned blocks, unsigned size, int seed) {
    report.error.clear();
    kernel = function;
    arguments = args;
    live = size;
    // Coroutines of another kernel end before they begin this one: their loop calls it.
    while (threads.size() < size) threads.emplace_back();
    for (unsigned t = 0; t < size; ++t) threads[t].index.x = t;
    block_size = {size, 1, 1};
    grid_size = {blocks, 1, 1};
    std::vector<unsigned> order(blocks), turns(size);
    arrange(order, seed);
    arrange(turns, seed);
    for (unsigned b : order) {
        block_index = {b, 0, 0};
        if (report.error.empty()) run_block(turns);
    }
    if (!report.error.empty()) threads.clear();  // some hang in the middle of a kernel
    return report.error.c_str();
}

// A word of shared memory.
template <typename T>
class Shared {
    T value;
    long long block, written, read;  // block and intervals of the last write and read
    const Thread* writer;
    const Thread* reader;
    bool crowd;  // several threads have read it in that interval

    void note(const void* site) const {
        current->accesses.push_back({site, (uintptr_t)this / sizeof *this, sizeof(T)});
    }

  public:
    __attribute__((noinline)) operator T() const {
        note(__builtin_return_address(0));
        Shared* self = const_cast<Shared*>(this);
        if (block != block_number) fail("shared memory read before it is written");
        if (written == interval && writer != current) {
            fail("shared memory read without a barrier after another thread's write");
        }
        self->crowd = read == interval && (crowd || reader != current);
        self->read = interval;
        self->reader = current;
        return value;
    }

    __attribute__((noinline)) Shared& operator=(T next) {
        note(__builtin_return_address(0));
        bool same = block == block_number;
        if (same && written == interval && writer != current) {
            fail("shared memory written by two threads without a barrier between");
        }
        if (same && read == interval && (crowd || reader != current)) {
            fail("shared memory written without a barrier after another thread's read");
        }
        value = next;
        block = block_number;
        written = interval;
        writer = current;
        return *this;
    }
};

template <typename T>
T exchange(T value, unsigned lane_mask) {
    unsigned t = current->index.x;
    std::memcpy(current->offer, &value, sizeof value);
    leave(State::at_shuffle);
    std::memcpy(&value, lanes[t ^ lane_mask], sizeof value);
    return value;
}

}  // namespace emulation

#ifdef WATCHED
template <typename T>
using shared = emulation::Shared<T>;
#else
template <typename T>
using shared = T;
#endif

#define threadIdx (emulation::current->index)
#define blockIdx (emulation::block_index)
#define blockDim (emulation::block_size)
#define gridDim (emulation::grid_size)

inline void __syncthreads() { emulation::leave(emulation::State::at_barrier); }
inline void __threadfence() {}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask) {
    if (mask != 0xffffffffu) emulation::fail("a shuffle with a mask of its own");
    return emulation::exchange(value, lane_mask);
}

template <typename T>
T atomicAdd(T* place, T value) {
    T before = *place;
    *place = before + value;
    return before;
}

template <typename T>
T atomicMin(T* place, T value) {
    T before = *place;
    *place = std::min(before, value);
    return before;
}

using std::exp;
using std::log;
using std::tanh;
