"""Optimizer steps on the CPU: all parameters of a group at once, cut into pieces that threads share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.cpu.layout import LEAST, flat_alike
from minidl.backend.cpu.threads import get_num_threads, share
from minidl.backend.reference.optim import OptimKernels


class CpuOptim(OptimKernels):
    """SGD and Adam; the others are the reference's."""

    def sgd_steps(self, params: Sequence[Any], grads: Sequence[Any], bufs: Sequence[Any], **options: Any) -> None:
        fast = fast_kernels()
        if fast is None:
            return super().sgd_steps(params, grads, bufs, **options)
        lr, momentum, dampening = options["lr"], options.get("momentum", 0), options.get("dampening", 0)
        rest = options.get("weight_decay", 0), options.get("nesterov", False), options.get("maximize", False)
        numbers = (float(lr), float(momentum), float(dampening), float(rest[0]), bool(rest[1]), bool(rest[2]))
        jobs = []
        for i, (p, g, buf) in enumerate(zip(params, grads, bufs, strict=True)):
            arrays = _flat(p, g, p if buf is None or momentum == 0 else buf)
            if arrays is None:
                self.sgd_step(p, g, buf, **options)
            else:
                jobs.append((i, arrays))
        return _in_pieces(jobs, lambda _, p, g, buf: fast.sgd_update(p, g, buf, *numbers))

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
        fast = fast_kernels()
        if fast is None:
            return super().adam_steps(params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps, **options)
        numbers = [float(options[name]) for name in ("lr", "beta1", "beta2", "eps")]
        numbers += [float(options.get("weight_decay", 0))]
        numbers += [bool(options.get(name, False)) for name in ("decoupled_weight_decay", "maximize")]
        jobs = []
        lists = params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs
        for i, (p, g, m, v, largest) in enumerate(zip(*lists, strict=True)):
            arrays = _flat(p, g, m, v, v if largest is None else largest)
            if arrays is None:
                self.adam_step(p, g, m, v, largest, steps[i], **options)
            else:
                jobs.append((i, arrays))

        def update(i: int, p: Any, g: Any, m: Any, v: Any, largest: Any) -> None:
            fast.adam_update(p, g, m, v, largest, max_exp_avg_sqs[i] is not None, float(steps[i]), *numbers)

        return _in_pieces(jobs, update)


def _flat(p: np.ndarray, *others: np.ndarray) -> list[np.ndarray] | None:
    """The arrays in the order of their memory, if they are alike and of a dtype that is compiled."""
    return flat_alike(p, *others) if p.dtype.char in "fd" else None


def _in_pieces(jobs: list[tuple[int, list[np.ndarray]]], update: Callable[..., None]) -> None:
    """Call ``update(i, *arrays)`` for every job, cut into pieces of even size where there is enough for several threads."""
    if get_num_threads() == 1 or sum(arrays[0].size for _, arrays in jobs) < 2 * LEAST:
        for i, arrays in jobs:
            update(i, *arrays)
        return
    parts: list[list[tuple[int, list[np.ndarray]]]] = [[]]
    room = LEAST
    for i, arrays in jobs:
        start, size = 0, arrays[0].size
        while start < size:
            stop = min(size, start + room)
            parts[-1].append((i, [a[start:stop] for a in arrays]))
            room -= stop - start
            start = stop
            if not room:
                parts.append([])
                room = LEAST

    def part(pieces: list[tuple[int, list[np.ndarray]]]) -> None:
        for i, arrays in pieces:
            update(i, *arrays)

    share(part, parts)
