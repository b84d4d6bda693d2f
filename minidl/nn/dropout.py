"""Dropout layers. All of them do nothing in evaluation mode.

``inplace`` is taken, shown and passed on, as in `minidl.nn.activation`; the functions return a new Tensor all the same.
"""

from __future__ import annotations

from minidl.nn import functional as F
from minidl.nn.module import Module
from minidl.tensor import Tensor


class _Dropout(Module):
    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """In training, sets each element to zero with probability ``p`` and multiplies the others by 1 / (1 − p).

    The factor keeps the expected value, so evaluation needs none (Srivastava et al. 2014, §4, with the scaling moved
    from evaluation to training).

    Shapes: any, to the same.
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training, self.inplace)


class Dropout1d(_Dropout):
    """Dropout of whole channels of (N, C, L) or (C, L)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_Dropout):
    """Dropout of whole channels of (N, C, H, W): neighbouring pixels are too alike for dropping single ones to matter
    (Tompson et al. 2015, §3.2, "SpatialDropout")."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout2d(input, self.p, self.training, self.inplace)
