"""Whether operations are recorded. The setting belongs to the thread."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class _Mode(threading.local):
    recording = True


mode = _Mode()


def is_grad_enabled() -> bool:
    """True while operations on Tensors that require gradients are recorded."""
    return mode.recording


class set_grad_enabled:  # noqa: N801  (PyTorch's name)
    """Turn recording on or off, from here on, within a ``with`` block, or for a decorated function.

    Example:
        >>> with set_grad_enabled(False):
        ...     y = x * 2
        >>> y.requires_grad
        False
    """

    def __init__(self, enabled: bool) -> None:
        self.enabled = bool(enabled)
        self.before = [mode.recording]
        mode.recording = self.enabled

    def __enter__(self) -> None:
        mode.recording = self.enabled

    def __exit__(self, *exc: object) -> None:
        mode.recording = self.before[-1]

    def __call__(self, function: F) -> F:
        mode.recording = self.before[-1]  # decorating is not yet running
        return _decorate(function, lambda: set_grad_enabled(self.enabled))


class _Scope:
    """A ``with`` block or decorator that records, or does not."""

    enabled: bool

    def __new__(cls, function: Any = None) -> Any:
        return super().__new__(cls) if function is None else cls()(function)  # `@no_grad` without parentheses

    def __init__(self) -> None:
        self.before: list[bool] = []

    def __enter__(self) -> None:
        self.before.append(mode.recording)
        mode.recording = self.enabled

    def __exit__(self, *exc: object) -> None:
        mode.recording = self.before.pop()

    def __call__(self, function: F) -> F:
        return _decorate(function, type(self))


class no_grad(_Scope):  # noqa: N801
    """Do not record: for evaluation and for updates of parameters.

    Example:
        >>> with minidl.no_grad():
        ...     weight -= 0.1 * weight.grad
    """

    enabled = False


class enable_grad(_Scope):  # noqa: N801
    """Record again, inside ``no_grad``."""

    enabled = True


def _decorate(function: F, scope: Callable[[], Any]) -> F:
    """``function``, run within a scope; of a generator each step, so that the caller's setting holds in between."""

    @functools.wraps(function)
    def steps(*args: Any, **kwargs: Any) -> Any:
        generator, sent = function(*args, **kwargs), None
        try:
            while True:
                with scope():
                    value = generator.send(sent)
                sent = yield value
        except StopIteration as end:
            return end.value
        finally:
            with scope():
                generator.close()

    if inspect.isgeneratorfunction(function):
        return steps  # type: ignore[return-value]

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with scope():
            return function(*args, **kwargs)

    return wrapped  # type: ignore[return-value]
