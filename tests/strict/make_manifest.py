"""Write ``cupy_names.txt``: what CuPy has, read off the real wheel.

The wheel imports on a machine without a GPU, so this needs none. CuPy is no dependency of the tests; only this script
needs it, once for every CuPy version that is to be stood in for:

    pip install --target /tmp/cupy cupy-cuda13x==14.2.0
    PYTHONPATH=/tmp/cupy python tests/strict/make_manifest.py

One line of the file is one name: its full name, its kind and, after that,

- for a function: its parameters as ``a,axis=,out=``, in order; ``=`` marks one with a default, ``*`` and ``**`` stand
  as in Python; nothing at all means no parameters, or that the signature could not be read;
- for a ufunc: the number of inputs and of outputs, and ``at`` if the ufunc's ``at`` method works.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from typing import Any

MODULES = ("cupy", "cupy.linalg", "cupy.lib.stride_tricks", "cupy.random")
CLASSES = ("cupy.ndarray", "cupy.random.Generator")


def parameters_of(function: Any) -> str:
    """Return the parameters as one word; from the docstring's first line where the function was compiled by Cython."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return parameters_in_docstring((function.__doc__ or "").partition("\n")[0])
    words, starred = [], False
    for p in found:
        if p.kind is p.VAR_POSITIONAL:
            words.append("*" + p.name)
            starred = True
        elif p.kind is p.VAR_KEYWORD:
            words.append("**" + p.name)
        else:
            if p.kind is p.KEYWORD_ONLY and not starred:
                words.append("*")
                starred = True
            words.append(p.name if p.default is p.empty else p.name + "=")
    return ",".join(w for w in words if w != "self")


def parameters_in_docstring(line: str) -> str:
    """``name(self, int axis=-1, *, kind=None) -> type`` as ``axis=,*,kind=``; empty if the line is no signature."""
    head, bracket, rest = line.partition("(")
    if not bracket or ")" not in rest or not head.replace(".", "").replace("_", "").isalnum():
        return ""
    words = []
    for part in filter(None, rest.rpartition(")")[0].split(", ")):
        name, equals, default = part.partition("=")
        if equals:
            ast.literal_eval(default)  # a default that holds a comma would have been cut in two: notice it
        words.append(name.split()[-1] + equals)
    return ",".join(w for w in words if w != "self")


def line_of(name: str, value: Any) -> str:
    kind = type(value).__name__
    if kind == "ufunc":
        return f"{name} ufunc {value.nin} {value.nout}{' at' if value._scatter_op else ''}"
    if kind in ("function", "builtin_function_or_method", "method_descriptor", "cython_function_or_method"):
        return f"{name} function {parameters_of(value)}".rstrip()
    if kind == "_GUFunc":
        return f"{name} function {parameters_of(value)}"
    if isinstance(value, type):
        return f"{name} type"
    if kind in ("float", "bool", "NoneType"):
        return f"{name} constant"
    if kind in ("module", "_LazyModule"):
        return f"{name} module"
    return f"{name} attribute"


def main() -> None:
    import cupy

    lines = []
    for module in MODULES:
        owner = importlib.import_module(module)
        lines += [line_of(f"{module}.{n}", getattr(owner, n)) for n in dir(owner) if not n.startswith("_")]
    for path in CLASSES:
        module, _, name = path.rpartition(".")
        owner = getattr(importlib.import_module(module), name)
        lines += [line_of(f"{path}.{n}", getattr(owner, n)) for n in dir(owner) if not n.startswith("_")]
    target = Path(__file__).with_name("cupy_names.txt")
    head = f"# Made by make_manifest.py from CuPy {cupy.__version__}; not to be edited by hand.\n"
    target.write_text(head + "\n".join(sorted(lines)) + "\n", encoding="utf-8", newline="\n")
    print(f"{len(lines)} names written to {target}")


if __name__ == "__main__":
    main()
