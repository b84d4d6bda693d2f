"""The mutation run: would the gradient tests notice if a gradient were wrong?

Every gradient in the registry, and every function that gradients are made of, is spoilt in one place at a time: its
result replaced by zeros or negated, one side of a +, −, · or / dropped, an in-place update left out. Then the checks of
``test_gradients.py`` run on seeded draws, and must fail. What survives is printed, and makes the exit status 1.

    python -m tests.mutate_gradients                      everything (under a minute)
    python -m tests.mutate_gradients --op Softmax         one op or helper
    python -m tests.mutate_gradients --sample 40 --seed 1 a random few
"""

from __future__ import annotations
import __future__

import argparse
import ast
import copy
import inspect
import random
import sys
import textwrap
import time
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import minidl
from minidl.autograd import engine
from minidl.backend import Backend, backend_for, register_backend
from minidl.backend.reference import conv as conv_kernels
from minidl.backend.reference.broadcasting import unbroadcast_axes
from minidl.ops import base, reduction
from minidl.ops.base import registry
from minidl.ops.normalization import Normalize
from minidl.ops.reduction import Reduction, SumTo
from minidl.ops.samples import Draw
from minidl.tensor import Tensor
from tests.composites import COMPOSITES
from tests.drawing import Random
from tests.gradient_checks import KINKS, OPS, check_derivatives, check_kink, check_manners, check_paths, check_sample

DRAWS = 80
ROOT = Path(minidl.__file__).parents[1]

