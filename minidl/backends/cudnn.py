"""Whether and how NVIDIA's cuDNN computes convolutions on a GPU (``torch.backends.cudnn``'s names).

It serves float32, if the extra is installed (``pip install 'minidl[cuda13,cudnn13]'``); without it minidl's own kernels do.

Example:
    >>> from minidl.backends import cudnn
    >>> cudnn.allow_tf32 = False  # as exact as on the CPU, and slower
    >>> cudnn.allow_tf32 = True
"""

from __future__ import annotations

from functools import cache
from typing import Any

INSTALL = "pip install 'minidl[cudnn13]' (or 'minidl[cudnn12]')"

enabled = True
"""Whether cuDNN is used where it is there."""

allow_tf32 = True
"""Whether tensor cores may round the factors of float32 products to 11 binary digits (TF32). Results then differ from exact ones
by some 3e-4 of their norm. As in PyTorch this is on for convolutions, and matrix products do not do it."""

deterministic = True
"""Whether only algorithms are picked that give the same bits each time. (PyTorch's default is False.)"""


def is_available() -> bool:
    """True if cuDNN and its Python frontend are installed. (Whether there is a GPU, `minidl.cuda.is_available` says.)"""
    return library()[0] is not None


def version() -> int | None:
    """cuDNN's version as one number (91900 is 9.19.0), or None where it is not installed."""
    cudnn, _ = library()
    return None if cudnn is None else int(cudnn.backend_version())


@cache
def library() -> tuple[Any, str]:
    """cuDNN's Python frontend, or None; and why."""
    try:
        import cudnn
    except Exception as error:  # it loads cuDNN's library, too
        if isinstance(error, ImportError) and error.name == "cudnn":
            return None, f"not installed: {INSTALL}"
        return None, f"cannot be imported ({type(error).__name__}: {error})"
    try:
        return cudnn, f"cuDNN {cudnn.backend_version_string()}, frontend {cudnn.__version__}"
    except Exception as error:  # whatever the frontend raises where it finds no library
        return None, f"its library is not found ({error}): {INSTALL}"
