"""Starting the kernels of the ``.cu`` files beside this one."""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path
from typing import Any

THREADS = 256  # in a block
ROWS = 8  # of a matrix that a thread should have, to be worth starting
MOST_PARTS = 512  # sums over parts of the rows, to be added up
WORK = 4096  # numbers of one parameter for a block of an optimizer's step
THEN = (None, "relu", "relu6", "sigmoid")  # what kernels can do to their results: `after` in common.cu
MOST = 1 << 31  # kernels that divide indices do it in 32 bits
NAMES = {"f": "float", "d": "double", "B": "unsigned char", "i": "int"}  # of dtypes in CUDA


Grid = tuple[tuple[int, int], tuple[int, int]]


class Launcher:
    """What the families of kernels share: compiling a file for a dtype, and starting what is in it."""

    xp: Any

    def launch(
        self, file: str, kernel: str, types: str, grid: tuple[int, ...], block: tuple[int, ...], *args: Any
    ) -> None:
        """Start a kernel of ``<file>.cu``, compiled with the dtypes (their characters) for Real and Index.

        Arguments are arrays, None (a null pointer), integers (Int in the kernel, 64 bits), floats (double) and booleans (Int).
        """
        key = file, kernel, types
        function = self._functions.get(key)
        if function is None:
            module = self.xp.RawModule(code=source(file), options=("--std=c++17", *definitions(types)))
            function = self._functions[key] = module.get_function(kernel)
        function(grid, block, tuple([0 if a is None else int(a) if type(a) is bool else a for a in args]))

    def address(self, array: Any) -> int:
        """Where an array's memory begins."""
        return int(array.data.ptr)

    @cached_property
    def _functions(self) -> dict[tuple[str, str, str], Any]:
        return {}


@cache
def source(file: str) -> str:
    """The text of one of the files, after what is common to all."""
    return "\n".join(Path(__file__).with_name(f"{name}.cu").read_text(encoding="utf-8") for name in ("common", file))


def definitions(types: str) -> list[str]:
    """Options for the compiler: what the types are, and the size of an optimizer's block."""
    return [f"-D{name}={NAMES[t]}" for name, t in zip(("Real", "Index"), types + "B", strict=False)] + [
        f"-DWORK={WORK}"
    ]


def blocks(count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Grid and block for one thread for each of ``count`` things."""
    return (-(-count // THREADS),), (THREADS,)


def geometry(
    size: Any, channels: int, out: Any, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> tuple[int, ...]:
    """What kernels over windows want to know, in their order; sizes and steps as (vertical, horizontal)."""
    return *size, channels, *out, *kernel, *stride, *dilation, padding[0][0], padding[1][0]


def matrix(rows: int, columns: int) -> Grid:
    """Grid and block for a matrix: columns side by side in x, rows in y."""
    wide = min(columns, 32)
    high = THREADS // wide
    return (-(-columns // wide), min(MOST_PARTS, -(-rows // (high * ROWS)))), (wide, high)
