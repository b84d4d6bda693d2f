// Batch normalisation and sums of a matrix (rows, columns): positions in rows, channels in columns.
//
// Sums over rows are taken in two kernels: each row of blocks leaves its own in `parts` (blocks, 2, columns), and the next kernel
// adds those up, in the order of the blocks. So nothing is added atomically, and the same sums come out every time. They are kept
// in double precision.

__device__ void leave(double a, double b, Int columns, double* parts)
{
    a = over_rows(a);
    b = over_rows(b);
    const Int column = column_of_thread();
    if (threadIdx.y == 0 && column < columns) {
        parts[(2 * blockIdx.y) * columns + column] = a;
        parts[(2 * blockIdx.y + 1) * columns + column] = b;
    }
}

__device__ void collect(const double* parts, Int count, Int columns, double& a, double& b)
{
    const Int column = column_of_thread();
    a = b = 0;
    if (column < columns)
        for (Int part = threadIdx.y; part < count; part += blockDim.y) {
            a += parts[(2 * part) * columns + column];
            b += parts[(2 * part + 1) * columns + column];
        }
    a = over_rows(a);
    b = over_rows(b);
}

// Sums of x and of its square, both measured from the first row, so that a large mean costs no digits
// (Chan, Golub & LeVeque 1983, section 2: shifted data).
extern "C" __global__ void moment_parts(const Real* x, Int rows, Int columns, double* parts)
{
    const Int column = column_of_thread();
    double sum = 0, squares = 0;
    if (column < columns) {
        const double origin = x[column];
        for (Int row = first_row(); row < rows; row += row_step()) {
            const double d = x[row * columns + column] - origin;
            sum += d;
            squares += d * d;
        }
    }
    leave(sum, squares, columns, parts);
}

// Mean and 1 / sqrt(variance + eps). The running statistics, if there are any, follow by `momentum`.
extern "C" __global__ void moments(
    const Real* x, const double* parts, Int count, Int rows, Int columns, double eps, Real* running_mean,
    Real* running_variance, double momentum, Real* mean, Real* invstd)
{
    double sum, squares;
    collect(parts, count, columns, sum, squares);
    const Int column = column_of_thread();
    if (threadIdx.y == 0 && column < columns) {
        const double middle = sum / rows, spread = fmax(squares / rows - middle * middle, 0.0);
        mean[column] = x[column] + middle;
        invstd[column] = 1 / sqrt(spread + eps);
        if (running_mean) {
            const double unbiased = spread * rows / fmax(rows - 1.0, 1.0);
            running_mean[column] += momentum * (mean[column] - running_mean[column]);
            running_variance[column] += momentum * (unbiased - running_variance[column]);
        }
    }
}

// y = (x - mean) * invstd * weight + bias, or what `after` makes of it; weight and bias may be null.
extern "C" __global__ void normalize(
    const Real* x, const Real* weight, const Real* bias, const Real* mean, const Real* invstd, Int then, Int rows, Int columns,
    Real* y)
{
    const Int column = column_of_thread();
    if (column >= columns) return;
    const Real middle = mean[column], scale = weight ? invstd[column] * weight[column] : invstd[column];
    const Real shift = bias ? bias[column] : 0;
    for (Int row = first_row(); row < rows; row += row_step())
        y[row * columns + column] = after(then, (x[row * columns + column] - middle) * scale + shift);
}

// invstd = 1 / sqrt(variance + eps)
extern "C" __global__ void inverse_deviation(const Real* variance, Int columns, double eps, Real* invstd)
{
    const Int column = column_of_thread();
    if (column < columns) invstd[column] = 1 / sqrt(variance[column] + eps);
}

// The cotangent of what was normalised. Where there was a `then`, y is what came of it, and g its cotangent; else y is null.
__device__ Real cotangent(const Real* g, const Real* y, Int then, Int at) { return then ? before(then, g[at], y[at]) : g[at]; }

// Sums of the cotangent, and of it times (x - mean).
extern "C" __global__ void gradient_parts(
    const Real* g, const Real* y, Int then, const Real* x, const Real* mean, Int rows, Int columns, double* parts)
{
    const Int column = column_of_thread();
    double total = 0, product = 0;
    if (column < columns) {
        const double middle = mean[column];
        for (Int row = first_row(); row < rows; row += row_step()) {
            const Int at = row * columns + column;
            const double here = cotangent(g, y, then, at);
            total += here;
            product += here * (x[at] - middle);
        }
    }
    leave(total, product, columns, parts);
}

// The gradients for weight and bias, and the two sums for `input_gradient`.
extern "C" __global__ void gradient_sums(
    const double* parts, Int count, Int columns, const Real* invstd, double* sums, Real* dweight, Real* dbias)
{
    double total, product;
    collect(parts, count, columns, total, product);
    const Int column = column_of_thread();
    if (threadIdx.y == 0 && column < columns) {
        sums[column] = total;
        sums[columns + column] = product;
        if (dbias) dbias[column] = total;
        if (dweight) dweight[column] = product * invstd[column];
    }
}

// Sums of x over the rows, in two kernels like those above, but that `parts` is (blocks, columns).
extern "C" __global__ void sum_parts(const Real* x, Int rows, Int columns, double* parts)
{
    const Int column = column_of_thread();
    double sum = 0;
    if (column < columns)
        for (Int row = first_row(); row < rows; row += row_step()) sum += x[row * columns + column];
    sum = over_rows(sum);
    if (threadIdx.y == 0 && column < columns) parts[blockIdx.y * columns + column] = sum;
}

extern "C" __global__ void sum_of_parts(const double* parts, Int count, Int columns, Real* sums)
{
    const Int column = column_of_thread();
    double sum = 0;
    if (column < columns)
        for (Int part = threadIdx.y; part < count; part += blockDim.y) sum += parts[part * columns + column];
    sum = over_rows(sum);
    if (threadIdx.y == 0 && column < columns) sums[column] = sum;
}

// invstd * (h - mean(h) - xhat * mean(h * xhat)), with h = g * weight and xhat = (x - mean) * invstd.
extern "C" __global__ void input_gradient(
    const Real* g, const Real* y, Int then, const Real* x, const Real* weight, const Real* mean, const Real* invstd,
    const double* sums, Int rows, Int columns, Real* dx)
{
    const Int column = column_of_thread();
    if (column >= columns) return;
    const double inverse = invstd[column], scale = weight ? inverse * weight[column] : inverse;
    const Real middle = mean[column], a = scale;
    const Real b = -scale * inverse * inverse * sums[columns + column] / rows, c = -scale * sums[column] / rows;
    for (Int row = first_row(); row < rows; row += row_step()) {
        const Int at = row * columns + column;
        dx[at] = a * cotangent(g, y, then, at) + b * (x[at] - middle) + c;
    }
}
