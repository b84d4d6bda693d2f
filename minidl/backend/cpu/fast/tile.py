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
        context, a, row_step, a_segment, a_step, b, b_lane, b_segment, b_step, segments, run, start, start_step, out, out_step
    ):  # fmt: skip
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
        zero, one, pairs = address(0), address(1), builder.ashr(run, address(1))
        kind = ir.FunctionType(vector, [vector] * 3)
        fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
        places = [(p, v) for p in range(rows) for v in range(vectors)]

        def at(base: Any, offset: Any, kind: Any) -> Any:
            place = builder.gep(builder.inttoptr(base, ir.IntType(8).as_pointer()), [offset])
            return builder.bitcast(place, kind.as_pointer())

        def lane(base: Any, p: int, step: Any, v: int) -> Any:
            return at(base, builder.add(builder.mul(address(p), step), address(v * LANES * 4)), vector)

        def multiply(here: list[Any], sums: list[Any]) -> list[Any]:
            """Add each of the rows' numbers at the first place, times the vectors at the second."""
            a, b = here
            factors = [builder.load(at(b, builder.mul(address(v), b_lane), vector), align=4) for v in range(vectors)]
            new_sums = []
            for p in range(rows):
                scalar = builder.load(at(a, builder.mul(address(p), row_step), number), align=4)
                first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.IntType(32)(0))
                all_alike = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
                spread = builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), all_alike)
                for v in range(vectors):
                    new_sums.append(builder.call(fma, [spread, factors[v], sums[p * vectors + v]]))
            return new_sums

        def loop(name: str, count: Any, steps: list[Any], values: list[Any], sums: list[Any], body: Any) -> list[Any]:
            """``sums = body(values, sums)``, ``count`` times, each time with ``values`` a step further; returns both."""
            before, inside = builder.block, builder.append_basic_block(name)
            after = builder.append_basic_block(f"{name}.end")
            builder.cbranch(builder.icmp_signed(">", count, zero), inside, after)
            builder.position_at_end(inside)
            held = [builder.phi(value.type) for value in (zero, *values, *sums)]
            i, here, sums_here = held[0], held[1 : 1 + len(values)], held[1 + len(values) :]
            new_sums = body(here, sums_here)
            new = [builder.add(i, one), *map(builder.add, here, steps), *new_sums]
            for phi, first, value in zip(held, (zero, *values, *sums), new, strict=True):
                phi.add_incoming(first, before)
                phi.add_incoming(value, builder.block)
            end = builder.block
            builder.cbranch(builder.icmp_signed("<", new[0], count), inside, after)
            builder.position_at_end(after)
            results = []
            for first, value in zip((*values, *sums), new[1:], strict=True):
                phi = builder.phi(value.type)
                phi.add_incoming(first, before)
                phi.add_incoming(value, end)
                results.append(phi)
            return results

        def two(here: list[Any], sums: list[Any]) -> list[Any]:
            # Two products a turn leave the processor fewer instructions that do not multiply.
            following = [builder.add(here[0], a_step), builder.add(here[1], b_step)]
            return multiply(following, multiply(here, sums))

        def segment(here: list[Any], sums: list[Any]) -> list[Any]:
            double = [builder.shl(a_step, one), builder.shl(b_step, one)]
            a, b, *sums = loop("pairs", pairs, double, here, sums, two)
            _, _, *sums = loop("rest", builder.and_(run, one), double, [a, b], sums, multiply)
            return sums

        sums = [builder.load(lane(start, p, start_step, v), align=4) for p, v in places]
        _, _, *sums = loop("segments", segments, [a_segment, b_segment], [a, b], sums, segment)
        for result, (p, v) in zip(sums, places, strict=True):
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
