"""Utilities over a model's parameters: gradient clipping, and all parameters as one vector."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import GeneratorType
from typing import Any

import numpy as np

import minidl
from minidl.autograd.mode import no_grad
from minidl.nn.module import Module
from minidl.tensor import Tensor


def _listed(tensors: Tensor | Iterable[Tensor]) -> list[Tensor]:
    if isinstance(tensors, Tensor):
        return [tensors]
    listed = list(tensors)
    if not listed and isinstance(tensors, GeneratorType):
        warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=3)
    return listed


def get_total_norm(
    tensors: Tensor | Iterable[Tensor], norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """The ``norm_type``-norm of all tensors together, as if they were one vector.

    Args:
        tensors: a Tensor or several; none gives 0.
        norm_type: p > 0 of the p-norm; ``math.inf`` (or ``"inf"``) is the largest absolute value.
        error_if_nonfinite: raise RuntimeError if the norm is nan or infinite. On a GPU this waits for the result.

    Returns:
        A Tensor of shape (), on the first tensor's device.
    """
    listed = _listed(tensors)
    p = float(norm_type)
    if not listed:
        return minidl.tensor(0.0)
    with no_grad():
        # The p-norm of the parts' p-norms is the p-norm of the whole: nothing has to be joined.
        total = _norm(minidl.stack([_norm(t, p).to(listed[0].device) for t in listed]), p)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(
            f"The total norm of order {p} for gradients from `parameters` is non-finite, so it cannot be clipped. To "
            "disable this error and scale the gradients by the non-finite norm anyway, set `error_if_nonfinite=False`"
        )
    return total


def _norm(tensor: Tensor, p: float) -> Tensor:
    xp, array = tensor.backend, tensor.array
    if array.itemsize < 4:
        array = array.astype(np.float32)  # the sum of a few hundred squares is too large for float16
    result: Any
    with np.errstate(over="ignore", invalid="ignore"):
        if math.isinf(p):
            result = xp.abs(array).max() if array.size else array.sum()
        elif p == 2.0:
            result = xp.sqrt((array * array).sum())
        else:
            result = (xp.abs(array) ** p).sum() ** (1.0 / p)
    return Tensor.wrap(xp.asarray(result))


def clip_grads_with_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor) -> None:
    """Multiply the gradients, in place, by min(1, max_norm / (total_norm + 1e-6)), for a norm that is already known."""
    grads = [p.grad for p in _listed(parameters) if p.grad is not None]
    for grad in grads:
        # Multiplied even if the factor is 1: to look at it first would make a GPU wait.
        with np.errstate(invalid="ignore"):
            factor = grad.backend.minimum(float(max_norm) / (total_norm.to(grad.device).array + 1e-6), 1.0)
            grad.array *= factor.astype(grad.dtype)
        grad.bump_version("clip_grad_norm_")


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients together, in place, so that their norm is at most ``max_norm`` (Pascanu et al. 2013, Alg. 1).

    Args:
        parameters: the parameters (a Tensor, or several); those without a gradient do not count.
        max_norm: the bound.
        norm_type, error_if_nonfinite: see `get_total_norm`. A norm that is nan makes the gradients nan.

    Returns:
        The norm before clipping, a Tensor of shape ().

    >>> w = minidl.nn.Parameter(minidl.zeros(2))
    >>> w.grad = minidl.tensor([3.0, 4.0])
    >>> clip_grad_norm_([w], max_norm=1.0)
    tensor(5.)
    >>> w.grad
    tensor([0.6000, 0.8000])
    """
    listed = _listed(parameters)
    total_norm = get_total_norm([p.grad for p in listed if p.grad is not None], norm_type, error_if_nonfinite)
    clip_grads_with_norm_(listed, max_norm, total_norm)
    return total_norm


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Cut every element of the gradients, in place, to [−clip_value, clip_value]."""
    bound = float(clip_value)
    for param in _listed(parameters):
        if param.grad is not None:
            array = param.grad.array
            param.grad.backend.clip(array, -bound, bound, out=array)
            param.grad.bump_version("clip_grad_value_")


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters, flattened and joined in their order: shape (number of elements,). Differentiable."""
    return minidl.cat([param.reshape(-1) for param in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copy the pieces of a vector made by `parameters_to_vector` back into the parameters, in place."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected a Tensor, but got: {type(vec).__name__}")
    listed = list(parameters)
    wanted = sum(param.numel() for param in listed)
    if vec.shape != (wanted,):
        raise ValueError(f"the parameters take a vector of shape ({wanted},), got {vec.shape}")
    start = 0
    with no_grad():
        for param in listed:
            param.copy_(vec[start : start + param.numel()].reshape(param.shape))
            start += param.numel()


@contextmanager
def evaluating(module: Module) -> Iterator[None]:
    """While the context lasts, the module is in evaluation mode; then each part of it is in its own mode again.

    (``train()`` afterwards would also reach parts that were in evaluation mode before, such as frozen normalisations.)

    Example:
        >>> model = minidl.nn.Sequential(minidl.nn.Dropout(), minidl.nn.Dropout().eval())
        >>> with evaluating(model):
        ...     print(model.training)
        False
        >>> [part.training for part in model]
        [True, False]
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
