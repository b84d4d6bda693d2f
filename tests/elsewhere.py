"""The device that the tests compare the CPU with: a GPU's stand-in, or, with ``MINIDL_TEST_DEVICE=cuda``, a real GPU.

The stand-in (``tests/strict``) runs on any machine, and also counts what would make the CPU wait. On a GPU those counts are
empty: what is left to see is that the numbers are the same.
"""

from __future__ import annotations

import os

import numpy as np

from minidl.backend import Backend, backend_for
from minidl.backends import cudnn
from minidl.tensor import Tensor
from tests.strict.backend import strict_backend

elsewhere: Backend = backend_for(os.environ.get("MINIDL_TEST_DEVICE", strict_backend.name))
if elsewhere is not strict_backend:
    cudnn.allow_tf32 = False  # it rounds more than the tests allow


def same(actual: Tensor, expected: Tensor, rtol: float, backend: Backend = elsewhere) -> None:
    """Assert that a Tensor of ``backend`` is one of the CPU, up to rounding: relative to the largest element, since sums may
    have cancelled."""
    assert type(actual.array) is backend.array_type and type(expected.array) is np.ndarray
    a, b = actual.detach().cpu().numpy(), expected.detach().numpy()
    assert a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * float(np.abs(b).max(initial=0)))


def agrees(found: object, expected: np.ndarray) -> bool:
    """Whether an array of the other device holds these numbers, in this dtype.

    The stand-in gives the same bits. A GPU adds in another order and rounds a product with its sum once, so that floats may
    differ by a few units of the last place.
    """
    numbers = elsewhere.to_numpy(found)
    if numbers.dtype != expected.dtype or numbers.shape != expected.shape:
        return False
    if elsewhere is strict_backend or expected.dtype.kind != "f":
        return bool((numbers == expected).all())
    rounding = 8 * np.finfo(expected.dtype).eps
    return bool(np.allclose(numbers, expected, rtol=rounding, atol=rounding))
