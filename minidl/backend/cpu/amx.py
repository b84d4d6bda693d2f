"""Matrix products on the matrix unit of Intel's processors, float32 numbers in three pieces (``fast/amx.py`` tells how)."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any, NamedTuple

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

_NONE = np.empty(0, np.uint8)
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


class Plan(NamedTuple):
    """How a product is shared out."""

    by_rows: bool  # whether the larger factor is the left one
    units: int  # that it is cut into
    least: float  # of them for one thread
    tiles: int  # 16 lines each, that the smaller factor is cut into; 0: each thread splits it as a whole
    least_tiles: float  # for one thread
    shared: int  # bytes for them
    place: int  # bytes for each thread


def plan(fast: Any, a: np.ndarray, b: np.ndarray) -> Plan | None:
    """How to compute a @ b, in float32, on the unit; None if that does not take clearly less time, as numbers must be split.

    b is C- or F-contiguous.
    """
    if not (_used and (a.flags.c_contiguous or a.flags.f_contiguous)):
        return None
    (rows, depth), columns = a.shape, b.shape[1]
    if rows * depth * columns < LEAST or not fast.permitted():
        return None
    return _plan(fast, rows, depth, columns, get_num_threads())


@lru_cache(1024)
def _plan(fast: Any, rows: int, depth: int, columns: int, threads: int) -> Plan | None:
    whole = -(-rows // 16) * -(-columns // 16) * -(-depth // 32) * (16 * 16 * 32)  # multiplications, in whole tiles
    if whole // 2 + SPLITTING * depth * (rows + columns) > 0.8 * rows * depth * columns:
        return None
    if (min(rows, columns) + fast.UNIT * threads) * depth * BYTES > MOST_BYTES:
        return None
    return shared_out(fast, rows, depth, columns)


def shared_out(fast: Any, rows: int, depth: int, columns: int) -> Plan:
    """The plan for a product of any shape."""
    many, few = max(rows, columns), min(rows, columns)
    units, least = -(-many // fast.UNIT), PART / (few * depth * fast.UNIT)
    *_, whole, end = fast.layout(few, depth)  # bytes
    if few * depth * 4 <= ITS_OWN:
        return Plan(rows > columns, units, least, 0, 0, 0, end)
    return Plan(rows > columns, units, least, -(-few // 16), PART / (SPLITTING * depth * 16), end - whole, whole)


def product(
    fast: Any, plan: Plan, a: np.ndarray, b: np.ndarray, bias: np.ndarray, rectified: bool
) -> np.ndarray | None:
    """a @ b + bias (N, or empty), or what of it is above 0; None where numbers are too large or too small for pieces."""
    by_rows, units, least, tiles, least_tiles, shared, place = plan
    a_turned, b_turned = not a.flags.c_contiguous, not b.flags.c_contiguous
    crew = team(units, least, pieces=8)  # many: the unit may be shared with others
    splitters, strips = (team(tiles, least_tiles), workspace("strips", (shared,), np.uint8)) if tiles else (crew, _NONE)
    places = workspace("places", (max(members(crew), members(splitters)), place), np.uint8)
    out = np.empty((len(a), b.shape[1]), np.float32)
    done = fast.matmul_split(
        crew, splitters, by_rows, a.T if a_turned else a, a_turned, b.T if b_turned else b, b_turned, bias, rectified,
        strips, places, out,
    )  # fmt: skip
    return out if done else None
