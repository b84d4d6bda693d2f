"""The loss of classification, with its gradient."""

from __future__ import annotations

from typing import Any


class LossKernels:
    """Reference kernels for softmax followed by cross entropy."""

    xp: Any

    def cross_entropy(self, x: Any, labels: Any, ignore_index: int) -> tuple[Any, Any, Any]:
        """Return Σ −log softmax(x)[label] over the rows of x (N, C), how many rows that are, and the softmax.

        Rows whose label is ``ignore_index`` do not count.

        Raises:
            IndexError: if another label is not in 0 … C − 1; its message is that label.
        """
        xp = self.xp
        counts = labels != ignore_index
        kept = xp.where(counts, labels, 0)
        if kept.size and not (int(kept.min()) >= 0 and int(kept.max()) < x.shape[1]):
            raise IndexError(int(kept.min()) if int(kept.min()) < 0 else int(kept.max()))
        shifted = x - x.max(axis=1, keepdims=True)
        p = xp.exp(shifted)
        total = p.sum(axis=1, keepdims=True)
        p /= total
        losses = xp.log(total[:, 0]) - shifted[xp.arange(len(x)), kept]
        return xp.where(counts, losses, losses.dtype.type(0)).sum(), counts.sum(), p

    def cross_entropy_grad(self, p: Any, labels: Any, ignore_index: int, scale: Any) -> Any:
        """(p − onehot(label)) · scale, a number; 0 in rows whose label is ``ignore_index``."""
        xp = self.xp
        counts = labels != ignore_index
        onehot = xp.where(counts, labels, 0)[:, None] == xp.arange(p.shape[1])
        return (p - onehot.astype(p.dtype)) * (counts.astype(p.dtype) * scale).astype(p.dtype)[:, None]
