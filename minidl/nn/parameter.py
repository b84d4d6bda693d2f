"""Parameter: a Tensor that a Module counts among its own."""

from __future__ import annotations

from typing import Any

from minidl.tensor import Tensor


class Parameter(Tensor):
    """A leaf Tensor to be trained. Assigned to a Module's attribute, it appears in that module's ``parameters()``.

    Args:
        data: a Tensor, whose memory is shared, or anything ``minidl.tensor`` takes, which is copied.
        requires_grad: False for a parameter that is not trained at present.

    Results of operations on Parameters are plain Tensors.

    >>> Parameter([1.0, 2.0])
    Parameter containing:
    tensor([1., 2.], requires_grad=True)
    """

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)
        if isinstance(data, Tensor):
            self._version = data.version  # one memory, one count of its changes

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        """A copy without the gradient, as in PyTorch."""
        copied = super().__deepcopy__(memo)
        copied.grad = None
        return copied  # type: ignore[return-value]


_plain: dict[tuple[type, tuple[str, ...]], bool] = {}  # whether a class leaves these names to parameters and buffers


def tensors_of(module: Any, *names: str) -> list[Any]:
    """``[getattr(module, name) for name in names]`` for parameters and buffers, in a third of the time.

    Python calls ``Module.__getattr__`` only after it has looked everywhere else. Where a class computes one of them (as a
    property, say), that is taken.
    """
    kind = type(module)
    plain = _plain.get((kind, names))
    if plain is None:
        plain = _plain[kind, names] = not any(hasattr(kind, name) for name in names)
    if not plain:
        return [getattr(module, name) for name in names]
    own, buffers = module._parameters, module._buffers
    return [own[name] if name in own else buffers[name] if name in buffers else getattr(module, name) for name in names]
