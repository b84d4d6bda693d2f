"""A second process that compiles from the other end, while the first one runs into the kernels one after the other.

Numba compiles one function at a time in a process, and the first training step of a convolutional net needs half a minute of
that. So where little is compiled yet and there is a second core, ``start`` lets another process compile what a step needs last:
the optimizer, then the gradients from the first layer's to the last one's. What it has finished the first process finds on disk.

``MINIDL_COMPILE_AHEAD=0`` turns this off. The second process says nothing, does no harm if it fails, and ends with the first one.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minidl.backend.cpu.threads import cores

SWITCH = "MINIDL_COMPILE_AHEAD"

_started = False


def start() -> subprocess.Popen[bytes] | None:
    """Start the process, once, and if it would help: it needs a core of its own."""
    global _started
    if _started:
        return None
    _started = True
    if os.environ.get(SWITCH, "1") == "0" or cores() < 2 or not sys.executable or hasattr(sys, "frozen"):
        return None
    environment = {**os.environ, SWITCH: "0", "MINIDL_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    quiet: Any = subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__], env=environment, stdin=quiet, stdout=quiet, stderr=quiet
        )
    except OSError:  # no process can be had here: the first one compiles everything
        return None
    atexit.register(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        process.terminate()
    process.wait()


def work() -> Iterator[Callable[[], Any]]:
    """Calls that make Numba compile what a step of a convolutional net needs, last things first."""
    from minidl.backend import backend_for

    xp = backend_for("cpu")

    def array(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.float32)

    def images(channels: int, size: int) -> np.ndarray:  # with the channels last in memory, as the layers leave them
        return array(128, size, size, channels).transpose(0, 3, 1, 2)

    once, twice, border = (1, 1), (2, 2), ((1, 1), (1, 1))
    line = array(64)
    yield lambda: xp.sgd_steps([line], [array(64)], [array(64)], lr=0.1, momentum=0.9)
    x, wide, weight = images(16, 32), images(64, 8), array(32, 16, 3, 3)
    yield lambda: xp.conv2d_weight_grad(x, x, (3, 3), once, border, once, 1)  # by rows
    yield lambda: xp.conv2d_input_grad(images(32, 16), weight, (32, 32), twice, border, once, 1)  # by windows
    yield lambda: xp.relu_grad(x, x)
    yield lambda: xp.conv2d_weight_grad(wide, wide, (3, 3), once, border, once, 1)  # by Winograd's algorithm
    channel = array(1, 16, 1, 1)
    yield lambda: xp.normalize_grad(x, x, channel, channel, channel, (0, 2, 3), (1, 16, 1, 1), (16,), (16,))
    labels = np.zeros(16, np.int64)
    yield lambda: xp.cross_entropy_grad(array(16, 10), labels, -100, 1.0)
    yield lambda: xp.cross_entropy(array(16, 10), labels, -100)
    yield lambda: xp.matmul(array(128, 64), array(10, 64).T, line[:10])
    yield lambda: xp.conv2d(wide, array(64, 64, 3, 3), once, border, once, 1)


if __name__ == "__main__":
    gc.disable()  # see ``fast/jit.py``
    for call in work():
        call()
