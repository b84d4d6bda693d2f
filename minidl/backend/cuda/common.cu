// What the other files begin with (`source` in launch.py puts it before them).

typedef long long Int;

// Which number of an array (images, height, width, channels) a thread has.
struct Place {
    Int image;
    int row, column, channel;
};

__device__ Place place(Int at, Int height, Int width, Int channels)
{
    const unsigned pixel = (unsigned)at / (unsigned)channels, line = pixel / (unsigned)width;
    Place p;
    p.channel = at - pixel * channels;
    p.column = pixel - line * width;
    p.row = line % (unsigned)height;
    p.image = line / (unsigned)height;
    return p;
}

// What a kernel may do to its result in the same pass, numbered as in `THEN` in launch.py; and the cotangent before that, for g,
// the one of what came out, y. A NaN stays.
enum { NOTHING, RELU, RELU6, SIGMOID };

__device__ Real limited(Real x, Real low, Real high)
{
    const Real least = x < low ? low : x;
    return least > high ? high : least;
}

__device__ Real after(Int then, Real x)
{
    if (then == RELU) return x <= 0 ? 0 : x;
    if (then == RELU6) return limited(x, 0, 6);
    return then == SIGMOID ? 1 / (1 + exp(-x)) : x;
}

__device__ Real before(Int then, Real g, Real y)
{
    if (then == RELU) return y <= 0 ? 0 : g;
    if (then == RELU6) return y <= 0 || y >= 6 ? 0 : g;
    return then == SIGMOID ? g * (y * (1 - y)) : g;
}

// Of `count` windows, `stride` apart, the one that begins at `place`; -1 if none does.
__device__ int window_at(int place, int stride, int count)
{
    const int window = place / stride;
    return place < 0 || window * stride != place || window >= count ? -1 : window;
}

// For matrices (rows, columns): a thread keeps to one column, and goes down the rows in steps of all threads of its column.
__device__ Int column_of_thread() { return blockIdx.x * (Int)blockDim.x + threadIdx.x; }
__device__ Int first_row() { return blockIdx.y * (Int)blockDim.y + threadIdx.y; }
__device__ Int row_step() { return gridDim.y * (Int)blockDim.y; }

// The sum (or the largest) of a over the threads of a block that share a column. All threads of the block must ask for it.
__device__ double over_rows(double a, bool largest = false)
{
    __shared__ double values[1024];
    const int here = threadIdx.y * blockDim.x + threadIdx.x;
    __syncthreads(); // another thread may still be reading what was asked for before
    values[here] = a;
    for (int rows = blockDim.y; rows > 1;) {
        const int kept = (rows + 1) / 2;
        __syncthreads();
        if ((int)threadIdx.y + kept < rows) {
            const double other = values[here + kept * blockDim.x];
            values[here] = largest ? fmax(values[here], other) : values[here] + other;
        }
        rows = kept;
    }
    __syncthreads();
    return values[threadIdx.x];
}
