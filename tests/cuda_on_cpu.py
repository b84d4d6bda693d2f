"""The kernels of ``minidl/backend/cuda`` without a GPU: their sources compiled as C++, run on NumPy arrays.

So every Linux or macOS machine with a compiler tests what they compute (not how fast, nor how a GPU's threads meet in memory).
"""

from __future__ import annotations

import ctypes
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from minidl.backend import Backend
from minidl.backend.cuda import CupyBackend
from minidl.backend.cuda.cudnn import CudnnConv
from minidl.backend.cuda.elementwise import CudaElementwise
from minidl.backend.cuda.launch import definitions, source
from minidl.backend.cuda.loss import CudaLoss
from minidl.backend.cuda.matmul import CudaMatmul
from minidl.backend.cuda.norm import CudaNorm
from minidl.backend.cuda.optim import CudaOptim
from minidl.backend.cuda.pool import CudaPool

HEADER = Path(__file__).with_name("cuda_on_cpu.h")


class CudaOnCpu(CudnnConv, CudaElementwise, CudaLoss, CudaMatmul, CudaNorm, CudaOptim, CudaPool, Backend):
    """CupyBackend's families of kernels, on NumPy arrays."""

    compiler = None if sys.platform == "win32" else shutil.which("g++") or shutil.which("clang++")
    _library = None  # no cuDNN: minidl's own kernels

    def __init__(self) -> None:
        super().__init__("cuda-on-cpu", np, np.ndarray)

    def address(self, array: Any) -> int:
        return int(array.ctypes.data)

    def launch(
        self, file: str, kernel: str, types: str, grid: tuple[int, ...], block: tuple[int, ...], *args: Any
    ) -> None:
        library = build(file, types)
        bits = [struct.pack("d", a) if type(a) is float else struct.pack("q", self._integer(a)) for a in args]
        sizes = [(ctypes.c_int * 2)(*(*shape, 1)[:2]) for shape in (grid, block)]
        assert getattr(library, f"start_{kernel}")(*sizes, len(args), b"".join(bits)) == 0, "the number of arguments"

    def _integer(self, value: Any) -> int:
        return 0 if value is None else self.address(value) if isinstance(value, np.ndarray) else int(value)


def kernels(text: str) -> dict[str, bool]:
    """The kernels of a file, and whether their threads wait for each other, themselves or in a function that they call."""
    parts = re.split(r"^(?=__device__|extern)", text, flags=re.MULTILINE)[1:]
    waiting = ["__syncthreads"]
    found = {}
    for part in parts:  # what a function calls stands above it
        name = re.findall(r"(\w+)\(", part)[0]
        together = any(re.search(rf"\b{other}\(", part) for other in waiting)
        if together:
            waiting.append(name)
        if part.startswith("extern"):
            found[name] = together
    return found


@cache
def build(file: str, types: str) -> ctypes.CDLL:
    """One of the files as a library, with a function ``start_<kernel>`` for each kernel."""
    text = source(file)
    starts = "".join(
        f'extern "C" int start_{name}(const int* grid, const int* block, int count, const long long* arguments)\n'
        f"{{ return start({name}, {{grid[0], grid[1], 1}}, {{block[0], block[1], 1}}, count, arguments, {together:d}); }}\n"
        for name, together in kernels(text).items()
    )
    with tempfile.TemporaryDirectory() as folder:
        path, library = Path(folder, "kernels.cpp"), Path(folder, "kernels.so")
        path.write_text(f'#include "{HEADER}"\n{text}\n{starts}', encoding="utf-8")
        options = ["-std=c++20", "-O1", "-shared", "-fPIC", *definitions(types)]
        subprocess.run([str(CudaOnCpu.compiler), *options, "-o", str(library), str(path)], check=True)
        return ctypes.CDLL(str(library))


cuda_on_cpu = CudaOnCpu()
assert {c.__name__ for c in CudaOnCpu.__mro__} >= {c.__name__ for c in CupyBackend.__mro__} - {"CupyBackend"}
