// Pooling of NHWC images: one thread for every number of the result, the channels of a pixel in neighbouring threads.
// `Index` is the type of positions in a window.

// The largest of each window, and where in the window it is: the first of equals; a NaN is larger than any number.
extern "C" __global__ void max_pool(
    const Real* x, Int size, Int height, Int width, Int channels, Int out_height, Int out_width, Int kernel_height, Int kernel_width,
    Int stride_y, Int stride_x, Int dilation_y, Int dilation_x, Int top, Int left, Real* y, Index* index)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at >= size) return;
    const Place p = place(at, out_height, out_width, channels);
    Real best = __longlong_as_double(-(1ll << 52)); // minus infinity
    int found = 0;
    for (int i = 0; i < kernel_height; i++) {
        const int row = p.row * stride_y + i * dilation_y - top;
        if (row < 0 || row >= height) continue;
        for (int j = 0; j < kernel_width; j++) {
            const int column = p.column * stride_x + j * dilation_x - left;
            if (column < 0 || column >= width) continue;
            const Real value = x[((p.image * height + row) * width + column) * channels + p.channel];
            if (value > best || value != value) {
                best = value;
                found = i * kernel_width + j;
            }
        }
    }
    y[at] = best;
    index[at] = found;
}

// For every pixel the sum of what its windows send: all of them, or (with an index) those that name it.
extern "C" __global__ void pool_back(
    const Real* g, const Index* index, Int size, Int height, Int width, Int channels, Int out_height, Int out_width,
    Int kernel_height, Int kernel_width, Int stride_y, Int stride_x, Int dilation_y, Int dilation_x, Int top, Int left, Real* x)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at >= size) return;
    const Place p = place(at, height, width, channels);
    Real sum = 0;
    for (int i = 0; i < kernel_height; i++) {
        const int oy = window_at(p.row + top - i * dilation_y, stride_y, out_height);
        if (oy < 0) continue;
        for (int j = 0; j < kernel_width; j++) {
            const int ox = window_at(p.column + left - j * dilation_x, stride_x, out_width);
            if (ox < 0) continue;
            const Int window = ((p.image * out_height + oy) * out_width + ox) * channels + p.channel;
            if (!index || index[window] == i * kernel_width + j) sum += g[window];
        }
    }
    x[at] = sum;
}

extern "C" __global__ void sum_pool(
    const Real* x, Int size, Int height, Int width, Int channels, Int out_height, Int out_width, Int kernel_height, Int kernel_width,
    Int stride_y, Int stride_x, Int dilation_y, Int dilation_x, Int top, Int left, Real* y)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at >= size) return;
    const Place p = place(at, out_height, out_width, channels);
    Real sum = 0;
    for (int i = 0; i < kernel_height; i++) {
        const int row = p.row * stride_y + i * dilation_y - top;
        if (row < 0 || row >= height) continue;
        for (int j = 0; j < kernel_width; j++) {
            const int column = p.column * stride_x + j * dilation_x - left;
            if (column >= 0 && column < width) sum += x[((p.image * height + row) * width + column) * channels + p.channel];
        }
    }
    y[at] = sum;
}
