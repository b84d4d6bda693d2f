"""Checking gradients against finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.autograd.engine import grad
from minidl.tensor import Tensor


class GradcheckError(RuntimeError):
    """An analytical gradient differs from the numerical one."""


def _as_tuple(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def gradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    fast_mode: bool = False,
    seed: int = 0,
) -> bool:
    """Compare the gradients of ``func`` with central differences, for every input that requires one.

    Args:
        func: takes the inputs, returns a Tensor or several.
        inputs: Tensors in float64 (others are too coarse for differences), and anything else that ``func`` takes.
        eps: step of the differences.
        atol, rtol: |analytical − numerical| ≤ atol + rtol · |numerical| must hold.
        raise_exception: raise if it does not; else return False.
        fast_mode: compare the derivative in one random direction under one random cotangent, gᵀ J v, instead of every
            element of the Jacobian J. A wrong element is seen all the same, unless by an unlucky coincidence.
        seed: of the random directions and cotangents.

    Raises:
        GradcheckError: says which output and input differ, by how much, and where.
        ValueError: if no input requires a gradient, or one is not float64.

    Example:
        >>> x = minidl.randn(3, dtype=minidl.float64, requires_grad=True)
        >>> gradcheck(minidl.tanh, x)
        True
    """
    inputs = _as_tuple(inputs)
    wanted = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    if not wanted:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them have requires_grad=True."
        )
    for i in wanted:
        if inputs[i].dtype != np.float64:
            raise ValueError(f"gradcheck: input {i} is {inputs[i].dtype}; finite differences need float64")
    rng = np.random.default_rng(seed)
    try:
        check = _check_direction if fast_mode else _check_jacobian
        for k in range(len(_outputs(func, inputs))):
            check(func, inputs, wanted, k, eps, atol, rtol, rng)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    grad_outputs: Tensor | Sequence[Tensor] | None = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    fast_mode: bool = False,
    seed: int = 0,
) -> bool:
    """Check second derivatives: ``gradcheck`` of the gradient of ``func``, which must have been recorded.

    Args as for ``gradcheck``. The cotangents are random unless ``grad_outputs`` gives them; the gradient is differentiated
    with respect to them too.
    """
    inputs = _as_tuple(inputs)
    wanted = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    outputs = _outputs(func, inputs)
    if grad_outputs is None:
        rng = np.random.default_rng(seed + 1)
        cotangents = [_tensor(rng.normal(size=y.shape), y).requires_grad_() for y in outputs]
    else:
        cotangents = [g.detach().requires_grad_() for g in _as_tuple(grad_outputs)]

    def gradient(*args: Any) -> tuple[Tensor, ...]:
        xs, gs = args[: len(inputs)], args[len(inputs) :]
        pairs = [(y, g) for y, g in zip(_outputs(func, xs), gs, strict=True) if y.requires_grad]
        found = grad(
            [y for y, _ in pairs],
            [xs[i] for i in wanted],
            [g for _, g in pairs],
            create_graph=True,
            materialize_grads=True,
        )
        return tuple(f for f in found if f is not None and f.requires_grad)

    if not gradient(*inputs, *cotangents):
        return True  # the gradient does not depend on anything
    return gradcheck(
        gradient,
        (*inputs, *cotangents),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        fast_mode=fast_mode,
        seed=seed,
    )


def _tensor(array: Any, like: Tensor) -> Tensor:
    return Tensor.wrap(like.backend.from_numpy(np.asarray(array)))


def _host(x: Tensor) -> np.ndarray:
    return x.backend.to_numpy(x.array)


def _outputs(func: Callable[..., Any], inputs: Sequence[Any]) -> list[Tensor]:
    """What ``func`` returns that can have a gradient."""
    return [y for y in _as_tuple(func(*inputs)) if isinstance(y, Tensor) and y.is_floating_point()]


def _difference(
    func: Callable[..., Any], inputs: Sequence[Any], i: int, direction: np.ndarray, k: int, eps: float
) -> np.ndarray:
    """The derivative of output k as input i moves along ``direction``, by central differences."""

    def moved(step: np.ndarray) -> np.ndarray:
        x = inputs[i]
        array = x.array.copy(order="K") if isinstance(x.array, np.ndarray) else x.array.copy()  # the same memory layout
        array += x.backend.from_numpy(step)
        there = [*inputs[:i], Tensor.wrap(array).requires_grad_(), *inputs[i + 1 :]]
        return _host(_outputs(func, there)[k].detach())

    return (moved(eps * direction) - moved(-eps * direction)) / (2 * eps)


def _check_direction(
    func: Callable[..., Any],
    inputs: Sequence[Any],
    wanted: list[int],
    k: int,
    eps: float,
    atol: float,
    rtol: float,
    rng: Any,
) -> None:
    y = _outputs(func, inputs)[k]
    g = rng.normal(size=y.shape)
    if y.requires_grad:
        found = grad(y, [inputs[i] for i in wanted], _tensor(g, y), allow_unused=True)
    else:
        found = (None,) * len(wanted)
    for i, gradient in zip(wanted, found, strict=True):
        if gradient is not None and (gradient.shape != inputs[i].shape or gradient.dtype != inputs[i].dtype):
            raise GradcheckError(f"the gradient of input {i} has shape {gradient.shape}, the input {inputs[i].shape}")
        v = rng.normal(size=inputs[i].shape)
        numerical = float(np.sum(g * _difference(func, inputs, i, v, k, eps)))
        analytical = 0.0 if gradient is None else float(np.sum(_host(gradient) * v))
        if not abs(analytical - numerical) <= atol + rtol * abs(numerical):
            raise GradcheckError(
                f"Jacobian mismatch for output {k} with respect to input {i} in a random direction: "
                f"numerical {numerical:.10g}, analytical {analytical:.10g} "
                f"(input shape {inputs[i].shape}, output shape {y.shape})"
            )


def _check_jacobian(
    func: Callable[..., Any],
    inputs: Sequence[Any],
    wanted: list[int],
    k: int,
    eps: float,
    atol: float,
    rtol: float,
    rng: Any,
) -> None:
    y = _outputs(func, inputs)[k]
    size = y.numel()
    for i in wanted:
        x = inputs[i]
        analytical = np.zeros((x.numel(), size))
        for j in range(size if y.requires_grad else 0):
            cotangent = np.zeros(size)
            cotangent[j] = 1
            (row,) = grad(y, [x], _tensor(cotangent.reshape(y.shape), y), retain_graph=True, allow_unused=True)
            if row is not None:
                analytical[:, j] = _host(row).reshape(-1)
        numerical = np.zeros_like(analytical)
        for j in range(x.numel()):
            direction = np.zeros(x.numel())
            direction[j] = 1
            numerical[j] = _difference(func, inputs, i, direction.reshape(x.shape), k, eps).reshape(-1)
        wrong = ~(np.abs(analytical - numerical) <= atol + rtol * np.abs(numerical))
        if wrong.any():
            at = tuple(int(n) for n in np.argwhere(wrong)[0])
            raise GradcheckError(
                f"Jacobian mismatch for output {k} with respect to input {i}: at element {at[0]} of the input and {at[1]} of the "
                f"output numerical {numerical[at]:.10g}, analytical {analytical[at]:.10g}; "
                f"{int(wrong.sum())} of {wrong.size} differ"
            )
