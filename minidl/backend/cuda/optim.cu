// Optimizer steps of many parameters in one kernel.
//
// `table` has a row for every array of a step, with the address of that array for each of `count` parameters, and a last row
// with their sizes. `work` says for every block which parameter it has a part of, and where that begins; it has WORK numbers.

struct Part {
    Int parameter, begin, end;
};

__device__ Part part(const Int* sizes, const Int* work)
{
    Part p;
    p.parameter = work[2 * blockIdx.x];
    p.begin = work[2 * blockIdx.x + 1];
    p.end = p.begin + WORK < sizes[p.parameter] ? p.begin + WORK : sizes[p.parameter];
    p.begin += threadIdx.x;
    return p;
}

extern "C" __global__ void sgd(
    const Int* table, const Int* work, Int count, double lr, double momentum, double dampening, double weight_decay,
    Int nesterov, Int maximize)
{
    const Part mine = part(table + 3 * count, work);
    Real* param = (Real*)table[mine.parameter];
    const Real* grad = (const Real*)table[count + mine.parameter];
    Real* buf = (Real*)table[2 * count + mine.parameter];
    const Real rate = lr, keep = momentum, fresh = 1 - dampening, decay = weight_decay;
    for (Int i = mine.begin; i < mine.end; i += blockDim.x) {
        Real g = (maximize ? -grad[i] : grad[i]) + decay * param[i];
        if (keep != 0) {
            const Real b = keep * buf[i] + fresh * g;
            buf[i] = b;
            g = nesterov ? g + keep * b : b;
        }
        param[i] -= rate * g;
    }
}

// The last row but one holds how many steps each parameter has taken, as the bits of a double; the arrays of the largest
// squares are null without AMSGrad.
extern "C" __global__ void adam(
    const Int* table, const Int* work, Int count, double lr, double beta1, double beta2, double eps, double weight_decay,
    Int decoupled, Int maximize)
{
    const Part mine = part(table + 6 * count, work);
    Real* param = (Real*)table[mine.parameter];
    const Real* grad = (const Real*)table[count + mine.parameter];
    Real* mean = (Real*)table[2 * count + mine.parameter];
    Real* square = (Real*)table[3 * count + mine.parameter];
    Real* largest = (Real*)table[4 * count + mine.parameter];
    const double step = __longlong_as_double(table[5 * count + mine.parameter]);
    const Real keep1 = beta1, keep2 = beta2, fresh1 = 1 - beta1, fresh2 = 1 - beta2, tiny = eps;
    const Real rate = lr / (1 - pow(beta1, step)), deviation = sqrt(1 - pow(beta2, step));
    const Real shrink = decoupled ? 1 - lr * weight_decay : 1, decay = decoupled ? 0 : weight_decay;
    for (Int i = mine.begin; i < mine.end; i += blockDim.x) {
        const Real p = param[i] * shrink, g = (maximize ? -grad[i] : grad[i]) + decay * p;
        const Real m = keep1 * mean[i] + fresh1 * g;
        Real v = keep2 * square[i] + fresh2 * g * g;
        mean[i] = m;
        square[i] = v;
        if (largest) {
            // As in maximum(): a NaN stays.
            const Real before = largest[i];
            largest[i] = v = before > v || before != before ? before : v;
        }
        param[i] = p - rate * (m / (sqrt(v) / deviation + tiny));
    }
}
