"""Sharing the parts of a compiled kernel among threads that are awake, without Python's lock.

To wake a thread that sleeps, or to hand Python's lock to another thread, can take longer than many kernels compute. So the
threads of the pool (``threads.py``) wait here for a while after each kernel, looking at a word of memory again and again, and
the next kernel finds them awake. Who finds nothing to do for about a millisecond goes to sleep.

A kernel's *body* does a part of the work, ``body(who, part, first, last, *arguments)``: the items ``first`` to ``last``, on
thread ``who`` (0 is the caller), as the given part. Its *entry* shares the body out:

    _double_job = job_of(_double)

    @kernel
    def double(team, *arguments):
        run(team, _double_job(arguments), address_of(arguments))

(and ``hold(arguments)``, if the kernel made some of them itself), where ``team`` comes from ``threads.team``. The plain twin of
``run`` is

    for part in range(parts):
        body(0, part, length * part // parts, length * (part + 1) // parts, *arguments)

What the threads tell each other stands on a *board*: words of memory that are read and written atomically, in one order for all.
That makes this right:

- ``run`` writes the job down, and *opens* the board; helpers add themselves to those *inside*, look whether the board is open,
  and if so draw a number: who is not one too many takes parts until none is left. ``run`` takes parts too, closes the board, and
  waits until nobody is inside. A helper that comes too late sees a closed board, because it says that it is inside before it
  looks.
- One job at a time: a caller that finds another one at work does its parts alone.
"""

from __future__ import annotations

import platform
import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minidl.backend.cpu.fast.jit import inner, kernel
from minidl.backend.cpu.threads import BOARD, LINE

_WORD = ir.IntType(64)
_PAUSE = {"x86_64": "llvm.x86.sse2.pause", "AMD64": "llvm.x86.sse2.pause"}.get(platform.machine())
_yield_core = types.ExternalFunction("sched_yield", types.int32()) if sys.platform != "win32" else None
HELD_UP = 4096  # looks after which a waiting thread offers its core to others: whom it waits for may need it

_WAITING, _CALLED, _LOCK, _OPEN, _INSIDE, _HELPERS, _JOINED, _TAKEN, _PARTS, _LENGTH, _JOB, _ARGUMENTS = range(
    0, LINE * BOARD, LINE
)

# ``_TAKEN`` counts the parts that the caller has taken, from the first one on, and, times this, those that helpers have, from the
# last one back. So each thread tends to get the part whose numbers it made in the kernel before, and finds them in its cache.
_FROM_THE_END = 1 << 32


# -- words that several threads see ------------------------------------------------------------------------------------


def _pointer(builder: ir.IRBuilder, address: Any) -> Any:
    return builder.inttoptr(address, _WORD.as_pointer())


@intrinsic
def _read(typing_context, address):
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_pointer(builder, arguments[0]), "seq_cst", 8)

    return types.int64(types.int64), generate