# -- what is spoilt ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """A function to spoil.

    Attributes:
        names: what tests it: ops, composites or "paths". A gradient that several ops share must be missed by each.
        result: whether to spoil what it returns: "array", "first" (of the tuple it returns) or "" (it is no array).
        reference: run on the reference kernels, whatever the CPU overrides.
    """

    function: types.FunctionType
    names: tuple[str, ...]
    result: str = "array"
    helper: bool = True
    reference: bool = False

    @property
    def path(self) -> str:
        return str(Path(self.function.__code__.co_filename).relative_to(ROOT))


CONVOLUTIONS = ("Conv2d", "Conv2dReLU", "Conv2dInputGrad", "Conv2dWeightGrad")
POOLS = ("MaxPool2d", "MaxPool2dScatter", "MaxPool2dGather", "SumPool2d", "SumPool2dGrad")
KERNELS = {
    "normalize_grad": (("Normalize", "NormalizeThen"), "array"),
    "relu6_grad": (("NormalizeThen",), "array"),
    "conv2d_input_grad": (CONVOLUTIONS, "array"),
    "conv2d_weight_grad": (CONVOLUTIONS, "array"),
    "fold_nhwc": (CONVOLUTIONS, "array"),
    "unfold_nhwc": (CONVOLUTIONS, "array"),
    "pad_nhwc": (CONVOLUTIONS + POOLS, "array"),
    "_columns": (CONVOLUTIONS, "array"),
    "max_pool2d_scatter": (POOLS, "array"),
    "max_pool2d_gather": (POOLS, "array"),
    "sum_pool2d_grad": (POOLS, "array"),
    "_crop": (POOLS, "array"),
    "scatter_add": (("ScatterAdd", "GatherGrad"), ""),
    "relu_grad": (("ReLU", "ReLUGrad", "LinearReLU", "Conv2dReLU"), "array"),
    "sigmoid_grad": (("Sigmoid",), "array"),
    "hardtanh_grad": (("Hardtanh", "HardtanhGrad"), "array"),
    "cross_entropy_grad": (("CrossEntropy",), "array"),
    "softmax_grad": (("Softmax",), "array"),
    "log_softmax_grad": (("LogSoftmax",), "array"),
}


def beside(op: str, name: str) -> Any:
    """A function from the file that an op stands in."""
    return getattr(sys.modules[registry[op].__module__], name)


HELPERS = [
    Target(base.sum_to, ("Add", "Mul", "BroadcastTo", "MatMul")),
    Target(unbroadcast_axes, ("Add", "Mul", "BroadcastTo", "MatMul", "SumTo"), ""),
    Target(SumTo.forward, ("SumTo", "Add")),
    Target(Reduction.spread, ("Sum", "Mean", "Max", "Var", "LogSumExp", "Norm2")),
    Target(Normalize.plain_gradient, ("Normalize",)),
    Target(beside("Maximum", "_share"), ("Maximum", "Minimum")),
    Target(reduction.safe_sqrt, ("std",)),
    Target(beside("Gather", "_along"), ("Gather", "GatherGrad"), ""),
    Target(beside("WriteView", "_look"), ("WriteView",)),
    Target(engine._add, ("paths",), "first"),
    Target(conv_kernels.taps, CONVOLUTIONS + POOLS, "", reference=True),
    Target(conv_kernels._weight_matrix, CONVOLUTIONS, reference=True),
    Target(conv_kernels._split_groups, CONVOLUTIONS, reference=True),
    Target(conv_kernels._merge_groups, CONVOLUTIONS, reference=True),
]


def targets() -> list[Target]:
    """Every gradient of every op, and the functions that they call. Kernels in their reference form: what overrides them is
    held to that by tests/test_kernels.py."""
    users: dict[types.FunctionType, list[str]] = {}
    for name in OPS:
        for function, *_ in registry[name].rules:
            users.setdefault(function, []).append(name)  # type: ignore[arg-type]
    found = [Target(function, tuple(names), helper=False) for function, names in users.items()] + HELPERS
    for name, (names, result) in KERNELS.items():
        found.append(Target(getattr(Backend, name), names, result, reference=True))
    return found


# Spoilt code that computes the same. The key is the function and the change.
_ZERO = "0 = −0"
EQUIVALENT: dict[tuple[str, str], str] = {
    ("Step.vjp", "return g * 0  →  return zero(g * 0)"): _ZERO,
    ("Step.vjp", "return g * 0  →  return negative(g * 0)"): _ZERO,
    ("FloorDivide.vjp_a", "return g * 0  →  return zero(g * 0)"): _ZERO,
    ("FloorDivide.vjp_a", "return g * 0  →  return negative(g * 0)"): _ZERO,
    ("FloorDivide.vjp_b", "return g * 0  →  return zero(g * 0)"): _ZERO,
    ("FloorDivide.vjp_b", "return g * 0  →  return negative(g * 0)"): _ZERO,
}
# Their arguments only decide how many images a kernel takes at a time, not what it computes.
HARMLESS = {"blocks"}

# -- how it is spoilt --------------------------------------------------------------------------------------------------


def zero(value: Any) -> Any:
    """A result of nothing but zeros, of the same kind."""
    return _each(value, lambda x: x * 0)


def negative(value: Any) -> Any:
    """A result of the wrong sign."""
    return _each(value, lambda x: -x)


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(_each(v, change) for v in value)
    return change(value) if isinstance(value, (Tensor, np.ndarray, np.generic)) else value


@dataclass
class Mutant:
    """One change of one function."""

    target: Target
    line: int
    change: str
    code: types.CodeType = field(repr=False)

    @property
    def key(self) -> tuple[str, str]:
        return self.target.function.__qualname__, self.change

    def __str__(self) -> str:
        return f"{self.target.path}:{self.line}  {'/'.join(self.target.names[:3])}  {self.key[0]}:  {self.change}"


Change = Callable[[Any], ast.AST]  # from a node (of a copy of the tree) to what takes its place


def changes_of(node: ast.AST, result: str) -> Iterator[Change]:
    """The ways to spoil one node of the syntax tree."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div)):
        yield lambda n: n.left
        if isinstance(node.op, ast.Sub):
            yield lambda n: ast.UnaryOp(ast.USub(), n.right)
        elif isinstance(node.op, ast.Div):
            if ast.unparse(node.left) != "1":
                yield lambda n: ast.BinOp(ast.Constant(1), ast.Div(), n.right)
        else:
            yield lambda n: n.right
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        yield lambda n: n.operand
    elif isinstance(node, ast.AugAssign) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div)):
        yield lambda n: ast.Pass()
        if not isinstance(node.op, ast.Sub):
            yield lambda n: ast.Assign([n.target], n.value)
    elif isinstance(node, ast.Return) and node.value is not None and result:
        for name in ("zero", "negative"):
            if isinstance(node.value, ast.Tuple):
                for i in range(1 if result == "first" else len(node.value.elts)):
                    yield lambda n, name=name, i=i: _with_element(n, i, name)
            else:
                yield lambda n, name=name: ast.Return(_call(name, n.value))


def _call(name: str, value: ast.expr) -> ast.expr:
    return ast.Call(ast.Name(f"_mutant_{name}", ast.Load()), [value], [])


def _with_element(node: ast.Return, i: int, name: str) -> ast.AST:
    assert isinstance(node.value, ast.Tuple)
    node.value.elts[i] = _call(name, node.value.elts[i])
    return node


class _Replace(ast.NodeTransformer):
    def __init__(self, number: int, change: Change) -> None:
        self.number, self.change, self.text = number, change, ""

    def visit(self, node: ast.AST) -> ast.AST:
        if getattr(node, "number", None) != self.number:
            return self.generic_visit(node)
        before = ast.unparse(node)
        new = ast.copy_location(self.change(node), node)
        after = ast.unparse(new).replace("_mutant_", "")
        self.text = f"{before}  →  {after}"
        return new


