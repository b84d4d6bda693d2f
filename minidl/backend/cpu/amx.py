"""Matrix products on the matrix unit of Intel's processors, float32 numbers in three pieces (``fast/amx.py`` tells how)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.cpu.threads import get_num_threads, members, team
from minidl.backend.cpu.workspace import workspace

# The unit's multiplications take half the time of the vector units', or less; beside another process on the same core about the
# same, and then little is lost.
SPLITTING = 20  # multiplications of the vector units that take as long as splitting one number
ITS_OWN = 1 << 20  # bytes of the smaller factor, up to which each thread splits it for itself
LEAST = 1 << 20  # multiplications: for fewer it is not worth while to find out
PART = 1 << 18  # multiplications, for one thread at least
BYTES, MOST_BYTES = 6, 1 << 26  # of a number's pieces, and of all at a time
UNIT = 32  # rows or columns of the larger factor at a time

_used = os.environ.get("MINIDL_AMX", "1") != "0"


def use_amx(on: bool) -> None:
    """Turn products on the matrix unit (AMX) on, the default where there is one, or off (``MINIDL_AMX=0``: off from the start).

    They serve large float32 products where compiled kernels do. Their error is no larger than that of products in float32; a
    result below 1e-30 may have fewer digits, and one below 1e-38 becomes zero.

    Example:
        >>> minidl.backend.use_amx(False)
        >>> minidl.backend.use_amx(True)
    """
    global _used
    _used = bool(on)


def describe() -> str:
    """One line: whether the unit is used, and if not, why."""
    fast = fast_kernels()
    if fast is None:
        return "off: no compiled kernels"
    if not _used:
        return "off"
    if not fast.permitted():
        return "off: this processor has none, or Numba's settings or the system keep it"
    return "on (MINIDL_AMX=0 or minidl.backend.use_amx(False) turns it off)"


def serves(fast: Any, a: np.ndarray, b: np.ndarray) -> bool:
    """Whether a @ b, in float32, takes clearly less time on the unit, though their numbers must be split."""
    (rows, depth), columns = a.shape, b.shape[1]
    if rows * depth * columns < LEAST or not (_used and fast.permitted()):
        return False
    whole = -(-rows // 16) * -(-columns // 16) * -(-depth // 32) * (16 * 16 * 32)  # multiplications, in whole tiles
    if whole // 2 + SPLITTING * depth * (rows + columns) > 0.8 * rows * depth * columns:
        return False
    if (min(rows, columns) + UNIT * get_num_threads()) * depth * BYTES > MOST_BYTES:
        return False
    return (a.flags.c_contiguous or a.flags.f_contiguous) and (b.flags.c_contiguous or b.flags.f_contiguous)


def product(fast: Any, a: np.ndarray, b: np.ndarray, bias: np.ndarray, rectified: bool) -> np.ndarray | None:
    """a @ b + bias (N, or empty), or what of it is above 0; None where numbers are too large or too small for pieces."""
    (rows, depth), columns = a.shape, b.shape[1]
    a_turned, b_turned = not a.flags.c_contiguous, not b.flags.c_contiguous
    by_rows = rows > columns
    many, few = (rows, columns) if by_rows else (columns, rows)
    crew = team(-(-many // UNIT), PART / (few * depth * UNIT), pieces=8)  # many: the unit may be shared with others
    threads = members(crew)
    tiles, deep = -(-few // 16), -(-depth // 32) * fast.TILES
    own = few * depth * 4 <= ITS_OWN and threads > 1
    splitters = team(1) if own else team(tiles, PART / (SPLITTING * depth * 16))
    wholes = workspace("strips", (threads if own else 1, tiles * deep), np.uint8)
    pieces = workspace("pieces", (threads, UNIT // 16 * deep), np.uint8)
    scratches = workspace("scratch", (max(threads, members(splitters)), fast.SCRATCH), np.float32)
    out = np.empty((rows, columns), np.float32)
    done = fast.matmul_split(
        crew, splitters, UNIT, by_rows, a.T if a_turned else a, a_turned, b.T if b_turned else b, b_turned,
        bias, rectified, wholes, pieces, scratches, out,
    )  # fmt: skip
    return out if done else None
