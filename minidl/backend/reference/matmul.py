"""Matrix products."""

from __future__ import annotations

from typing import Any


class MatmulKernels:
    """Reference kernel for products of matrices."""

    xp: Any
    _after: Any

    def matmul(self, a: Any, b: Any, bias: Any = None, then: str | None = None) -> Any:
        """a @ b over any leading dimensions, plus ``bias``, which broadcasts to the result, or None.

        ``then`` names a kernel that is applied to the result: "relu".
        """
        y = self.xp.matmul(a, b)
        if bias is not None:
            y += bias
        return self._after(then, y)
