"""What a backend is: an array module (numpy, cupy) together with minidl's kernels for it."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from minidl.backend.reference import (
    BlockKernels,
    ConvKernels,
    CopyKernels,
    ElementwiseKernels,
    IndexKernels,
    LossKernels,
    MatmulKernels,
    NormKernels,
    OptimKernels,
    PoolKernels,
    ReductionKernels,
    SoftmaxKernels,
    SpecialKernels,
)


class Backend(
    BlockKernels,
    ConvKernels,
    CopyKernels,
    ElementwiseKernels,
    IndexKernels,
    LossKernels,
    MatmulKernels,
    NormKernels,
    OptimKernels,
    PoolKernels,
    ReductionKernels,
    SoftmaxKernels,
    SpecialKernels,
):
    """Where arrays live and what computes on them.

    A backend knows arrays and nothing of Tensors. Its methods are the kernels; the base class inherits the *reference*
    kernels, each written once in plain array code against ``self.xp``. A subclass overrides those that it can do faster.

    Whatever is not a kernel is the array module's own: ``backend.exp`` is ``numpy.exp`` on the CPU and ``cupy.exp`` on
    the GPU. That is why ops can call their first argument ``xp`` and write ``xp.exp(x)`` and ``xp.conv2d(x, w, …)`` alike.
    """

    name: str
    xp: Any
    array_type: Any  # the class of its arrays

    def __init__(self, name: str, xp: ModuleType | Any, array_type: type) -> None:
        self.name = name
        self.xp = xp
        self.array_type = array_type

    def __getattr__(self, attribute: str) -> Any:
        # Runs only when normal lookup fails; remembering the answer makes every later lookup an ordinary one.
        if attribute.startswith("__") or attribute == "xp":
            raise AttributeError(attribute)
        value = getattr(self.xp, attribute)
        self.__dict__[attribute] = value
        return value

    def from_numpy(self, array: np.ndarray) -> Any:
        """Return the array as this backend's array (a copy if it has to cross to another memory)."""
        return array

    def to_numpy(self, array: Any) -> np.ndarray:
        """Return the array as a NumPy array (a copy if it has to cross from another memory)."""
        return array

    def in_one_pass(self, name: str, arrays: Sequence[Any], numbers: tuple[float, ...]) -> Any:
        """What a compiled function of single elements makes of these arrays, or None where there is none of that name for them.

        Args:
            numbers: that the function also takes, see ``Op.compiled``.
        """
        return None

    def require(self, index: int) -> None:
        """Raise RuntimeError unless new arrays will live on the device of this number."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"
