"""Reads the data in a pickle without running it: lists, dicts, numbers, text, bytes and plain NumPy arrays.

A pickle is a program, and ``pickle.load`` calls whatever it names. Here nothing that it names is looked up or called. The
opcodes are decoded by the standard library's ``pickletools.genops``, which only reads, and those that build data are carried
out. A global is a pair of names, and there are four that mean something, in the one pattern by which NumPy writes arrays; every
other one ends the reading with an error.
"""

from __future__ import annotations

import math
import os
import pickletools
import re
import reprlib
from typing import IO, Any, NamedTuple

import numpy as np


class Name(NamedTuple):
    """A global that the pickle names; it is never looked up."""

    module: str
    attribute: str


RECONSTRUCT = {Name(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
NDARRAY = Name("numpy", "ndarray")
DTYPE = Name("numpy", "dtype")
ENCODE = Name("_codecs", "encode")  # how Python 3 writes bytes in protocol 2
KNOWN = {*RECONSTRUCT, NDARRAY, DTYPE, ENCODE}

PLAIN = re.compile(r"[biuf][1248]")  # no objects, no records, no text


class _Array:
    """An array that has been announced; its shape, dtype and values come later (the opcode BUILD)."""

    def __init__(self) -> None:
        self.places: list[int] = []  # where it stands in the memo


class _Dtype:
    """A dtype; its byte order comes later."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = "="


_MARK = object()
brief = reprlib.repr  # in messages: what a small file builds of parts that it shares may take for ever to print


def read(path: str | os.PathLike[str]) -> Any:
    """Return what is in a pickle of protocols 2 to 4 that holds plain data, however deep: dicts with keys of text, bytes or
    integers, lists, tuples, numbers, text, bytes, None, and NumPy arrays of numbers.

    Text that Python 2 wrote becomes ``str``, byte for byte (latin-1). Arrays are read-only.

    Raises:
        ValueError: if the pickle names or does anything else, or is damaged. The message has the path, the position, and the
            global or the opcode.

    Example:
        >>> batch = read("cifar-10-batches-py/data_batch_1")  # doctest: +SKIP
        >>> batch["data"].shape  # doctest: +SKIP
        (10000, 3072)
    """
    with open(path, "rb") as file:
        return read_from(file, path, Machine())


def read_from(file: IO[bytes], path: str | os.PathLike[str], machine: Machine) -> Any:
    """As ``read``, from an open file, which is left behind the pickle's end; ``path`` is for messages.

    Raises:
        ValueError: as ``read``.
    """
    position: int | None = 0
    try:
        for opcode, argument, position in pickletools.genops(file):  # noqa: B007  (the error says where)
            if opcode.name == "STOP":
                (result,) = machine.stack
                return result
            machine.do(opcode.name, argument)
    except OSError:
        raise
    except Exception as error:  # an index, a key or a type that does not fit: the pickle is not what it should be
        reason = str(error) if isinstance(error, RefusedError) else f"damaged ({type(error).__name__}: {error})"
        raise ValueError(f"{path}, at byte {position}: {reason}") from error
    raise AssertionError("genops ends with STOP or raises")


class RefusedError(ValueError):
    """The pickle holds more than plain data."""


class Machine:
    """The stack and the memo of a pickle, and what each opcode does to them.

    A subclass may know further globals (``known``, and what a call of one stands for: ``reduce``) and persistent ids.
    """

    known: set[Name] = set()

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def do(self, name: str, argument: Any) -> None:
        """Carry out one opcode."""
        push = self.stack.append
        if name in _VALUES:
            push(argument)
        elif name in _CONSTANTS:
            push(_CONSTANTS[name])
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            push([] if name == "EMPTY_LIST" else {})
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.remember(len(self.memo) if name == "MEMOIZE" else argument)
        elif name in ("BINGET", "LONG_BINGET"):
            push(self.memo[argument])
        elif name == "MARK":
            push(_MARK)
        elif name == "TUPLE":
            push(tuple(self.since_mark()))
        elif name in _TUPLES:
            push(self.pop(_TUPLES[name]))
        elif name in ("APPEND", "APPENDS"):
            values = self.pop(1) if name == "APPEND" else self.since_mark()
            _as(list, self.stack[-1]).extend(values)
        elif name in ("SETITEM", "SETITEMS"):
            self.set_items(self.pop(2) if name == "SETITEM" else self.since_mark())
        elif name == "GLOBAL":
            push(self.named(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            push(self.named(*self.pop(2)))
        elif name == "REDUCE":
            called, arguments = self.pop(2)
            push(self.reduce(_as(Name, called), arguments))
        elif name == "BUILD":
            self.build(*self.pop(2))
        elif name == "BINPERSID":
            push(self.persistent(*self.pop(1)))
        elif name not in ("PROTO", "FRAME"):
            raise RefusedError(f"the opcode {name} is not allowed: the file holds more than plain data")

    def named(self, module: Any, attribute: Any) -> Name:
        """A global, if it is one that means something here."""
        name = Name(_as(str, module), _as(str, attribute))
        if name not in KNOWN and name not in self.known:
            if name.module.split(".")[0] in ("torch", "numpy", "collections"):  # as a rule a harmless thing
                raise RefusedError(f"{module}.{attribute} is not supported: only plain data and numbers are read")
            raise RefusedError(
                f"the global {module}.{attribute} is not allowed: reading plain data needs nothing but NumPy's arrays. "
                "The file may try to run a program; do not open it with pickle"
            )
        return name

    def reduce(self, name: Name, arguments: Any) -> Any:
        """What a call stands for. (Nothing is called.)"""
        return _reduce(name, arguments)

    def persistent(self, identity: Any) -> Any:
        """What a persistent id stands for."""
        raise RefusedError("the opcode BINPERSID is not allowed: the file holds more than plain data")

    def pop(self, count: int) -> tuple[Any, ...]:
        """Take the last ``count`` values from the stack."""
        values = tuple(self.stack[-count:])
        if len(values) < count or any(v is _MARK for v in values):
            raise IndexError("too few values on the stack")
        del self.stack[-count:]
        return values

    def since_mark(self) -> list[Any]:
        """Take the values since the last mark, and the mark, from the stack."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:  # an IndexError if there is none: ``at`` runs below the first value
            at -= 1
        values = self.stack[at + 1 :]
        del self.stack[at:]
        return values

    def remember(self, place: int) -> None:
        """Put the top of the stack into the memo."""
        top = self.memo[place] = self.stack[-1]
        if isinstance(top, _Array):
            top.places.append(place)

    def set_items(self, flat: tuple[Any, ...] | list[Any]) -> None:
        """Key, value, key, value, …: into the dict on top of the stack."""
        target = _as(dict, self.stack[-1])
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            if not isinstance(key, (str, bytes, int)):
                raise RefusedError(
                    f"a dict's key is of type {type(key).__name__}; text, bytes and integers are allowed"
                )
            target[key] = value

    def build(self, thing: Any, state: Any) -> None:
        """Give a dtype its byte order; or put the array in the place of one that was announced."""
        if isinstance(thing, _Dtype):
            _, thing.order, *others = _as(tuple, state)
            if thing.order not in ("<", ">", "|", "=") or any(x not in (None, -1, 0) for x in others):
                raise RefusedError(f"a dtype with the state {brief(state)} is not one of plain numbers")
            self.stack.append(thing)
        elif isinstance(thing, _Array):
            _, *described = _as(tuple, state)  # the version comes first
            array = array_of(*described)
            self.stack.append(array)
            for place in thing.places:
                self.memo[place] = array
        else:
            raise RefusedError(f"the opcode BUILD is not allowed for {type(thing).__name__}")


_VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _as(kind: type[Any], value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected a {kind.__name__}, found a {type(value).__name__}")
    return value


def _reduce(name: Name, arguments: Any) -> Any:
    """What a call in NumPy's pattern stands for. (Nothing is called.)"""
    if name in RECONSTRUCT and arguments in ((NDARRAY, (0,), b"b"), (NDARRAY, (0,), "b")):
        return _Array()
    if name == DTYPE and type(arguments) is tuple and arguments[1:] == (0, 1):
        code = arguments[0]
        if type(code) is str and PLAIN.fullmatch(code):
            return _Dtype(code)
        raise RefusedError(f"an array of dtype {brief(code)} is not allowed, only numbers are")
    if name == ENCODE and type(arguments) is tuple and arguments[1:] == ("latin1",):
        return _as(str, arguments[0]).encode("latin-1")
    raise RefusedError(f"the call of {'.'.join(name)} is not NumPy's way to write arrays")


def array_of(shape: Any, dtype: Any, fortran: Any, values: Any) -> np.ndarray:
    """An array as NumPy describes it in a pickle."""
    order = {"|": "", "=": "="}.get(_as(_Dtype, dtype).order, dtype.order)
    plain = np.dtype(order + dtype.code)
    content = values.encode("latin-1") if type(values) is str else _as(bytes, values)
    if not all(type(length) is int and length >= 0 for length in _as(tuple, shape)):
        raise TypeError(f"shape {brief(shape)}")
    if len(content) != math.prod(shape) * plain.itemsize:
        raise RefusedError(
            f"an array of shape {shape} and dtype {plain} needs {math.prod(shape) * plain.itemsize} bytes of values, "
            f"found {len(content)}"
        )
    return np.frombuffer(content, plain).reshape(shape, order="F" if fortran else "C")
