"""The GPU backend."""

from __future__ import annotations

from minidl.backend.cuda.backend import CupyBackend, make_cupy_backend

__all__ = ["CupyBackend", "make_cupy_backend"]