def mutants_of(target: Target) -> list[Mutant]:
    """Every way to spoil one function."""
    function = target.function
    lines, start = inspect.getsourcelines(function)
    tree = ast.parse(textwrap.dedent("".join(lines)))
    ast.increment_lineno(tree, start - 1)
    for number, node in enumerate(ast.walk(tree)):
        node.number = number  # type: ignore[attr-defined]
    harmless = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "attr", "") in HARMLESS]
    skipped = {id(n) for call in harmless for n in ast.walk(call)}
    found = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        for change in changes_of(node, target.result):
            replace = _Replace(node.number, change)  # type: ignore[attr-defined]
            spoilt = ast.fix_missing_locations(replace.visit(copy.deepcopy(tree)))
            space: dict[str, Any] = {}
            flags = __future__.annotations.compiler_flag
            code = compile(spoilt, function.__code__.co_filename, "exec", flags=flags, dont_inherit=True)
            exec(code, dict(function.__globals__), space)
            made = space[function.__name__].__code__
            assert made.co_freevars == function.__code__.co_freevars == ()
            found.append(Mutant(target, node.lineno, replace.text, made))  # type: ignore[attr-defined]
    return found


@contextmanager
def spoilt(mutant: Mutant) -> Iterator[None]:
    """Put the mutant's code into the function itself, so that everything that refers to the function runs it."""
    function = mutant.target.function
    original = function.__code__
    function.__globals__.update(_mutant_zero=zero, _mutant_negative=negative)
    function.__code__ = mutant.code
    try:
        yield
    finally:
        function.__code__ = original
        del function.__globals__["_mutant_zero"], function.__globals__["_mutant_negative"]


@contextmanager
def reference_kernels() -> Iterator[None]:
    """Let NumPy arrays run on the reference kernels."""
    usual = backend_for("cpu")
    register_backend(Backend("cpu", np, np.ndarray))
    try:
        yield
    finally:
        register_backend(usual)


# -- the verdict -------------------------------------------------------------------------------------------------------


def check(name: str, seed: int) -> None:
    """One draw of what ``test_gradients.py`` checks under this name."""
    draw = Draw(Random(seed))
    if name == "paths":
        check_paths(draw)
    elif name in COMPOSITES:
        check_sample(COMPOSITES[name](draw), draw)
    else:
        check_derivatives(registry[name], draw)
        check_manners(registry[name], draw)


def noticed(name: str, draws: int) -> bool:
    """Whether the tests fail."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            for kink in KINKS.get(name, ()):
                check_kink(kink)
            for seed in range(draws):
                check(name, seed)
        except Exception:
            return True
    return False


def unfit(mutants: list[Mutant], draws: int = DRAWS) -> list[str]:
    """The tests among those that the mutants need that fail already without any change, and so notice nothing."""
    names = {(name, m.target.reference) for m in mutants for name in m.target.names}
    failing = []
    for name, reference in sorted(names):
        with reference_kernels() if reference else nullcontext():
            if noticed(name, draws):
                failing.append(name)
    return failing


def survives(mutant: Mutant, draws: int = DRAWS) -> bool:
    """Whether the tests pass in spite of the change."""
    target = mutant.target
    with spoilt(mutant):
        if target.reference:
            with reference_kernels():
                return not any(noticed(name, draws) for name in target.names)
        verdict = (noticed(name, draws) for name in target.names)
        return not (any(verdict) if target.helper else all(verdict))


def collect(op: str | None = None, sample: int | None = None, seed: int = 0) -> list[Mutant]:
    """The mutants to try: all, those of one op or helper, or a random few (without those known to be equivalent)."""
    chosen = [t for t in targets() if op is None or op == t.function.__name__ or (op in t.names and not t.helper)]
    mutants = [m for t in chosen for m in mutants_of(t)]
    if sample is not None:
        mutants = [m for m in mutants if m.key not in EQUIVALENT]
        mutants = random.Random(seed).sample(mutants, min(sample, len(mutants)))
    return mutants


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--op", help="only this op, or helper function")
    parser.add_argument("--sample", type=int, help="only this many, chosen at random")
    parser.add_argument("--seed", type=int, default=0, help="of the choice")
    parser.add_argument("--draws", type=int, default=DRAWS, help=f"how often to check each (default {DRAWS})")
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    mutants = collect(options.op, options.sample, options.seed)
    if not mutants:
        parser.error(f"there is no op or helper {options.op!r}")
    if failing := unfit(mutants, options.draws):
        print(f"without any change these tests fail: {', '.join(failing)}")
        return 1
    alive = [m for m in mutants if survives(m, options.draws)]
    surprising = [m for m in alive if m.key not in EQUIVALENT]
    for mutant in surprising:
        print(f"survived  {mutant}")
    stale = set(EQUIVALENT) - {m.key for m in alive} if options.op is None and options.sample is None else set()
    for function, change in sorted(stale):
        print(f"stale     EQUIVALENT[{function!r}, {change!r}]: it is noticed, or there is no such change")
    seconds = time.perf_counter() - began
    equivalent = len(alive) - len(surprising)
    print(f"{len(mutants)} mutants, {len(surprising)} survived, {equivalent} equivalent, {seconds:.0f} s")
    return 1 if surprising or stale else 0


if __name__ == "__main__":
    sys.exit(main())
