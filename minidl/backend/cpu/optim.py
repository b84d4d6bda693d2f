"""Optimizer steps on the CPU: compiled ones take every parameter in one pass, NumPy's go through it in blocks that stay in the
cache. Threads share where it is large."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.cpu.layout import LEAST, flat_alike
from minidl.backend.cpu.threads import Span, cut, share, spans, team
from minidl.backend.reference.optim import OptimKernels

PART = 1 << 12  # numbers that a thread should have to itself, if it is awake
BLOCK = 1 << 17  # numbers at a time, without Numba: with fewer, threads wait longer for Python's lock than they compute


class CpuOptim(OptimKernels):
    """The reference's steps in blocks; of SGD and Adam there are compiled ones too."""

    def sgd_step(self, param: Any, grad: Any, buf: Any, **options: Any) -> None:
        _in_blocks(super().sgd_step, [((param, grad, buf), ())], options)

    def adam_step(
        self, param: Any, grad: Any, exp_avg: Any, exp_avg_sq: Any, max_exp_avg_sq: Any, step: float, **options: Any
    ) -> None:
        _in_blocks(super().adam_step, [((param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq), (step,))], options)

    def rmsprop_step(self, param: Any, grad: Any, square_avg: Any, grad_avg: Any, buf: Any, **options: Any) -> None:
        _in_blocks(super().rmsprop_step, [((param, grad, square_avg, grad_avg, buf), ())], options)

    def adagrad_step(self, param: Any, grad: Any, total: Any, **options: Any) -> None:
        _in_blocks(super().adagrad_step, [((param, grad, total), ())], options)

    def sgd_steps(self, params: Sequence[Any], grads: Sequence[Any], bufs: Sequence[Any], **options: Any) -> None:
        fast = fast_kernels()
        if fast is None:
            return _in_blocks(
                super().sgd_step, [(arrays, ()) for arrays in zip(params, grads, bufs, strict=True)], options
            )
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
            rows = zip(params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, strict=True)
            calls = [(arrays, (step,)) for arrays, step in zip(rows, steps, strict=True)]
            return _in_blocks(super().adam_step, calls, options)
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


def _in_blocks(
    step: Callable[..., None], calls: Sequence[tuple[tuple[Any, ...], tuple[Any, ...]]], options: dict[str, Any]
) -> None:
    """``step(*arrays, *rest, **options)`` for all ``calls`` (arrays, rest): threads share the numbers of all large ones together.

    A step treats every element for itself. Some of its arrays may be None.
    """
    total, lined_up = 0, []
    for arrays, rest in calls:
        lines = flat_alike(*[a for a in arrays if a is not None]) if arrays[0].size > BLOCK else None
        if lines is None:
            step(*arrays, *rest, **options)
        else:
            lined_up.append((total, lines, arrays, rest))
            total += lines[0].size
    if not lined_up:
        return

    def part(span: Span) -> None:
        for first, lines, arrays, rest in lined_up:
            here = max(0, span[0] - first), min(span[1] - first, lines[0].size)
            for a, b in cut(here, BLOCK):
                blocks = iter([line[a:b] for line in lines])
                step(*[None if x is None else next(blocks) for x in arrays], *rest, **options)

    share(part, spans(total, LEAST, pieces=1))


def _flat(p: np.ndarray, *others: np.ndarray) -> list[np.ndarray] | None:
    """The arrays in the order of their memory, if they are alike and of a dtype that is compiled."""
    return flat_alike(p, *others) if p.dtype.char in "fd" else None
