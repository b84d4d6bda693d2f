"""What the matrix unit of Intel's processors (AMX) does: it multiplies *tiles*, of numbers of 16 bits (bfloat16) only.

A float32 number x is the sum of three bfloat16 numbers, its *pieces*: x₀ is x rounded to 8 binary digits, x₁ what is left,
rounded to 8, and x₂ the rest, which needs no rounding. Of the nine products of two numbers' pieces six are large enough to
matter,

    x · y ≈ x₂y₀ + x₁y₀ + x₁y₁ + x₀y₁ + x₀y₂ + x₀y₀,        error at most about 2⁻²⁴ · |x · y|, a rounding of float32,

and the unit adds them up in float32 (Henry, Tang & Heinecke 2019, "Leveraging the bfloat16 artificial intelligence datatype for
higher-precision computations"). Six of its multiplications take less time than one on the vector units, where factors are large
enough to pay for taking them to pieces (``split.py``).

A tile has 16 rows of 16 pairs of numbers. A pair's two are 16 apart along the inner dimension: for the left factor a[m, k] and
a[m, k + 16], for the right one b[k, n] and b[k + 16, n]. So a tile is 32 deep, and one instruction adds the products of two tiles
to 16 × 16 sums. The three pieces of a tile lie one after the other in memory.

Infinity has no pieces, and the unit takes numbers below 2⁻¹²⁶ for zero, so that small ones lose their last pieces. Who splits
learns how large the largest number is and how small the smallest one, and ``in_range`` says whether the unit may have them.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from functools import cache
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from minidl.backend.cpu.fast.emit import LANES, VECTOR, WORD, Emitter
from minidl.backend.cpu.fast.jit import data, inner

PIECES = 3
DEEP = 32  # numbers of a tile along the inner dimension
TILE = 1024  # bytes
TILES = PIECES * TILE
# There are eight registers for tiles. But where another process uses the same core, its tiles seem to take room from ours: with
# eight in use, each instruction then waits for the one before it (23 to 35 ns for a product and its loads; with five 11 to 14; if
# no other process is there, 6).
IN_USE = 5
ORDER = ((2, 0), (1, 0), (1, 1), (0, 1), (0, 2), (0, 0))  # of the pieces' products: from one to the next a factor stays
LARGE = 0x7F7F8000  # a float32's bits from here on: rounding it to 8 digits gives infinity, or it is none
SMALL = (127 - 103) << 23  # those of 2⁻¹⁰³, whose last digit is worth 2⁻¹²⁶
# Exponents of the largest numbers together, as float32 has them: products of 2⁻⁸⁰, to the last digit, and of 2¹⁰⁰, of which many
# can be added up.
LEAST_PRODUCT, MOST_PRODUCT = 2 * 127 - 80, 2 * 127 + 100
ARCH_PRCTL, ASK, TILE_DATA = 158, 0x1023, 18  # Linux: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)
_BYTE, _INTS = ir.IntType(8), ir.VectorType(ir.IntType(32), LANES)


@cache
def permitted() -> bool:
    """Whether the processor has the unit, Numba writes for it, and the system lets this process use it. (Only Linux is asked.)

    It is asked once, when the unit is first wanted: from then on the system wants larger stacks for signals of this process.
    """
    told: Any = config
    if sys.platform != "linux" or platform.machine() != "x86_64" or told.CPU_NAME or told.CPU_FEATURES:
        return False
    features = binding.get_host_cpu_features()
    if not all(features.get(name) for name in ("amx-tile", "amx-bf16", "avx512f", "avx512bw")):
        return False
    return ctypes.CDLL(None).syscall(ctypes.c_long(ARCH_PRCTL), ctypes.c_long(ASK), ctypes.c_long(TILE_DATA)) == 0


def _call(builder: ir.IRBuilder, name: str, *arguments: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), arguments)


def _pointer(builder: ir.IRBuilder, address: Any) -> Any:
    return builder.inttoptr(address, _BYTE.as_pointer())


@intrinsic
def _load_configuration(typing_context, address):
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        _call(builder, "ldtilecfg", _pointer(builder, arguments[0]))
        return context.get_dummy_value()

    return types.void(types.int64), generate


@inner
def configure(scratch):
    """Let this thread have its tiles, of 16 rows; ``scratch`` is an array of at least 64 bytes."""
    for i in range(64):
        scratch[i] = 0
    scratch[0] = 1  # the palette
    for tile in range(IN_USE):
        scratch[16 + 2 * tile] = 64  # bytes of a row
        scratch[48 + tile] = 16  # rows
    _load_configuration(data(scratch))


@intrinsic
def release(typing_context):
    """Give the tiles back, to the core's other thread too."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        _call(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def split_tile(typing_context, near, far, step, tiles, extremes):
    """The pieces of 16 rows of pairs, as three tiles.

    The plain twin is, for x = near[r, j] and y = far[r, j] in each of 16 rows and columns,

        for i in range(3):
            tiles[i, r, 2 · j], tiles[i, r, 2 · j + 1] = round(x), round(y)
            x, y = x − round(x), y − round(y)

    Args:
        near, far: addresses of 16 numbers in each row; ``step`` bytes lead to the next row.
        tiles: the address of the tiles.
        extremes: the address of the largest magnitude so far in each of 16 columns, as float32's bits, and then of the smallest
            that is not 0, less one.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        emit = Emitter(builder)

        def constant(n: int) -> Any:
            return ir.Constant(_INTS, [n] * LANES)

        def extreme(name: str, x: Any, y: Any) -> Any:
            function = ir.FunctionType(_INTS, [_INTS] * 2)
            called = cgutils.get_or_insert_function(builder.module, function, f"llvm.{name}.v{LANES}i32")
            return builder.call(called, [x, y])

        upper = constant(-1 << 16)  # the bits that a bfloat16 has
        half = constant(1 << 15)  # half of what the last of them is worth
        positive, one = constant((1 << 31) - 1), constant(1)

        def pieces(x: Any) -> list[Any]:
            found = []
            for _ in range(PIECES - 1):
                found.append(builder.and_(builder.add(builder.bitcast(x, _INTS), half), upper))
                x = builder.fsub(x, builder.bitcast(found[-1], VECTOR))
            return [*found, builder.and_(builder.bitcast(x, _INTS), upper)]

        def row(here: list[Any], found: list[Any]) -> list[Any]:
            most, least = found
            numbers = [emit.load(address) for address in here[:2]]
            for x in numbers:
                magnitude = builder.and_(builder.bitcast(x, _INTS), positive)
                most, least = extreme("umax", most, magnitude), extreme("umin", least, builder.sub(magnitude, one))
            for i, (x, y) in enumerate(zip(*map(pieces, numbers), strict=True)):
                both = builder.or_(builder.lshr(x, constant(16)), y)
                emit.store(builder.bitcast(both, VECTOR), here[2], i * TILE)
            return [most, least]

        near, far, step, tiles, extremes = arguments
        found = [builder.bitcast(emit.load(extremes, 64 * i), _INTS) for i in range(2)]
        _, found = emit.loop(WORD(LANES), [step, step, WORD(64)], [near, far, tiles], found, row)
        for i in range(2):
            emit.store(builder.bitcast(found[i], VECTOR), extremes, 64 * i)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


def make_block(columns: int) -> Any:
    """``block(a, b, b_tiles, steps, start, start_row, out, out_row)``: out = start + a @ b, for one or two tiles of columns.

    It has 16 rows and 16 · ``columns`` columns. Addresses and steps are in bytes.

    Args:
        a, b: tiles, the three pieces of each, ``steps`` of them along the inner dimension.
        b_tiles: leads from those of 16 columns to the next.
        start_row: 0 adds the same row to all.
    """

    @intrinsic
    def block(typing_context, a, b, b_tiles, steps, start, start_row, out, out_row):
        return types.void(*[types.int64] * 8), _generate

    def _generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        a, b, b_tiles, steps, start, start_row, out, out_row = arguments
        emit = Emitter(builder)
        sums, left, right = range(columns), columns, range(columns + 1, 2 * columns + 1)  # which tile is what

        def move(name: str, tile: int, address: Any, step: Any) -> None:
            _call(builder, name, _BYTE(tile), _pointer(builder, address), step)

        def step(here: list[Any], _: list[Any]) -> list[Any]:
            last = -1, -1
            for i, j in ORDER:
                if i != last[0]:
                    move("tileloadd64", left, emit.place(here[0], i * TILE), WORD(64))
                if j != last[1]:
                    for v, tile in enumerate(right):
                        move("tileloadd64", tile, emit.place(here[1], (v, b_tiles), j * TILE), WORD(64))
                last = i, j
                for total, tile in zip(sums, right, strict=True):
                    _call(builder, "tdpbf16ps", _BYTE(total), _BYTE(left), _BYTE(tile))
            return []

        for v in sums:
            move("tileloadd64", v, emit.place(start, 64 * v), start_row)
        emit.loop(steps, [WORD(TILES)] * 2, [a, b], [], step)
        for v in sums:
            move("tilestored64", v, emit.place(out, 64 * v), out_row)
        return context.get_dummy_value()

    return block


LEAST = (1 << 32) - 1  # a mask
NONE = LEAST  # the magnitudes of zeros, see ``magnitudes_of``


@inner
def begin(extremes):
    """What ``split_tile`` begins with, for an array of 32 whole numbers (uint32)."""
    for i in range(LANES):
        extremes[i], extremes[LANES + i] = 0, LEAST


@inner
def magnitudes_of(extremes):
    """The largest magnitude, times 2³², and the smallest one that is not 0, less one."""
    most, least = 0, LEAST
    for i in range(LANES):
        most, least = max(most, np.int64(extremes[i])), min(least, np.int64(extremes[LANES + i]))
    return most << 32 | least


@inner
def join(found, more):
    """The magnitudes of two pieces of a factor together."""
    return max(found >> 32, more >> 32) << 32 | min(found & LEAST, more & LEAST)


@inner
def in_range(left, right):
    """Whether the unit may multiply factors of these magnitudes."""
    if left == NONE or right == NONE:
        return max(left, right) >> 32 < LARGE
    a, b = left >> 32, right >> 32
    if a >= LARGE or b >= LARGE or min(left & LEAST, right & LEAST) + 1 < SMALL:
        return False
    return LEAST_PRODUCT <= (a >> 23) + (b >> 23) <= MOST_PRODUCT
