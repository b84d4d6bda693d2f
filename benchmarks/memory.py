"""How much memory this process holds, in bytes; None where the operating system does not say."""

from __future__ import annotations

import sys


def peak_bytes() -> int | None:
    """The most resident memory that this process has held.

    Linux: ``VmHWM``, because ``ru_maxrss`` also counts what the parent held when it started this process.
    """
    from_proc = _status("VmHWM")
    if from_proc is not None:
        return from_proc
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def held_bytes() -> int | None:
    """The resident memory that this process holds now; the peak so far where only that is known (macOS)."""
    now = _status("VmRSS")
    return peak_bytes() if now is None else now


def cuda_bytes(package: str) -> int:
    """The GPU memory that ``torch``, or CuPy under ``minidl``, has taken from the driver for its arrays (not its libraries')."""
    if package == "torch":
        import torch

        return int(torch.cuda.max_memory_reserved())
    import cupy

    return int(cupy.get_default_memory_pool().total_bytes())


def _status(field: str) -> int | None:
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(f"{field}:"):
                    return int(line.split()[1]) * 1024  # given in kB
    except OSError:
        pass
    return None
