// Functions of single elements of arrays that lie alike; one thread for each number. The result may be an argument.

extern "C" __global__ void relu(const Real* x, Int size, Real* y)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at < size) y[at] = x[at] <= 0 ? 0 : x[at]; // a NaN stays
}

extern "C" __global__ void relu_grad(const Real* g, const Real* y, Int size, Real* dx)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at < size) dx[at] = y[at] <= 0 ? 0 : g[at];
}

extern "C" __global__ void hardtanh(const Real* x, double low, double high, Int size, Real* y)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at >= size) return;
    const Real least = low, most = high, value = x[at] < least ? least : x[at];
    y[at] = value > most ? most : value;
}

extern "C" __global__ void hardtanh_grad(const Real* g, const Real* y, double low, double high, Int size, Real* dx)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at < size) dx[at] = y[at] <= (Real)low || y[at] >= (Real)high ? 0 : g[at];
}

extern "C" __global__ void sigmoid(const Real* x, Int size, Real* y)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at < size) y[at] = 1 / (1 + exp(-x[at]));
}

extern "C" __global__ void sigmoid_grad(const Real* g, const Real* y, Int size, Real* dx)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at < size) dx[at] = g[at] * (y[at] * (1 - y[at]));
}

// y += bias, whose numbers belong to the columns; and then what is above 0 of it, if `rectified`.
extern "C" __global__ void add_bias(const Real* bias, Int columns, Int rectified, Int size, Real* y)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at >= size) return;
    const Real value = y[at] + bias[(unsigned)at % (unsigned)columns];
    y[at] = rectified && value <= 0 ? 0 : value;
}

extern "C" __global__ void add(const Real* a, const Real* b, Int size, Real* y)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at < size) y[at] = a[at] + b[at];
}
