"""How a kernel is compiled: Numba, without Python's lock, kept on disk for the next process.

The machine code lies beside the source (``__pycache__``), or, where that cannot be written, in the user's cache folder
(``NUMBA_CACHE_DIR`` names another). Numba writes there atomically, so processes may start at the same time.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from llvmlite import binding
from numba import types
from numba.core import event
from numba.core.caching import FunctionCache
from numba.core.ccallback import CFunc
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.runtime import rtsys
from numba.extending import intrinsic

from minidl.backend.cpu import ahead

_STAMP: tuple[tuple[str, float, int], ...] = tuple(
    (path.name, path.stat().st_mtime, path.stat().st_size) for path in sorted(Path(__file__).parent.glob("*.py"))
)
# Whether this is a version of which is known that its parts can be exchanged as below.
IS_KNOWN = (0, 61) <= numba.version_info.short <= (0, 68)
_LIBERTIES: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}
_OPTIONS: dict[str, Any] = {**_LIBERTIES, "nogil": True, "no_cfunc_wrapper": True}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile on the first call. A product and a sum may be contracted to one rounding (FMA); no other liberty is taken."""
    compiled = numba.njit(function, cache=True, **_OPTIONS)
    _keep(compiled, function)
    return compiled


class _Cache(FunctionCache):
    """Numba makes its compiler ready, which takes half a second, then looks for machine code on disk. This one looks first."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)


def _keep(compiled: Any, function: Callable[..., Any]) -> None:
    """Numba asks whether a kernel's own file has changed. But it holds code of others too: so let it ask for the whole folder."""
    if IS_KNOWN:
        compiled._cache = _Cache(function)
    index: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if hasattr(index, "_source_stamp"):
        index._source_stamp = _STAMP


def is_kept(kernel: Any) -> bool:
    """Whether machine code of a kernel is on disk that still belongs to its source. True if Numba does not say."""
    index: Any = getattr(getattr(kernel, "_cache", None), "_cache_file", None)
    load = getattr(index, "_load_index", None)
    return load is None or bool(load())


class _Piece(JITCodeLibrary):
    """Code that is linked into kernels as it is: they are optimized, and turned into machine code, as a whole.

    Numba would do both with every piece by itself, too, which takes a fifth of the time and serves nobody.
    """

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        return 0  # there is none

    @property
    def codegen(self) -> Any:
        return self

    def set_env(self, name: str, environment: Any) -> None:
        """Numba's code generator would tell machine code where its constants are."""


class _PieceCompiler(Compiler):
    def define_pipelines(self) -> Any:
        self.state.library = _Piece(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        self.state.library.enable_object_caching()
        return super().define_pipelines()


_PIECES: dict[str, Any] = {"no_cpython_wrapper": True}  # Python never calls them
if IS_KNOWN:
    _PIECES["pipeline_class"] = _PieceCompiler


_names: set[tuple[str, str]] = set()


def inner(function: Callable[..., Any], name: str = "", **options: Any) -> Any:
    """Compile as a piece of other kernels, which alone are kept on disk.

    Machine code calls pieces by module, name, types, and a number that Numba counts anew in every process. So a kernel from disk
    may take another process's piece of the same name for its own: a function that makes several pieces must ``name`` them.
    (Intrinsics are written into whoever calls them, and have no name there.)

    Raises:
        ValueError: if there is one of that name.
    """
    if name:
        function.__qualname__ += f"_{name}"
    known = function.__module__, function.__qualname__
    if known in _names:
        raise ValueError(f"there is a piece {'.'.join(known)} already: its machine code might be taken for this one's")
    _names.add(known)
    return numba.njit(function, **{**_OPTIONS, **_PIECES, **options})


def in_any_order(function: Callable[..., Any]) -> Any:
    """An ``inner`` function whose numbers may be added in any order: only then LLVM makes vectors of a loop over a sum.

    The order is the same whenever the same code runs on as many numbers.
    """
    return inner(function, fastmath={"contract", "reassoc"})


def inline(function: Callable[..., Any]) -> Any:
    """An ``inner`` function of numbers, written into whoever calls it: LLVM makes no vectors of a loop that calls a function."""
    return inner(function, forceinline=True)


def symbol(function: Callable[..., None]) -> Any:
    """Compile at once a function of whole numbers (int64), which other kernels call by its name.

    A kernel that another one calls is compiled again as a part of that one; this is for the large ones that many call.
    """
    count = function.__code__.co_argcount
    compiled = CFunc(function, ((types.int64,) * count, types.void), {}, _LIBERTIES)  # as ``numba.cfunc`` does
    compiled.enable_caching()
    _keep(compiled, function)
    if not is_kept(compiled):  # these are the first to be compiled: so nothing is
        ahead.start()
    compiled.compile()
    _kept.append(compiled)
    name = f"minidl_{function.__name__}"
    binding.add_symbol(name, compiled.address)
    return types.ExternalFunction(name, types.void(*[types.int64] * count))


@intrinsic
def data(typing_context, array):
    """The address of an array's first number. (``array.ctypes.data`` is the same, and takes long to compile.)"""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = context.make_array(array)(context, builder, arguments[0])
        return builder.ptrtoint(found.data, context.get_value_type(types.int64))

    return types.int64(array), generate


_kept: list[Any] = []  # or their machine code would be freed


class _Compiling(event.Listener):
    """Says what is being compiled, once: the first kernels of a new installation take some seconds.

    Python's garbage collector rests meanwhile. It would look through all that the compiler has made, again and again, which
    takes a tenth of the time. (Numba compiles one kernel at a time, and the pieces of a kernel within it.)
    """

    said = False
    depth, collects = 0, False

    def on_start(self, event: Any) -> None:
        if self.depth == 0:
            _Compiling.collects = gc.isenabled()
            gc.disable()
        _Compiling.depth += 1
        dispatcher = event.data["dispatcher"]
        if dispatcher.py_func.__module__.startswith("minidl.") and not self.said:
            _Compiling.said = True
            print(
                "minidl: compiling kernels for this machine (once; they are kept on disk) …",
                file=sys.stderr,
                flush=True,
            )

    def on_end(self, event: Any) -> None:
        _Compiling.depth -= 1
        if self.depth == 0 and self.collects:
            gc.enable()


event.register("numba:compile", _Compiling())


@kernel
def _probe(n):
    return n + 1


def check() -> None:
    """Compile something small, or load it.

    Raises:
        RuntimeError: if the result is wrong. (A broken compiler raises whatever it raises.)
    """
    if _probe(1) != 2:
        raise RuntimeError("a compiled function gave a wrong result")