@intrinsic
def _write(typing_context, address, value):
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        builder.store_atomic(arguments[1], _pointer(builder, arguments[0]), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _changing(operation: str) -> Any:
    """A function that changes a word, and returns what was there before."""

    @intrinsic
    def change(typing_context, address, value):
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            return builder.atomic_rmw(operation, _pointer(builder, arguments[0]), arguments[1], "seq_cst")

        return types.int64(types.int64, types.int64), generate

    return change


_add, _exchange = _changing("add"), _changing("xchg")


@intrinsic
def _pause(typing_context):
    """Tell the processor that this thread only waits."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        if _PAUSE:
            builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), []), _PAUSE), [])
        return context.get_dummy_value()

    return types.void(), generate


# -- a body and its arguments as two addresses -------------------------------------------------------------------------

_JOB_TYPE = ir.FunctionType(ir.VoidType(), [_WORD] * 5)  # (arguments, who, part, first, last)


def _borrowed(context: Any, builder: ir.IRBuilder, kind: Any, value: Any) -> Any:
    """The same value; an array without its reference count.

    The caller holds the array as long as the job lasts (see ``hold``). Numba counts a reference for every row that a loop looks
    at, and threads that count in the same word of memory wait for each other.
    """
    if not isinstance(kind, types.Array):
        return value
    array = context.make_array(kind)(context, builder, value)
    array.meminfo = ir.Constant(array.meminfo.type, None)
    return array._getvalue()


def job_of(body: Any, otherwise: Any = None) -> Any:
    """A function for kernels that returns the address of ``(address of arguments, who, part, first, last)``: it calls the body.

    It is given the arguments for their types. (A kernel that was given the body as a value could not be kept on disk.) The
    body ``otherwise``, if there is one, is called where the first argument is not an array of float32.
    """

    @intrinsic
    def job(typing_context, arguments):
        called_body = body if otherwise is None or arguments[0].dtype == types.float32 else otherwise
        called = types.Dispatcher(called_body).get_call_type(typing_context, (types.int64,) * 4 + tuple(arguments), {})

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
            result = called_body.get_compile_result(called)
            context.add_linking_libs([result.library])
            function = ir.Function(builder.module, _JOB_TYPE, builder.module.get_unique_name("job"))
            function.linkage = "internal"
            inner = ir.IRBuilder(function.append_basic_block("entry"))
            given, *numbers = function.args
            unpacked = inner.load(inner.inttoptr(given, values[0].type.as_pointer()))
            elements = cgutils.unpack_tuple(inner, unpacked, len(arguments))
            elements = [_borrowed(context, inner, *pair) for pair in zip(arguments, elements, strict=True)]
            context.call_internal_no_propagate(inner, result.fndesc, called, [*numbers, *elements])
            inner.ret_void()
            return builder.ptrtoint(function, _WORD)

        return types.int64(arguments), generate

    return job


@intrinsic
def address_of(typing_context, arguments):
    """Where the tuple lies: on the stack of the function that asks."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        return builder.ptrtoint(cgutils.alloca_once_value(builder, values[0]), _WORD)

    return types.int64(arguments), generate


@intrinsic
def hold(typing_context, arguments):
    """Nothing; but what is named here is still there.

    Numba frees an array that a kernel has made after it was last named, and does not see that ``run`` uses its address. So where
    there are such arrays among the arguments, and they are not needed afterwards, this has to follow ``run``.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        return context.get_dummy_value()

    return types.void(arguments), generate


@intrinsic
def _call(typing_context, job, arguments, who, part, first, last):
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        builder.call(builder.inttoptr(values[0], _JOB_TYPE.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate


# -- the caller and the helpers ----------------------------------------------------------------------------------------


if _yield_core is None:

    @inner
    def _wait(looks):
        _pause()
else:

    @inner
    def _wait(looks):
        _pause()
        if looks % HELD_UP == HELD_UP - 1:
            _yield_core()


@inner
def _left(board):
    """Whether there are parts that nobody has taken."""
    taken = _read(board + _TAKEN)
    return taken % _FROM_THE_END + taken // _FROM_THE_END < _read(board + _PARTS)


@inner
def _take_parts(board, who):
    job, arguments = _read(board + _JOB), _read(board + _ARGUMENTS)
    parts, length = _read(board + _PARTS), _read(board + _LENGTH)
    while True:
        taken = _add(board + _TAKEN, 1 if who == 0 else _FROM_THE_END)
        first, last = taken % _FROM_THE_END, taken // _FROM_THE_END
        if first + last >= parts:
            return
        part = first if who == 0 else parts - 1 - last
        _call(job, arguments, who, part, length * part // parts, length * (part + 1) // parts)


@inner
def run(team, job, arguments):
    """Do every part of a job, on as many threads as are awake.

    Args:
        team: (board, helpers, length, parts), from ``threads.team``.
        job: from ``job_of``. arguments: from ``address_of``.
    """
    board, helpers, length, parts = team
    if parts == 1 or _exchange(board + _LOCK, 1) != 0:
        for part in range(parts):
            _call(job, arguments, 0, part, length * part // parts, length * (part + 1) // parts)
        return
    _write(board + _JOB, job)
    _write(board + _ARGUMENTS, arguments)
    _write(board + _HELPERS, helpers)
    _write(board + _JOINED, 0)
    _write(board + _LENGTH, length)
    _write(board + _PARTS, parts)
    _write(board + _TAKEN, 0)
    _write(board + _OPEN, 1)
    _take_parts(board, 0)
    _write(board + _OPEN, 0)
    looks = 0
    while _read(board + _INSIDE) != 0:
        _wait(looks)
        looks += 1
    _write(board + _LOCK, 0)


@kernel
def serve(board, patience):
    """Help whoever opens the board, until there was nothing to do for ``patience`` looks at it, or somebody called.

    Who joins is the first, second, … helper of that job, whichever thread it is: there may be more threads than helpers wanted.
    """
    called = _read(board + _CALLED)
    _add(board + _WAITING, 1)
    looks = 0
    while looks < patience and _read(board + _CALLED) == called:
        if _read(board + _OPEN) != 0 and _left(board) and _read(board + _JOINED) < _read(board + _HELPERS):
            _add(board + _INSIDE, 1)
            if _read(board + _OPEN) != 0:  # it may be another job by now
                who = _add(board + _JOINED, 1) + 1
                if who <= _read(board + _HELPERS):
                    _take_parts(board, who)
            _add(board + _INSIDE, -1)
            looks = 0
        else:
            _wait(looks)
            looks += 1
    _add(board + _WAITING, -1)
