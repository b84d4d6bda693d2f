"""The innermost loop of a direct convolution, in vector registers.

Numba's own loops keep one line of sums in memory and load and store it with every product. Here the sums of ``rows`` pixels
times 16 channels stay in registers while all products are added to them: the plain twin is

    for p in range(rows):
        for v in range(16 · vectors):
            total = start[p · start_step + v]
            for s in range(segments):
                for i in range(run):
                    x = a[p · row_step + s · a_segment + i · a_step]
                    total += x · b[v // 16 · b_lane + s · b_segment + i · b_step + v % 16]
            out[p · out_step + v] = total

in float32, addresses and steps in bytes. LLVM is given the loop with its vectors spelled out, and splits them into what the
processor has.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
_ARGUMENTS = 14


def make_tile(rows: int, vectors: int = 1) -> Any:
    """The loop above as a function for Numba's kernels.

    ``tile(a, row_step, a_segment, a_step, b, b_lane, b_segment, b_step, segments, run, start, start_step, out, out_step)``
    """

    @intrinsic
    def tile(
        typing_context,
        a,
        row_step,
        a_segment,
        a_step,
        b,
        b_lane,
        b_segment,
        b_step,
        segments,
        run,
        start,
        start_step,
        out,
        out_step,
    ):
        return types.void(*[types.int64] * _ARGUMENTS), _generate

    def _generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        (
            a,
            row_step,
            a_segment,
            a_step,
            b,
            b_lane,
            b_segment,
            b_step,
            segments,
            run,
            start,
            start_step,
            out,
            out_step,
        ) = arguments
        number, vector, address = ir.FloatType(), ir.VectorType(ir.FloatType(), LANES), ir.IntType(64)
        zero, one = address(0), address(1)
        kind = ir.FunctionType(vector, [vector] * 3)
        fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")

        def at(base: Any, offset: Any, kind: Any) -> Any:
            return builder.inttoptr(builder.add(base, offset), kind.as_pointer())

        def times(p: int, step: Any) -> Any:
            return builder.mul(address(p), step)

        places = [(p, v) for p in range(rows) for v in range(vectors)]

        def lane(base: Any, p: int, step: Any, v: int) -> Any:
            return at(base, builder.add(times(p, step), address(v * LANES * 4)), vector)

        sums = [builder.load(lane(start, p, start_step, v), align=4) for p, v in places]
        entry = builder.block
        outer, inner, after = (builder.append_basic_block(name) for name in ("segment", "run", "segment.end"))
        done = builder.append_basic_block("done")
        nothing = builder.or_(builder.icmp_signed("<", segments, one), builder.icmp_signed("<", run, one))
        builder.cbranch(nothing, done, outer)

        builder.position_at_end(outer)
        s, a_line, b_line = (builder.phi(address) for _ in range(3))
        outer_sums = [builder.phi(vector) for _ in places]
        for phi, value in zip((s, a_line, b_line, *outer_sums), (zero, a, b, *sums), strict=True):
            phi.add_incoming(value, entry)
        builder.branch(inner)

        builder.position_at_end(inner)
        i, a_here, b_here = (builder.phi(address) for _ in range(3))
        inner_sums = [builder.phi(vector) for _ in places]
        for phi, value in zip((i, a_here, b_here, *inner_sums), (zero, a_line, b_line, *outer_sums), strict=True):
            phi.add_incoming(value, outer)
        factors = [builder.load(at(b_here, builder.mul(address(v), b_lane), vector), align=4) for v in range(vectors)]
        new_sums = []
        for p in range(rows):
            scalar = builder.load(at(a_here, times(p, row_step), number), align=4)
            first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.IntType(32)(0))
            all_alike = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
            spread = builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), all_alike)
            for v in range(vectors):
                new_sums.append(builder.call(fma, [spread, factors[v], inner_sums[p * vectors + v]]))
        i_next, a_next, b_next = builder.add(i, one), builder.add(a_here, a_step), builder.add(b_here, b_step)
        for phi, value in zip((i, a_here, b_here, *inner_sums), (i_next, a_next, b_next, *new_sums), strict=True):
            phi.add_incoming(value, inner)
        builder.cbranch(builder.icmp_signed("<", i_next, run), inner, after)

        builder.position_at_end(after)
        s_next, a_next, b_next = builder.add(s, one), builder.add(a_line, a_segment), builder.add(b_line, b_segment)
        for phi, value in zip((s, a_line, b_line, *outer_sums), (s_next, a_next, b_next, *new_sums), strict=True):
            phi.add_incoming(value, after)
        builder.cbranch(builder.icmp_signed("<", s_next, segments), outer, done)

        builder.position_at_end(done)
        results = []
        for at_first, summed, (p, v) in zip(sums, new_sums, places, strict=True):
            result = builder.phi(vector)
            result.add_incoming(at_first, entry)
            result.add_incoming(summed, after)
            results.append((result, p, v))
        for result, p, v in results:
            builder.store(result, lane(out, p, out_step, v), align=4)
        return context.get_dummy_value()

    return tile


def make_transpose() -> Any:
    """``transpose(source, source_step, target, target_step)``: a block of 16 × 16 numbers; addresses and steps in bytes.

    In four rounds. Round s (1, 2, 4, 8) exchanges, between the rows r and r + s, those columns that differ in bit s; the
    twin is ``for i: for j: target[j, i] = source[i, j]``.
    """

    @intrinsic
    def transpose(typing_context, source, source_step, target, target_step):
        return types.void(*[types.int64] * 4), _generate

    def _generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        vector, index = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.IntType(32), LANES)

        def row(base: Any, step: Any, i: int) -> Any:
            place = builder.add(base, builder.mul(ir.IntType(64)(i), step))
            return builder.inttoptr(place, vector.as_pointer())

        rows = [builder.load(row(arguments[0], arguments[1], i), align=4) for i in range(LANES)]
        for s in (1, 2, 4, 8):
            upper = [c if not c & s else LANES + c - s for c in range(LANES)]  # from LANES on: of the second row
            lower = [c + s if not c & s else LANES + c for c in range(LANES)]
            for r in range(LANES):
                if not r & s:
                    pair = rows[r], rows[r + s]
                    rows[r], rows[r + s] = (
                        builder.shuffle_vector(*pair, ir.Constant(index, m)) for m in (upper, lower)
                    )
        for i, value in enumerate(rows):
            builder.store(value, row(arguments[2], arguments[3], i), align=4)
        return context.get_dummy_value()

    return transpose
