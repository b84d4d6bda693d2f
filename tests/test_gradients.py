"""Every op with a gradient: right to the second order, in any memory layout, and well behaved."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.ops.base import Elementwise, Op, registry
from minidl.ops.samples import Draw, reals
from tests.composites import COMPOSITES
from tests.drawing import Hypothesis, Random
from tests.gradient_checks import KINKS, OPS, check_derivatives, check_kink, check_manners, check_paths, check_sample

thorough = settings(max_examples=20, deadline=None, derandomize=False, print_blob=True)


@pytest.mark.parametrize("name", OPS)
@thorough
@given(st.data())
def test_derivatives(name: str, data: st.DataObject) -> None:
    check_derivatives(registry[name], Draw(Hypothesis(data)))


@pytest.mark.parametrize("name", OPS)
@thorough
@given(st.data())
def test_manners(name: str, data: st.DataObject) -> None:
    check_manners(registry[name], Draw(Hypothesis(data)))


@pytest.mark.parametrize("name", COMPOSITES)
@thorough
@given(st.data())
def test_functions_made_of_ops(name: str, data: st.DataObject) -> None:
    draw = Draw(Hypothesis(data))
    check_sample(COMPOSITES[name](draw), draw)


@settings(thorough, max_examples=100)
@given(st.data())
def test_gradients_add_up_where_paths_meet(data: st.DataObject) -> None:
    check_paths(Draw(Hypothesis(data)))


@pytest.mark.parametrize(("name", "i"), [(name, i) for name, kinks in KINKS.items() for i in range(len(kinks))])
def test_kinks(name: str, i: int) -> None:
    check_kink(KINKS[name][i])


def test_a_gradient_without_samples_is_refused() -> None:
    before = dict(registry)
    with pytest.raises(TypeError, match="Unchecked has a gradient but no samples"):

        class Unchecked(Op):
            def forward(self, xp, x):
                return x

            def vjp(self, g):
                return g

    assert registry == before


def test_a_gradient_that_wants_what_forward_does_not_take_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Mistyped\.vjp wants 'z', which forward does not take"):

        class Mistyped(Elementwise):
            samples = reals(0, 1)

            def forward(self, xp, x):
                return x

            def vjp(self, g, z):
                return g

    assert "Mistyped" not in registry


def wrong(kind: type[Op], **rules: object) -> type[Op]:
    """The op with another gradient (not registered)."""
    twin = type(f"Wrong{kind.__name__}", (kind,), rules, abstract=True)
    twin.rules = tuple(twin._find_rules(list(kind.arguments)))
    twin._plans = {}
    return twin


@pytest.mark.parametrize(
    ("kind", "rules"),
    [
        ("Sin", {"vjp": lambda self, g, x: g * np.cos(x) if isinstance(x, np.ndarray) else g * x.cos() * 1.00001}),
        ("Sin", {"vjp": lambda self, g, x: g * registry["Cos"]()(x) * 1.00001}),
        ("Exp", {"vjp": lambda self, g, y: g * getattr(y, "array", y)}),  # right once, but not differentiable again
    ],
)
def test_the_check_sees_small_faults(kind: str, rules: dict[str, object]) -> None:
    with pytest.raises((AssertionError, RuntimeError)):
        for seed in range(10):
            check_derivatives(wrong(registry[kind], **rules), Draw(Random(seed)))
