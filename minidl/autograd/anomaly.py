"""Finding the operation whose gradient went wrong."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from minidl.place import current_place

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class _State(threading.local):
    on = False
    check_nan = True


state = _State()


def is_anomaly_enabled() -> bool:
    """True while every recorded operation notes where it was called."""
    return state.on


class set_detect_anomaly:  # noqa: N801  (PyTorch's name)
    """Note for every operation the line and module it was called from, and stop ``backward()`` at the first NaN.

    Slow; for finding an error. Works from here on, or within a ``with`` block.

    Args:
        mode: on or off.
        check_nan: whether ``backward()`` looks for NaN in every gradient it computes.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.before = (state.on, state.check_nan)
        state.on, state.check_nan = bool(mode), check_nan

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        state.on, state.check_nan = self.before


class detect_anomaly(set_detect_anomaly):  # noqa: N801
    """``with detect_anomaly(): …``, the block form of ``set_detect_anomaly(True)``."""

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__(True, check_nan)


def where_called() -> str:
    """The innermost line outside minidl that led here, and the module that was running."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    line = f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}" if frame else "<unknown line>"
    place = current_place()
    return f"{line}, module {place}" if place else line
