// Functions of single elements of arrays that lie alike; one thread for each number. The result may be an argument.

extern "C" __global__ void relu(const Real* x, Int size, Real* y)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at < size) y[at] = after(RELU, x[at]);
}

extern "C" __global__ void relu_grad(const Real* g, const Real* y, Int size, Real* dx)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at < size) dx[at] = before(RELU, g[at], y[at]);
}

extern "C" __global__ void hardtanh(const Real* x, double low, double high, Int size, Real* y)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at < size) y[at] = limited(x[at], low, high);
}

extern "C" __global__ void hardtanh_grad(const Real* g, const Real* y, double low, double high, Int size, Real* dx)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at < size) dx[at] = y[at] <= (Real)low || y[at] >= (Real)high ? 0 : g[at];
}

extern "C" __global__ void sigmoid(const Real* x, Int size, Real* y)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at < size) y[at] = after(SIGMOID, x[at]);
}

extern "C" __global__ void sigmoid_grad(const Real* g, const Real* y, Int size, Real* dx)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at < size) dx[at] = before(SIGMOID, g[at], y[at]);
}

// y += bias, whose numbers belong to the columns; and then what `after` makes of it.
extern "C" __global__ void add_bias(const Real* bias, Int columns, Int then, Int size, Real* y)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at < size) y[at] = after(then, y[at] + bias[(unsigned)at % (unsigned)columns]);
}

extern "C" __global__ void add(const Real* a, const Real* b, Int size, Real* y)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at < size) y[at] = a[at] + b[at];
}
