// Depthwise convolution of NHWC images, every channel with its own kernel: weight is (channels, kernel_height, kernel_width).
// One thread for every number of the result, the channels of a pixel in neighbouring threads.

// bias may be null.
extern "C" __global__ void forward(
    const Real* x, const Real* weight, const Real* bias, Int size, Int height, Int width, Int channels, Int out_height,
    Int out_width, Int kernel_height, Int kernel_width, Int stride_y, Int stride_x, Int dilation_y, Int dilation_x, Int top, Int left,
    Real* y)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at >= size) return;
    const Place p = place(at, out_height, out_width, channels);
    weight += p.channel * kernel_height * kernel_width;
    Real sum = bias ? bias[p.channel] : 0;
    for (int i = 0; i < kernel_height; i++) {
        const int row = p.row * stride_y + i * dilation_y - top;
        if (row < 0 || row >= height) continue;
        for (int j = 0; j < kernel_width; j++) {
            const int column = p.column * stride_x + j * dilation_x - left;
            if (column >= 0 && column < width)
                sum += weight[i * kernel_width + j] * x[((p.image * height + row) * width + column) * channels + p.channel];
        }
    }
    y[at] = sum;
}

extern "C" __global__ void input_grad(
    const Real* g, const Real* weight, Int size, Int height, Int width, Int channels, Int out_height, Int out_width, Int kernel_height,
    Int kernel_width, Int stride_y, Int stride_x, Int dilation_y, Int dilation_x, Int top, Int left, Real* x)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at >= size) return;
    const Place p = place(at, height, width, channels);
    weight += p.channel * kernel_height * kernel_width;
    Real sum = 0;
    for (int i = 0; i < kernel_height; i++) {
        const int oy = window_at(p.row + top - i * dilation_y, stride_y, out_height);
        if (oy < 0) continue;
        for (int j = 0; j < kernel_width; j++) {
            const int ox = window_at(p.column + left - j * dilation_x, stride_x, out_width);
            if (ox < 0) continue;
            sum += weight[i * kernel_width + j] * g[((p.image * out_height + oy) * out_width + ox) * channels + p.channel];
        }
    }
    x[at] = sum;
}

// Sums over output pixels, for a matrix with a row for each of them and a column for every tap and channel: parts (blocks, columns).
extern "C" __global__ void weight_parts(
    const Real* g, const Real* x, Int pixels, Int height, Int width, Int channels, Int out_height, Int out_width, Int kernel_height,
    Int kernel_width, Int stride_y, Int stride_x, Int dilation_y, Int dilation_x, Int top, Int left, double* parts)
{
    const Int columns = kernel_height * kernel_width * channels, mine = column_of_thread();
    double sum = 0;
    if (mine < columns) {
        const int tap = mine / channels, channel = mine - tap * channels, i = tap / (int)kernel_width, j = tap - i * kernel_width;
        for (Int pixel = first_row(); pixel < pixels; pixel += row_step()) {
            const Place p = place(pixel, out_height, out_width, 1);
            const int row = p.row * stride_y + i * dilation_y - top, column = p.column * stride_x + j * dilation_x - left;
            if (row >= 0 && row < height && column >= 0 && column < width)
                sum += (double)g[pixel * channels + channel] * x[((p.image * height + row) * width + column) * channels + channel];
        }
    }
    sum = over_rows(sum);
    if (threadIdx.y == 0 && mine < columns) parts[blockIdx.y * columns + mine] = sum;
}

extern "C" __global__ void weight_grad(const double* parts, Int count, Int taps, Int channels, Real* weight)
{
    const Int columns = taps * channels, mine = column_of_thread();
    double sum = 0;
    if (mine < columns)
        for (Int part = threadIdx.y; part < count; part += blockDim.y) sum += parts[part * columns + mine];
    sum = over_rows(sum);
    if (threadIdx.y == 0 && mine < columns) weight[mine % channels * taps + mine / channels] = sum;
}
