"""Optimizer steps in one pass: every number is read and written once. All arrays are flat."""

from __future__ import annotations

import numpy as np

from minidl.backend.cpu.fast.jit import inner, kernel
from minidl.backend.cpu.fast.team import address_of, job_of, run


@inner
def _sgd(who, part, first, last, p, g, buf, lr, momentum, dampening, weight_decay, nesterov, maximize):
    """See ``OptimKernels.sgd_step``; without momentum ``buf`` is not touched."""
    p, g, buf = p[first:last], g[first:last], buf[first:last]
    kind = p.dtype.type
    rate, keep, fresh, decay = kind(lr), kind(momentum), kind(1 - dampening), kind(weight_decay)
    sign = kind(-1 if maximize else 1)
    if momentum == 0:
        for k in range(p.size):
            p[k] -= rate * (sign * g[k] + decay * p[k])
    elif nesterov:
        for k in range(p.size):
            d = sign * g[k] + decay * p[k]
            b = keep * buf[k] + fresh * d
            buf[k] = b
            p[k] -= rate * (d + keep * b)
    else:
        for k in range(p.size):
            b = keep * buf[k] + fresh * (sign * g[k] + decay * p[k])
            buf[k] = b
            p[k] -= rate * b


@inner
def _adam(
    who, part, first, last, p, g, m, v, largest, amsgrad, step, lr, beta1, beta2, eps, weight_decay, decoupled, maximize
):  # fmt: skip
    """See ``OptimKernels.adam_step``; ``largest`` is only touched with ``amsgrad``."""
    p, g, m, v, largest = p[first:last], g[first:last], m[first:last], v[first:last], largest[first:last]
    kind = p.dtype.type
    rate, root = kind(lr / (1 - beta1**step)), kind(1 / (1 - beta2**step) ** 0.5)
    keep1, fresh1, keep2, fresh2, small = kind(beta1), kind(1 - beta1), kind(beta2), kind(1 - beta2), kind(eps)
    sign = kind(-1 if maximize else 1)
    shrink, decay = (kind(1 - lr * weight_decay), kind(0)) if decoupled else (kind(1), kind(weight_decay))
    for k in range(p.size):
        value = p[k] * shrink
        d = sign * g[k] + decay * value
        mean = keep1 * m[k] + fresh1 * d
        square = keep2 * v[k] + fresh2 * d * d
        m[k], v[k] = mean, square
        if amsgrad:
            square = max(largest[k], square)
            largest[k] = square
        p[k] = value - rate * mean / (np.sqrt(square) * root + small)


_sgd_job, _adam_job = job_of(_sgd), job_of(_adam)


@kernel
def sgd_update(team, *arguments):  # see _sgd
    run(team, _sgd_job(arguments), address_of(arguments))


@kernel
def adam_update(team, *arguments):  # see _adam
    run(team, _adam_job(arguments), address_of(arguments))
