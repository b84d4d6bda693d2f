"""The innermost loop of a matrix product, in vector registers.

The sums of ``rows`` rows times 16 · ``vectors`` columns stay in registers while all products are added to them: the plain twin is

    for p in range(rows):
        for v in range(16 · vectors):
            total = start[p · start_step + v]
            for s in range(segments):
                for i in range(run):
                    x = a[p · row_step + s · a_segment + i · a_step]
                    total += x · b[v // 16 · b_lane + s · b_segment + i · b_step + v % 16]
            out[p · out_step + v] = total

in float32, addresses and steps in bytes.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minidl.backend.cpu.fast.emit import LANES, WORD, Emitter


def make_tile(rows: int, vectors: int = 1) -> Any:
    """The loop above as a function for Numba's kernels.

    ``tile(a, row_step, a_segment, a_step, b, b_lane, b_segment, b_step, segments, run, start, start_step, out, out_step)``
    """

    @intrinsic
    def tile(
        context, a, row_step, a_segment, a_step, b, b_lane, b_segment, b_step, segments, run, start, start_step, out, out_step
    ):  # fmt: skip
        return types.void(*[types.int64] * 14), _generate

    def _generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        a, row_step, a_segment, a_step, b, b_lane, b_segment, b_step, segments, run, *ends = arguments
        start, start_step, out, out_step = ends
        emit = Emitter(builder)
        places = [(p, v) for p in range(rows) for v in range(vectors)]

        def multiply(here: list[Any], sums: list[Any]) -> list[Any]:
            """Add each of the rows' numbers at the first place, times the vectors at the second."""
            factors = [emit.load(here[1], (v, b_lane)) for v in range(vectors)]
            numbers = (emit.spread(here[0], (p, row_step)) for p in range(rows))
            products = [(x, factor) for x in numbers for factor in factors]
            return [emit.multiply_add(*product, total) for product, total in zip(products, sums, strict=True)]

        def two(here: list[Any], sums: list[Any]) -> list[Any]:
            # Two products a turn leave the processor fewer instructions that do not multiply.
            following = [emit.place(here[0], a_step), emit.place(here[1], b_step)]
            return multiply(following, multiply(here, sums))

        def segment(here: list[Any], sums: list[Any]) -> list[Any]:
            double = [builder.shl(a_step, WORD(1)), builder.shl(b_step, WORD(1))]
            here, sums = emit.loop(builder.ashr(run, WORD(1)), double, here, sums, two)
            return emit.loop(builder.and_(run, WORD(1)), double, here, sums, multiply)[1]

        sums = [emit.load(start, (p, start_step), v * LANES * 4) for p, v in places]
        _, sums = emit.loop(segments, [a_segment, b_segment], [a, b], sums, segment)
        for total, (p, v) in zip(sums, places, strict=True):
            emit.store(total, out, (p, out_step), v * LANES * 4)
        return context.get_dummy_value()

    return tile


def make_transpose(adds: bool = False, limits: bool = False) -> Any:
    """``transpose(source, source_step, target, target_step)``: a block of 16 × 16 numbers; addresses and steps in bytes.

    If it ``adds``, there is a fifth argument, the address of 16 numbers, which are added to each row of the target. If it
    ``limits``, too, there is a sixth, a number: what is not above it becomes that; NaN stays.

    In four rounds. Round s (1, 2, 4, 8) exchanges, between the rows r and r + s, those columns that differ in bit s; the
    twin is ``for i: for j: target[j, i] = source[i, j]``.
    """

    @intrinsic
    def transpose(typing_context, source, source_step, target, target_step):
        return types.void(*[types.int64] * 4), _generate

    @intrinsic
    def transpose_add(typing_context, source, source_step, target, target_step, row):
        return types.void(*[types.int64] * 5), _generate

    @intrinsic
    def transpose_limit(typing_context, source, source_step, target, target_step, row, limit):
        return types.void(*[types.int64] * 5, types.float32), _generate

    def _generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        source, source_step, target, target_step = arguments[:4]
        emit, index = Emitter(builder), ir.VectorType(ir.IntType(32), LANES)
        rows = [emit.load(source, (i, source_step)) for i in range(LANES)]
        for s in (1, 2, 4, 8):
            upper = [c if not c & s else LANES + c - s for c in range(LANES)]  # from LANES on: of the second row
            lower = [c + s if not c & s else LANES + c for c in range(LANES)]
            for r in range(LANES):
                if not r & s:
                    pair = rows[r], rows[r + s]
                    rows[r], rows[r + s] = (
                        builder.shuffle_vector(*pair, ir.Constant(index, m)) for m in (upper, lower)
                    )
        if adds:
            added = emit.load(arguments[4])
            rows = [builder.fadd(value, added) for value in rows]
        if limits:
            limit = emit.repeat(arguments[5])
            rows = [builder.select(builder.fcmp_ordered("<=", value, limit), limit, value) for value in rows]
        for i, value in enumerate(rows):
            emit.store(value, target, (i, target_step))
        return context.get_dummy_value()

    return transpose_limit if limits else transpose_add if adds else transpose
