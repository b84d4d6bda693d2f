"""Reads ``cupy_names.txt``: the names that CuPy has and the parameters its functions take."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple


class Parameters(NamedTuple):
    """A function's parameters.

    ``positional`` are the names that may be given by position, in order; ``named`` are all that may be given by name.
    ``varargs`` and ``varkw`` tell whether it also takes ``*args`` and ``**kwargs``.
    """

    positional: tuple[str, ...]
    named: frozenset[str]
    varargs: bool
    varkw: bool

    @staticmethod
    def parse(text: str) -> Parameters:
        positional: list[str] = []
        named: set[str] = set()
        varargs = varkw = only_named = False
        for word in filter(None, text.split(",")):
            name = word.strip("*=")
            if word.startswith("**"):
                varkw = True
            elif word.startswith("*"):
                only_named = True
                varargs = varargs or bool(name)
            else:
                named.add(name)
                if not only_named:
                    positional.append(name)
        return Parameters(tuple(positional), frozenset(named), varargs, varkw)

    def check(self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise the TypeError that Python raises for a call with a parameter too many or unknown."""
        if len(args) > len(self.positional) and not self.varargs:
            raise TypeError(
                f"{function}() takes {len(self.positional)} positional arguments but {len(args)} were given"
            )
        for name in kwargs:
            if name not in self.named and not self.varkw:
                raise TypeError(f"{function}() got an unexpected keyword argument '{name}'")


class Entry(NamedTuple):
    """One name: its kind and what the line says besides."""

    kind: str
    rest: str


def _read() -> dict[str, Entry]:
    entries = {}
    for line in Path(__file__).with_name("cupy_names.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            name, kind, *rest = line.split(" ", 2)
            entries[name] = Entry(kind, rest[0] if rest else "")
    return entries


NAMES = _read()


def names_in(owner: str) -> list[str]:
    """Return the names that stand directly in a module or class, such as ``"cupy.linalg"``."""
    return [name[len(owner) + 1 :] for name in NAMES if name.rpartition(".")[0] == owner]
