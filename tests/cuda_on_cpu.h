// What the CUDA sources need to be compiled as C++, to run on the CPU: blocks one after another, and of a block one thread after
// another. Threads that wait for each other have a stack each, and run in turn from one meeting to the next: in one order, then
// in the other, so that who reads what has to be there already, though nobody has waited for it, finds it missing.

#define _XOPEN_SOURCE 700 // macOS wants it
#include <ucontext.h>

#include <bit>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

struct Three {
    int x, y, z;
};
static Three threadIdx, blockIdx, blockDim, gridDim;

#define __global__
#define __device__ static
#define __shared__ static
using std::exp, std::log, std::sqrt; // of float and double; C's would always be those of double

static double __longlong_as_double(long long bits) { return std::bit_cast<double>(bits); }

// Arguments are 64 bits each: pointers, integers and doubles.
template <class T> T argument(const long long* bits)
{
    if constexpr (std::is_pointer_v<T>) return (T)*bits;
    else return std::bit_cast<T>(*bits);
}

template <class... T, std::size_t... I> void call(void (*kernel)(T...), const long long* arguments, std::index_sequence<I...>)
{
    kernel(argument<T>(arguments + I)...);
}

struct Thread {
    ucontext_t state;
    bool ended = false;
};
static const std::size_t STACK = 1 << 16; // bytes
static ucontext_t caller;
static Thread* running;
static void (*body)(const void*);
static const void* task;

static void __syncthreads() { swapcontext(&running->state, &caller); }

static void run()
{
    body(task);
    running->ended = true;
}

// A block whose threads wait for each other. One that has ended is not waited for.
static void together(const std::vector<Three>& places)
{
    static std::unique_ptr<char[]> stacks(new char[1024 * STACK]);
    std::vector<Thread> threads(places.size());
    for (std::size_t i = 0; i < threads.size(); i++) {
        ucontext_t& state = threads[i].state;
        getcontext(&state);
        state.uc_stack.ss_sp = stacks.get() + i * STACK;
        state.uc_stack.ss_size = STACK;
        state.uc_link = &caller;
        makecontext(&state, run, 0);
    }
    static int turn = 0; // the next block's first order is the other one
    std::size_t left = threads.size();
    for (int round = turn++; left; round++)
        for (std::size_t n = 0; n < threads.size(); n++) {
            const std::size_t i = round % 2 ? threads.size() - 1 - n : n;
            if (threads[i].ended) continue;
            running = &threads[i];
            threadIdx = places[i];
            swapcontext(&caller, &running->state);
            left -= threads[i].ended;
        }
}

template <class... T> int start(void (*kernel)(T...), Three grid, Three block, int count, const long long* arguments, bool wait)
{
    if (count != sizeof...(T) || block.x * block.y > 1024) return 1;
    blockDim = block;
    gridDim = grid;
    auto thread = [=] { call(kernel, arguments, std::index_sequence_for<T...>()); };
    body = [](const void* task) { (*(decltype(thread)*)task)(); };
    task = &thread;
    std::vector<Three> places;
    for (int y = 0; y < block.y; y++)
        for (int x = 0; x < block.x; x++) places.push_back({x, y, 0});
    for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
        for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) {
            if (wait) together(places);
            else
                for (Three place : places) {
                    threadIdx = place;
                    thread();
                }
        }
    return 0;
}
