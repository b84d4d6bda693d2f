"""Writing loops over vector registers for LLVM.

Numba's own loops keep their sums in memory, and load and store them with every product. The tiles (``tile.py``, ``taps.py``) need
them in registers, so they spell their loops out with this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils

LANES = 16  # numbers in a vector; LLVM splits it into what the processor has
NUMBER, WORD = ir.FloatType(), ir.IntType(64)
VECTOR = ir.VectorType(NUMBER, LANES)


class Emitter:
    """What the tiles have in common: addresses, loads, multiply-adds and loops. Addresses and steps are in bytes."""

    def __init__(self, builder: ir.IRBuilder, lanes: int = LANES) -> None:
        self.builder, self.lanes, self.vector = builder, lanes, ir.VectorType(NUMBER, lanes)
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        self._fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{lanes}f32")

    def place(self, base: Any, *offsets: Any) -> Any:
        """base + Σ offsets; an offset is a number of bytes, or (how many, step)."""
        for offset in offsets:
            if isinstance(offset, tuple):
                offset = self.builder.mul(WORD(offset[0]), offset[1])
            base = self.builder.add(base, WORD(offset) if isinstance(offset, int) else offset)
        return base

    def _pointer(self, base: Any, offset: Any, kind: Any) -> Any:
        # As an offset from a pointer, not as a sum: so LLVM finds the shortest addresses.
        start = self.builder.inttoptr(base, ir.IntType(8).as_pointer())
        return self.builder.bitcast(self.builder.gep(start, [offset]), kind.as_pointer())

    def load(self, base: Any, *offsets: Any) -> Any:
        """The vector at base + Σ offsets."""
        return self.builder.load(self._pointer(base, self.place(WORD(0), *offsets), self.vector), align=4)

    def store(self, value: Any, base: Any, *offsets: Any) -> None:
        """Put the vector at base + Σ offsets."""
        self.builder.store(value, self._pointer(base, self.place(WORD(0), *offsets), self.vector), align=4)

    def spread(self, base: Any, *offsets: Any) -> Any:
        """The number at base + Σ offsets, in all places of a vector."""
        return self.repeat(self.builder.load(self._pointer(base, self.place(WORD(0), *offsets), NUMBER), align=4))

    def repeat(self, scalar: Any) -> Any:
        """A number in all places of a vector."""
        unknown, index = ir.Constant(self.vector, ir.Undefined), ir.VectorType(ir.IntType(32), self.lanes)
        first = self.builder.insert_element(unknown, scalar, ir.IntType(32)(0))
        return self.builder.shuffle_vector(first, unknown, ir.Constant(index, [0] * self.lanes))

    def multiply_add(self, x: Any, y: Any, total: Any) -> Any:
        """x · y + total."""
        return self.builder.call(self._fma, [x, y, total])

    def loop(
        self,
        count: Any,
        steps: Sequence[Any],
        values: Sequence[Any],
        sums: Sequence[Any],
        body: Callable[[list[Any], list[Any]], list[Any]],
    ) -> tuple[list[Any], list[Any]]:
        """``sums = body(values, sums)``, ``count`` times, each time with ``values`` a step further; returns both."""
        builder, before = self.builder, self.builder.block
        inside, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
        builder.cbranch(builder.icmp_signed(">", count, WORD(0)), inside, after)
        builder.position_at_end(inside)
        initial = [WORD(0), *values, *sums]
        held = [builder.phi(value.type) for value in initial]
        i, here = held[0], held[1 : 1 + len(values)]
        new_sums = body(here, held[1 + len(values) :])
        new = [builder.add(i, WORD(1)), *map(builder.add, here, steps), *new_sums]
        end = builder.block
        for phi, first, value in zip(held, initial, new, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(value, end)
        builder.cbranch(builder.icmp_signed("<", new[0], count), inside, after)
        builder.position_at_end(after)
        results = []
        for first, value in zip(initial[1:], new[1:], strict=True):
            phi = builder.phi(value.type)
            phi.add_incoming(first, before)
            phi.add_incoming(value, end)
            results.append(phi)
        return results[: len(values)], results[len(values) :]
