"""Winograd's one-dimensional transforms, on whole vectors (Lavin & Gray 2016, section 4).

Each is written once, as a function of numbers. On NumPy arrays it computes what it says, and so is its own plain twin; on the
vectors of LLVM it says what is to be computed: Numba's own loops would not use vectors here, because it cannot know that so many
arrays do not overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minidl.backend.cpu.fast.emit import LANES
from minidl.backend.cpu.fast.jit import symbol


def bt6(d0: Any, d1: Any, d2: Any, d3: Any, d4: Any, d5: Any) -> tuple[Any, ...]:
    """Bᵀ of an input tile of six points: F(4, 3) and F(2, 5)."""
    a, b, c, d = d4 - 4 * d2, d3 - 4 * d1, d4 - d2, 2 * (d3 - d1)
    return 4 * d0 - 5 * d2 + d4, a + b, a - b, c + d, c - d, 4 * d1 - 5 * d3 + d5


def bt4(d0: Any, d1: Any, d2: Any, d3: Any) -> tuple[Any, ...]:
    """Bᵀ of an input tile of four points: F(2, 3)."""
    return d2 - d0, d1 + d2, d2 - d1, d3 - d1


def at64(m0: Any, m1: Any, m2: Any, m3: Any, m4: Any, m5: Any) -> tuple[Any, ...]:
    """Aᵀ: products at six points to four outputs."""
    a, b, c, d = m1 + m2, m1 - m2, m3 + m4, m3 - m4
    return m0 + a + c, b + 2 * d, a + 4 * c, b + 8 * d + m5


def at62(m0: Any, m1: Any, m2: Any, m3: Any, m4: Any, m5: Any) -> tuple[Any, ...]:
    """Aᵀ: products at six points to two outputs."""
    return m0 + (m1 + m2) + (m3 + m4), (m1 - m2) + 2 * (m3 - m4) + m5


def at42(m0: Any, m1: Any, m2: Any, m3: Any) -> tuple[Any, ...]:
    """Aᵀ: products at four points to two outputs."""
    return m0 + m1 + m2, m1 - m2 + m3


def a46(g0: Any, g1: Any, g2: Any, g3: Any) -> tuple[Any, ...]:
    """A: four cotangents to six points."""
    a, b, c, d = g0 + g2, g1 + g3, g0 + 4 * g2, 2 * g1 + 8 * g3
    return g0, a + b, a - b, c + d, c - d, g3


def a26(g0: Any, g1: Any) -> tuple[Any, ...]:
    """A: two cotangents to six points."""
    d = 2 * g1
    return g0, g0 + g1, g0 - g1, g0 + d, g0 - d, g1


def a24(g0: Any, g1: Any) -> tuple[Any, ...]:
    """A: two cotangents to four points."""
    return g0, g0 + g1, g0 - g1, g1


class _Vector:
    """A vector of LLVM with the operators of a number."""

    def __init__(self, builder: ir.IRBuilder, value: Any) -> None:
        self.builder, self.value = builder, value

    def _with(self, name: str, other: Any) -> _Vector:
        if not isinstance(other, _Vector):
            kind = self.value.type
            lanes = [float(other)] * kind.count if isinstance(kind, ir.VectorType) else float(other)
            other = _Vector(self.builder, ir.Constant(kind, lanes))
        return _Vector(self.builder, getattr(self.builder, name)(self.value, other.value, flags=("contract",)))

    def __add__(self, other: Any) -> _Vector:
        return self._with("fadd", other)

    def __sub__(self, other: Any) -> _Vector:
        return self._with("fsub", other)

    def __rmul__(self, other: Any) -> _Vector:
        return self._with("fmul", other)


def _compiled(transform: Callable[..., tuple[Any, ...]]) -> Any:
    """The transform as a function of addresses, for kernels: see ``apply``."""
    inputs = transform.__code__.co_argcount
    outputs = len(transform(*[0.0] * inputs))

    @intrinsic
    def compiled(typing_context, source, at, target, to, length):
        return types.void(*[types.int64] * 5), _generate

    def _generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        source, at, target, to, length = arguments
        word, number = ir.IntType(64), ir.FloatType()

        def streams(base: Any, offsets: Any, count: int) -> list[Any]:
            table = builder.inttoptr(offsets, word.as_pointer())
            start = builder.inttoptr(base, number.as_pointer())
            return [builder.gep(start, [builder.load(builder.gep(table, [word(i)]))]) for i in range(count)]

        sources, targets = streams(source, at, inputs), streams(target, to, outputs)

        def loop(name: str, kind: Any, first: Any, stop: Any, step: int) -> None:
            before, body, after = (
                builder.block,
                builder.append_basic_block(name),
                builder.append_basic_block(f"{name}.end"),
            )
            builder.cbranch(builder.icmp_signed("<", first, stop), body, after)
            builder.position_at_end(body)
            k = builder.phi(word)
            k.add_incoming(first, before)

            def place(stream: Any) -> Any:
                return builder.bitcast(builder.gep(stream, [k]), kind.as_pointer())

            values = transform(*[_Vector(builder, builder.load(place(s), align=4)) for s in sources])
            for value, stream in zip(values, targets, strict=True):
                builder.store(value.value, place(stream), align=4)
            following = builder.add(k, word(step))
            k.add_incoming(following, body)
            builder.cbranch(builder.icmp_signed("<", following, stop), body, after)
            builder.position_at_end(after)

        whole = builder.and_(length, word(-LANES))
        loop("vectors", ir.VectorType(number, LANES), word(0), whole, LANES)
        loop("numbers", number, whole, length, 1)
        return context.get_dummy_value()

    return compiled


TRANSFORMS = (bt6, bt4, at64, at62, at42, a46, a26, a24)
BT6, BT4, AT64, AT62, AT42, A46, A26, A24 = range(len(TRANSFORMS))
_bt6, _bt4, _at64, _at62, _at42, _a46, _a26, _a24 = (_compiled(t) for t in TRANSFORMS)


@symbol
def apply_transform(transform, source, at, target, to, length):
    """target[to[i] + k] ← result i of the transform of (source[at[0] + k], source[at[1] + k], …), for every k < length.

    Args:
        transform: its place in ``TRANSFORMS``.
        source, target: addresses of float32 numbers, which do not overlap.
        at, to: addresses of offsets (int64), in numbers.
    """
    if transform == BT6:
        _bt6(source, at, target, to, length)
    elif transform == BT4:
        _bt4(source, at, target, to, length)
    elif transform == AT64:
        _at64(source, at, target, to, length)
    elif transform == AT62:
        _at62(source, at, target, to, length)
    elif transform == AT42:
        _at42(source, at, target, to, length)
    elif transform == A46:
        _a46(source, at, target, to, length)
    elif transform == A26:
        _a26(source, at, target, to, length)
    else:
        _a24(source, at, target, to, length)
