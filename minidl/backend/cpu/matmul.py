"""Matrix products on the CPU: by compiled register tiles where they are faster, else by BLAS; rows shared among threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend.cpu import amx
from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.cpu.explain import is_explaining, note
from minidl.backend.cpu.threads import Span, Team, get_num_threads, members, share, single_blas, spans, team
from minidl.backend.cpu.workspace import workspace
from minidl.backend.reference.matmul import MatmulKernels

TINY = 1 << 14  # multiplications: for fewer NumPy's call is all that counts
ALONE = 1 << 17  # for fewer OpenBLAS takes one thread by itself
MEDIUM = 6 << 20  # for fewer a second thread is not worth waking, by BLAS
PART = 1 << 18  # of a product by tiles, for one thread at least
PACKED = 1 << 13  # numbers of the right factor, for one thread at least
LEAST_COLUMNS = 8  # of the right factor: its strips of 16 are then half full
# The right factor of a product that threads share: so many rows caches hold as they lie, unless so many columns, or a multiple,
# lead from each to the next.
SHORT, SPREAD = 64, 256
PACKING = 16  # multiplications that take as long as packing or turning one number
ITS_OWN = 3 * PACKING  # columns for each thread, for which it packs the left factor for itself
ITS_CACHE = 1 << 20  # bytes of the left factor, at most, for that
COLUMNS = 48  # of a product that is computed transposed, at a time: as many as tiles of 6 rows and blocks of 16 go into
RECTIFIES = {None: False, "relu": True}  # what the compiled kernels can do to a product in the same pass
_NOTHING, _NOWHERE = np.zeros(0, np.float32), (np.zeros((0, 0, 0, 0), np.float32), np.zeros((0, 0, 0), np.float32))
LEAST_ROWS = 16  # of the left factor for tiles: fewer do not pay for packing the right one
LEAST_LINES = 16  # of a product by BLAS, for one thread at least
AHEAD = 3 << 20  # multiplications by BLAS, in about the time that another thread takes to wake up
LONG = 2  # times as many numbers in a sum as there are rows, or turning the result would take longer than it saves
ROWS = 192  # that are enough for one thread: then the columns are not cut, which takes BLAS 5 to 20 % longer


class CpuMatmul(MatmulKernels):
    """Products of two float matrices; whatever has more or fewer dimensions goes to NumPy."""

    def matmul(self, a: Any, b: Any, bias: Any = None, then: str | None = None) -> Any:
        work = len(a) * b.size if a.ndim == 2 == b.ndim else 0
        if not work or a.dtype.char not in "fd" or a.dtype != b.dtype:
            return super().matmul(a, b, bias, then)
        if bias is not None and (bias.shape != b.shape[1:] or bias.dtype != a.dtype):  # the kernels do not broadcast
            return super().matmul(a, b, bias, then)
        fast = fast_kernels() if work >= TINY else None
        if fast is not None and a.dtype.char == "f" and _packable(a, b):
            return _compiled(fast, a, b, _NOTHING if bias is None else bias, RECTIFIES[then])
        if work < TINY:
            y = a.dot(b)  # ``np.matmul`` takes half as long again to get to BLAS
            if bias is not None:
                y += bias
        elif work < ALONE:
            return super().matmul(a, b, bias, then)
        else:
            _note(a, b, "BLAS", "no compiled kernels" if fast is None else "dtype, layout or shape")
            return _by_blas(a, b, bias, None if then is None else getattr(self, then))
        return self._after(then, y)


def _compiled(fast: Any, a: np.ndarray, b: np.ndarray, bias: np.ndarray, rectified: bool) -> np.ndarray:
    """a @ b + bias (N, or empty), or what of it is above 0."""
    because = "float32"
    plan = amx.plan(fast, a, b)
    if plan is not None:
        y = amx.product(fast, plan, a, b, bias, rectified)
        if y is not None:
            _note(a, b, "matrix unit", "float32, large")
            return y
        because = "numbers too large or too small for the matrix unit"
    _note(a, b, "register tiles", because)
    return _by_tiles(fast, a, b, bias, rectified)


def _note(a: np.ndarray, b: np.ndarray, picked: str, because: str) -> None:
    if is_explaining():
        note("matmul", "{}×{} by {}×{}".format(*a.shape, *b.shape), picked, because)


def _packable(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether there are rows enough to pay for packing b, and columns enough to fill vectors of 16."""
    return b.shape[1] >= LEAST_COLUMNS and len(a) >= LEAST_ROWS and (b.flags.c_contiguous or b.flags.f_contiguous)


