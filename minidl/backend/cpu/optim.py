"""Optimizer steps on the CPU: every parameter in one pass, which threads share where it is large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.cpu.layout import flat_alike
from minidl.backend.cpu.threads import team
from minidl.backend.reference.optim import OptimKernels

PART = 1 << 12  # numbers that a thread should have to itself


class CpuOptim(OptimKernels):
    """SGD and Adam; the others are the reference's."""

    def sgd_steps(self, params: Sequence[Any], grads: Sequence[Any], bufs: Sequence[Any], **options: Any) -> None:
        fast = fast_kernels()
        if fast is None:
            return super().sgd_steps(params, grads, bufs, **options)
        lr, momentum, dampening = options["lr"], options.get("momentum", 0), options.get("dampening", 0)
        rest = options.get("weight_decay", 0), options.get("nesterov", False), options.get("maximize", False)
        numbers = (float(lr), float(momentum), float(dampening), float(rest[0]), bool(rest[1]), bool(rest[2]))
        for p, g, buf in zip(params, grads, bufs, strict=True):
            arrays = _flat(p, g, p if buf is None or momentum == 0 else buf)
            if arrays is None:
                self.sgd_step(p, g, buf, **options)
            else:
                fast.sgd_update(team(arrays[0].size, PART), *arrays, *numbers)
        return None

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
        lists = params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps
        for p, g, m, v, largest, step in zip(*lists, strict=True):
            arrays = _flat(p, g, m, v, v if largest is None else largest)
            if arrays is None:
                self.adam_step(p, g, m, v, largest, step, **options)
            else:
                fast.adam_update(team(p.size, PART), *arrays, largest is not None, float(step), *numbers)
        return None


def _flat(p: np.ndarray, *others: np.ndarray) -> list[np.ndarray] | None:
    """The arrays in the order of their memory, if they are alike and of a dtype that is compiled."""
    return flat_alike(p, *others) if p.dtype.char in "fd" else None
