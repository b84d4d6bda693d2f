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
