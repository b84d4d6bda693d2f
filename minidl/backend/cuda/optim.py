"""Optimizer steps on the GPU: one kernel for all parameters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from minidl.backend.cuda.launch import THREADS, WORK, Launcher
from minidl.backend.reference.optim import OptimKernels


class CudaOptim(OptimKernels, Launcher):
    """Steps of SGD and Adam; the other optimizers take the reference's, one parameter after another."""

    from_numpy: Any

    def sgd_steps(self, params: Sequence[Any], grads: Sequence[Any], bufs: Sequence[Any], **options: Any) -> None:
        momentum = options.get("momentum", 0)
        if momentum == 0:
            bufs = [None] * len(params)
        numbers = [float(options.get(name, 0)) for name in ("lr", "momentum", "dampening", "weight_decay")]
        flags = [bool(options.get(name, False)) for name in ("nesterov", "maximize")]
        rest = self._together("sgd", [params, grads, bufs], None, [*numbers, *flags])
        for i in rest:
            self.sgd_step(params[i], grads[i], bufs[i], **options)

    def adam_steps(
        self,
        params: Sequence[Any],
        grads: Sequence[Any],
        exp_avgs: Sequence[Any],
        exp_avg_sqs: Sequence[Any],
        max_exp_avg_sqs: Sequence[Any],
        steps: Sequence[float],
        **options: Any,
    ) -> None:
        numbers = [float(options[name]) for name in ("lr", "beta1", "beta2", "eps")]
        numbers += [float(options.get("weight_decay", 0))]
        flags = [bool(options.get(name, False)) for name in ("decoupled_weight_decay", "maximize")]
        arrays: list[Any] = [params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs]
        for i in self._together("adam", arrays, steps, [*numbers, *flags]):
            self.adam_step(*[a[i] for a in (*arrays, steps)], **options)

    def _together(
        self, kernel: str, arrays: list[Sequence[Any]], steps: Sequence[float] | None, options: list[float]
    ) -> list[int]:
        """Start the kernel for all parameters of which the arrays are alike; return the numbers of the others."""
        params = arrays[0]
        dtype = params[0].dtype if params else None
        if dtype is None or dtype.char not in "fd":
            return list(range(len(params)))
        rest: list[int] = []
        rows: list[tuple[int, ...]] = []
        copies: list[Any] = []  # kept until the kernel has been started
        for i, param in enumerate(params):
            param, grad, *averages = (a[i] for a in arrays)
            if not grad.flags.c_contiguous:  # a convolution's lies as its product left it
                grad = self.xp.ascontiguousarray(grad)
                copies.append(grad)
            mine = param, grad, *averages
            if not all([a is None or (a.flags.c_contiguous and a.dtype == dtype) for a in mine]):
                rest.append(i)
            elif param.size:
                step = () if steps is None else (int(np.float64(steps[i]).view(np.int64)),)
                rows.append((*[0 if a is None else self.address(a) for a in mine], *step, param.size))
        if rows:
            table = self.from_numpy(np.ascontiguousarray(np.array(rows, np.int64).T))
            work, count = _work(self, tuple([row[-1] for row in rows]))
            self.launch("optim", kernel, dtype.char, (count,), (THREADS,), table, work, len(rows), *options)
        return rest


@lru_cache(maxsize=16)
def _work(backend: Any, sizes: tuple[int, ...]) -> tuple[Any, int]:
    """For every block the parameter that it has a part of, and where that begins; and how many blocks."""
    pairs = [(i, start) for i, size in enumerate(sizes) for start in range(0, size, WORK)]
    return backend.from_numpy(np.array(pairs, np.int64)), len(pairs)
