// Softmax and cross entropy of scores (rows, columns); a block of (1, n) threads for every row.

// -log softmax(x)[label] of every row, 0 where the label is the ignored one or none at all; and softmax(x).
extern "C" __global__ void cross_entropy_rows(
    const Real* x, const Int* labels, Int ignored, Int columns, double* losses, Real* p)
{
    const Int row = blockIdx.x, label = labels[row];
    x += row * columns;
    p += row * columns;
    double largest = x[0];
    for (Int i = threadIdx.y; i < columns; i += blockDim.y) largest = fmax(largest, (double)x[i]);
    largest = over_rows(largest, true);
    double sum = 0;
    for (Int i = threadIdx.y; i < columns; i += blockDim.y) {
        const Real power = exp(x[i] - (Real)largest);
        p[i] = power;
        sum += power;
    }
    sum = over_rows(sum);
    for (Int i = threadIdx.y; i < columns; i += blockDim.y) p[i] /= (Real)sum;
    if (threadIdx.y == 0)
        losses[row] = label == ignored || label < 0 || label >= columns ? 0 : log(sum) - (x[label] - largest);
}

// One block: the sum of the losses, how many rows count, and the smallest and the largest of their labels.
extern "C" __global__ void cross_entropy_total(
    const double* losses, const Int* labels, Int ignored, Int rows, Real* loss, Int* facts)
{
    const double far = 1ll << 52; // doubles are exact up to here
    double sum = 0, count = 0, low = 0, high = 0;
    for (Int row = threadIdx.y; row < rows; row += blockDim.y) {
        const Int label = labels[row];
        if (label == ignored) continue;
        sum += losses[row];
        count += 1;
        low = fmax(fmin(low, (double)label), -far);
        high = fmin(fmax(high, (double)label), far);
    }
    sum = over_rows(sum);
    count = over_rows(count);
    low = -over_rows(-low, true);
    high = over_rows(high, true);
    if (threadIdx.y == 0) {
        *loss = sum;
        facts[0] = count;
        facts[1] = low;
        facts[2] = high;
    }
}

// (p - onehot(label)) * scale; 0 in rows whose label is the ignored one.
extern "C" __global__ void cross_entropy_grad(
    const Real* p, const Int* labels, Int ignored, const Real* scale, Int columns, Int size, Real* dx)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at >= size) return;
    const Int row = at / columns, label = labels[row];
    dx[at] = label == ignored ? 0 : (p[at] - (label == at - row * columns ? 1 : 0)) * *scale;
}
