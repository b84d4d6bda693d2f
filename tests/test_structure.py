"""The plan of the house: who may import whom, how large the core may be, and that what is public is documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidl

PACKAGE = Path(minidl.__file__).parent

# For each part of the package, the parts that it must not know. Imports run one way:
# training → models, transfer, ensemble → nn, optim → ops → tensor, autograd → backend.
TOP = {"training"}
MODELS = {"models", "transfer", "ensemble"} | TOP
LAYERS = {"nn", "optim"} | MODELS
OPS = {"ops", "random", "testing"} | LAYERS
CORE = {"tensor", "autograd"} | OPS
FORBIDDEN = {
    "backend": CORE | {"data", "datasets", "transforms", "io"},
    "tensor": OPS | {"data", "datasets", "transforms", "io"},
    "autograd": OPS | {"data", "datasets", "transforms", "io"},
    "ops": LAYERS | {"data", "datasets", "transforms", "io"},
    "nn": MODELS | {"optim", "data", "datasets", "transforms"},
    "optim": MODELS | {"nn", "data", "datasets", "transforms"},
    "models": TOP,
    "transfer": TOP,
    "ensemble": TOP,
    "data": {"autograd"} | {"ops"} | LAYERS,
    "transforms": {"autograd"} | {"ops"} | LAYERS,
    "datasets": {"autograd"} | {"ops"} | LAYERS,
}
# A function may import what its module may not, where a method hands on to it: the reader finds the callee in one step.
LATE = {("tensor", "autograd")}

MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    """The part of the package that a file belongs to: ``nn`` for minidl/nn/linear.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(tree: ast.AST, late: bool = False) -> Iterator[tuple[str, int, bool]]:
    """Everything imported, as (full name, line, inside a function); not what only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if is_for_types(node):
            for other in node.orelse:  # type: ignore[attr-defined]
                yield from imports(ast.Module([other], []), late)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, late
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the full name"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno, late
        else:
            yield from imports(node, late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))


def test_the_walk_over_imports_sees_them() -> None:
    source = """
import a.b
if TYPE_CHECKING:
    import c
else:
    import d
class K:
    def f(self):
        try:
            from e import f, g
        finally:
            pass
"""
    assert list(imports(ast.parse(source))) == [
        ("a.b", 2, False), ("d", 6, False), ("e.f", 10, True), ("e.g", 10, True)
    ]  # fmt: skip


@pytest.mark.parametrize("part", FORBIDDEN)
def test_imports_run_one_way(part: str) -> None:
    wrong = []
    files = [path for path in MODULES if part_of(path) == part]
    for path in files:
        for name, line, late in imports(ast.parse(path.read_text(encoding="utf-8"))):
            package, _, rest = name.partition(".")
            other = rest.split(".")[0]
            allowed = other == part or (late and (part, other) in LATE)
            if package == "minidl" and other in FORBIDDEN[part] and not allowed:
                wrong.append(f"{path.relative_to(PACKAGE.parent)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)
    assert files or not (PACKAGE / part).exists()


@pytest.mark.parametrize("module", ["torch", "cupy", "numba", "matplotlib"])
def test_what_is_optional_is_imported_only_in_functions(module: str) -> None:
    wrong = [
        f"{path.relative_to(PACKAGE.parent)}:{line}"
        for path in MODULES
        if not (
            module == "numba" and path.is_relative_to(PACKAGE / "backend" / "cpu" / "fast")
        )  # imported when Numba is there
        for name, line, late in imports(ast.parse(path.read_text(encoding="utf-8")))
        if name.split(".")[0] == module and (module == "torch" or not late)
    ]
    assert not wrong


def test_importing_minidl_brings_nothing_optional_with_it() -> None:
    code = "import sys, minidl; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "cupy", "cupyx", "matplotlib", "hypothesis", "pytest"} & set(done.stdout.split())
    assert "numpy" in done.stdout.split()


def test_the_core_stays_small() -> None:
    """The Tensor and automatic differentiation, without the ops: under 1000 lines of code."""
    files = [PACKAGE / "tensor.py", *sorted((PACKAGE / "autograd").glob("*.py"))]
    lines = {path.name: code_lines(path.read_text(encoding="utf-8")) for path in files}
    assert 500 < sum(lines.values()) < 1000, lines


def code_lines(source: str) -> int:
    """Lines of code: without blank lines, comments and docstrings."""
    documented = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            documented |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = enumerate(source.splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and i not in documented for i, line in lines)


def test_lines_of_code_are_counted() -> None:
    assert code_lines('"""Doc."""\n\n# note\ndef f():\n    """Two\n    lines."""\n    return 1  # one\n') == 2


def modules() -> list[str]:
    names = [m.name for m in pkgutil.walk_packages([str(PACKAGE)], "minidl.")]
    return ["minidl", *(n for n in names if not any(part.startswith("_") for part in n.split(".")))]


@pytest.mark.parametrize("name", modules())
def test_what_is_public_is_documented(name: str) -> None:
    """Every module, and every public class, method and function defined in it, has a docstring."""
    module = importlib.import_module(name)
    missing = [] if inspect.getdoc(module) or not Path(module.__file__).stat().st_size else [name]
    for key, thing in vars(module).items():
        if key.startswith("_") or getattr(thing, "__module__", None) != name:
            continue
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and not thing.__doc__:
            missing.append(f"{name}.{key}")
    assert not missing


EXEMPT = {"forward", "samples", "extra_repr", "vjp", "axes", "spread", "size"}


def test_the_methods_users_see_are_documented() -> None:
    """The public methods of what ``minidl``, ``nn``, ``optim``, ``data`` … export (inherited documentation counts)."""
    missing = []
    for space in (minidl, minidl.nn, minidl.optim, minidl.optim.lr_scheduler, minidl.data, minidl.autograd):
        for key, thing in vars(space).items():
            if key.startswith("_") or not inspect.isclass(thing) or not thing.__module__.startswith("minidl"):
                continue
            for attribute, method in vars(thing).items():
                if attribute.startswith("_") or attribute in EXEMPT or not inspect.isfunction(method):
                    continue
                if not inspect.getdoc(getattr(thing, attribute)):
                    missing.append(f"{thing.__module__}.{key}.{attribute}")
    assert not sorted(set(missing))
