"""Numba, if it is there: when its kernels are imported, and what is said about it.

The extra ``fast`` installs Numba. It is imported when the first kernel would use it, not with minidl. If it is missing,
too old or broken, or ``MINIDL_FAST=0`` is set, the NumPy kernels serve, and ``minidl.show_config()`` says why.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

OLDEST = (0, 61)  # the first Numba for NumPy 2.1 and Python 3.13

_fast: ModuleType | None = None
_asked = False
_reason = "not asked for yet"


def fast_kernels() -> ModuleType | None:
    """The package of Numba kernels, or None where Numba cannot serve."""
    return _fast if _asked else _load()


def fast_if_loaded() -> ModuleType | None:
    """As ``fast_kernels``, but Numba is not imported if nobody has asked for it yet."""
    return _fast


def _load() -> ModuleType | None:
    global _fast, _asked, _reason
    _fast, _reason = _try()
    _asked = True
    return _fast


def _try() -> tuple[ModuleType | None, str]:
    if os.environ.get("MINIDL_FAST", "1") == "0":
        return None, "off: MINIDL_FAST=0"
    try:
        import numba
    except ImportError as error:
        if error.name == "numba":
            return None, "off: Numba is not installed (pip install 'minidl[fast]')"
        return None, f"off: Numba cannot be imported ({error})"
    except Exception as error:  # a broken installation may fail in any way, and NumPy can serve all the same
        return None, f"off: Numba cannot be imported ({type(error).__name__}: {error})"
    version = tuple(int(part) for part in numba.__version__.split(".")[:2] if part.isdigit())
    if version < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        return None, f"off: Numba {numba.__version__} is too old, {wanted} is needed (pip install -U 'minidl[fast]')"
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return None, "off: NUMBA_DISABLE_JIT is set"
    try:
        from minidl.backend.cpu import ahead, fast

        fast.check()
        if not fast.is_kept(fast.sgd_update):
            ahead.start()
    except Exception as error:
        return None, f"off: Numba {numba.__version__} cannot compile here ({type(error).__name__}: {error})"
    return fast, f"on: Numba {numba.__version__}"


@contextmanager
def without() -> Iterator[None]:
    """Let the NumPy kernels serve within a ``with`` block: for comparisons."""
    global _fast
    fast_kernels()
    before, _fast = _fast, None
    try:
        yield
    finally:
        _fast = before


def describe() -> str:
    """One line: whether the compiled kernels serve, and if not, why."""
    fast_kernels()
    return _reason
