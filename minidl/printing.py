"""How a Tensor is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from minidl import dtypes

if TYPE_CHECKING:
    from minidl.tensor import Tensor


def format_tensor(t: Tensor) -> str:
    """Return ``tensor([1., 2.], requires_grad=True)`` and the like, as PyTorch does."""
    array = t.backend.to_numpy(t.array)
    notes = []
    if t.device.type != "cpu":
        notes.append(f"device='{t.device}'")
    if t.dtype not in (dtypes.get_default_dtype(), dtypes.int64, dtypes.bool):
        notes.append(f"dtype={t.dtype}")
    if 0 in t.shape and t.ndim != 1:
        notes.append(f"size={t.shape}")
    node = t.grad_fn
    if node is not None:
        notes.append(f"grad_fn=<{node.name}>")
    elif t.requires_grad:
        notes.append("requires_grad=True")
    body = np.array2string(
        array, separator=", ", precision=4, threshold=1000, max_line_width=80, floatmode="maxprec_equal", prefix="tensor("
    )
    if t.ndim == 0 and array.dtype.kind == "f":
        body = np.array2string(array.reshape(1), precision=4, floatmode="maxprec_equal")[1:-1]
    if type(t).__name__ == "Parameter":
        return f"Parameter containing:\n{format_tensor(t.data.requires_grad_(t.requires_grad))}"
    return f"tensor({body}{''.join(', ' + note for note in notes)})"