def pack(fast: Any, b: np.ndarray, bias: Any) -> tuple[np.ndarray, np.ndarray]:
    """What ``fast.matmul_strips`` wants of b (K, N), C- or F-contiguous, and bias (N) or None.

    b in strips (⌈N / 16⌉, K, 16), in a workspace, and what the sums start from (⌈N / 16⌉ · 16), zeros beyond N: where the
    last strip is not full, its empty columns are computed too, and then left behind.
    """
    strips = workspace("strips", (-(-b.shape[1] // 16), b.shape[0], 16), b.dtype)
    turned = not b.flags.c_contiguous
    fast.pack(_packers(*strips.shape[:2]), b.T if turned else b, turned, strips)
    start = np.zeros(len(strips) * 16, b.dtype)
    if bias is not None:
        start[: b.shape[1]] = bias
    return strips, start


def _packers(strips: int, rows: int) -> Team:
    return team(strips, PACKED / max(1, rows * 16))


def _by_tiles(fast: Any, a: np.ndarray, b: np.ndarray, bias: np.ndarray, rectified: bool) -> np.ndarray:
    rows, columns = len(a), b.shape[1]
    turned = not b.flags.c_contiguous
    out = np.empty((rows, columns), a.dtype)
    if a.flags.c_contiguous and _is_cheaper_transposed(rows, len(b), columns):
        _by_tiles_transposed(fast, a, b.T if turned else b, turned, bias, rectified, out)
        return out
    if rows * b.size < 4 * PART:
        fast.matmul_small(a, b.T if turned else b, turned, bias, rectified, out)
        return out
    lanes, lies_well = -(-columns // 16), not turned and len(b) <= SHORT and columns % SPREAD != 0
    strips = workspace("strips", (1 if lies_well else lanes, len(b), 16), b.dtype)
    _, helpers, _, parts = team(rows * b.size, PART, pieces=4)
    board, _, *packing = _packers(lanes, len(b))
    fast.matmul((board, helpers, *packing), parts, a, b.T if turned else b, turned, bias, rectified, strips, out)
    return out


def _is_cheaper_transposed(rows: int, inner: int, columns: int) -> bool:
    """Whether there is less to do, clearly, for outᵀ = bᵀ @ aᵀ: a fills vectors of 16 and is packed, and outᵀ is turned."""
    straight = rows * inner * _filled(columns) + PACKING * columns * inner
    return columns * inner * _filled(rows) + PACKING * rows * (inner + columns) < 0.95 * straight


def _filled(n: int) -> int:
    return -(-n // 16) * 16


def _by_tiles_transposed(
    fast: Any, a: np.ndarray, b: np.ndarray, turned: bool, bias: np.ndarray, rectified: bool, out: np.ndarray
) -> None:
    rows, columns = out.shape
    lanes, pieces = -(-rows // 16), -(-columns // COLUMNS)
    if a.size * columns < 4 * PART:
        crew, packers, (copies, blocks) = team(pieces, pieces), team(lanes, lanes), _NOWHERE
    else:
        crew = team(pieces, PART / (a.size * COLUMNS), pieces=4)
        threads = members(crew)
        each = columns >= ITS_OWN * threads and a.nbytes <= ITS_CACHE
        copies = workspace("strips", (threads if each else 1, lanes, a.shape[1], 16), a.dtype)
        packers = _packers(*copies.shape[1:3])
        blocks = workspace("whole", (threads, COLUMNS, 16 * lanes), a.dtype)
    fast.matmul_transposed(crew, packers, COLUMNS, a, b, turned, bias, rectified, copies, blocks, out)


def _by_blas(a: np.ndarray, b: np.ndarray, bias: Any, then: Any) -> np.ndarray:
    """By our threads, each with a BLAS of one. (BLAS's own spin for some 20 ms after a product, and take cores from the next.)"""
    out = np.empty((len(a), b.shape[1]), a.dtype)
    by_rows = len(a) >= min(b.shape[1], ROWS * get_num_threads())
    lines = len(a) if by_rows else b.shape[1]

    def part(span: Span) -> None:
        rows, columns = (slice(*span), slice(None)) if by_rows else (slice(None), slice(*span))
        _part_by_blas(a[rows], b[:, columns], None if bias is None else bias[columns], then, out[rows, columns])

    with single_blas:
        least = LEAST_LINES if len(a) * b.size >= MEDIUM else lines
        share(part, spans(lines, least, pieces=1, ahead=AHEAD * lines / (len(a) * b.size)))
    return out


def _part_by_blas(a: np.ndarray, b: np.ndarray, bias: Any, then: Any, out: np.ndarray) -> None:
    rows, columns = out.shape
    if rows <= columns and LONG * rows <= len(b) and a.flags.c_contiguous and b.flags.f_contiguous:
        # A layer's weight, and few samples. OpenBLAS turns what it packs, and takes longer for its right factor; in bᵀ @ aᵀ that
        # is the small one: 3 to 45 % less time, though the result has to be turned.
        y = np.matmul(b.T, a.T)
        if bias is not None:
            y += bias[:, np.newaxis]
        if then is not None:
            then(y, out=y)
        out[...] = y.T
        return
    np.matmul(a, b, out=out)
    if bias is not None:
        out += bias
    if then is not None:
        then(out, out=out)
