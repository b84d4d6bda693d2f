// What the CUDA sources need to be compiled as C++, to run on the CPU: blocks one after another, and of a block every thread as
// one of the system's if they wait for each other, or else one after another, too.

#include <barrier>
#include <bit>
#include <cmath>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

struct Three {
    int x, y, z;
};
static thread_local Three threadIdx;
static Three blockIdx, blockDim, gridDim;
static std::barrier<>* meeting;

#define __global__
#define __device__ static
#define __shared__ static
using std::exp, std::log, std::sqrt; // of float and double; C's would always be those of double

static void __syncthreads() { meeting->arrive_and_wait(); }
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

template <class... T> int start(void (*kernel)(T...), Three grid, Three block, int count, const long long* arguments, bool together)
{
    if (count != sizeof...(T)) return 1;
    blockDim = block;
    gridDim = grid;
    for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
        for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) {
            std::barrier<> wait(block.x * block.y);
            meeting = &wait;
            std::vector<std::thread> threads;
            for (int y = 0; y < block.y; y++)
                for (int x = 0; x < block.x; x++) {
                    auto thread = [=] {
                        threadIdx = {x, y, 0};
                        call(kernel, arguments, std::index_sequence_for<T...>());
                    };
                    if (together) threads.emplace_back(thread);
                    else thread();
                }
            for (auto& thread : threads) thread.join();
        }
    return 0;
}
