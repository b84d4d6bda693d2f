"""What minidl found on this machine, in a few lines: ``minidl.show_config()``."""

from __future__ import annotations

import platform
import sys

import numpy as np

from minidl.backend.cpu import amx
from minidl.backend.cpu.compiled import describe
from minidl.backend.cpu.conv.select import winograd_is_used
from minidl.backend.cpu.threads import cores, get_num_threads
from minidl.backends import cudnn


def show_config() -> None:
    """Print the versions, the number of threads, BLAS, and whether the compiled kernels serve (and if not, why).

    Example:
        >>> minidl.show_config()  # doctest: +SKIP
        minidl 0.1.0, Python 3.11.7, NumPy 2.4.6, Linux x86_64
        threads           2 of 2 cores (MINIDL_NUM_THREADS or minidl.set_num_threads)
        compiled kernels  on: Numba 0.68.1
        Winograd          on (MINIDL_WINOGRAD=0 or minidl.backend.use_winograd(False) turns it off)
        matrix unit       on (MINIDL_AMX=0 or minidl.backend.use_amx(False) turns it off)
        BLAS              openblas 0.3.31, Haswell kernels
        memory            freed blocks are kept (MINIDL_KEEP_MEMORY=0 turns it off)
        GPU               none: CuPy is not installed
        cuDNN             not installed: pip install 'minidl[cudnn13]' (or 'minidl[cudnn12]')
    """
    from minidl import __version__
    from minidl.backend.allocator import kept

    system = f"{platform.system()} {platform.machine()}"
    print(f"minidl {__version__}, Python {platform.python_version()}, NumPy {np.__version__}, {system}")
    threads = f"{get_num_threads()} of {cores()} cores (MINIDL_NUM_THREADS or minidl.set_num_threads)"
    winograd = "(MINIDL_WINOGRAD=0 or minidl.backend.use_winograd(False) turns it off)"
    memory = "freed blocks are kept (MINIDL_KEEP_MEMORY=0 turns it off)" if kept() else "left to the allocator"
    for name, value in (
        ("threads", threads),
        ("compiled kernels", describe()),
        ("Winograd", f"on {winograd}" if winograd_is_used() else "off"),
        ("matrix unit", amx.describe()),
        ("BLAS", _blas()),
        ("memory", memory),
        ("GPU", _gpu()),
        ("cuDNN", cudnn.library()[1]),
    ):
        print(f"{name:17} {value}")
    sys.stdout.flush()


def _blas() -> str:
    from threadpoolctl import threadpool_info

    found = [
        f"{info['internal_api']} {info.get('version') or ''}, {info.get('architecture') or 'unknown'} kernels"
        for info in threadpool_info()
        if info["user_api"] == "blas"
    ]
    return "; ".join(dict.fromkeys(found)) or "unknown to threadpoolctl"


def _gpu() -> str:
    from minidl.backend.cuda import make_cupy_backend

    try:
        backend = make_cupy_backend()
    except RuntimeError as error:
        return str(error).partition(". ")[0].replace("device 'cuda' was asked for, but ", "none: ")
    count = backend.xp.cuda.runtime.getDeviceCount()
    return f"CuPy {backend.xp.__version__}, {count} device{'s' if count > 1 else ''}"
