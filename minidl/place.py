"""Which module is running: the path that error messages name, such as ``LeNet.features.2``.

``Module.__call__`` pushes itself here before ``forward`` and pops afterwards, so an op that fails (or anomaly mode,
when it records where a value was made) can say where in the model that was. The module imports nothing from minidl: the
core asks here without knowing about ``minidl.nn``. All it expects of a module is a ``_modules`` dict of its children.
"""

from __future__ import annotations

import threading
from typing import Any


class _Running(threading.local):
    """The modules whose ``forward`` is running, outermost first; each thread has its own."""

    def __init__(self) -> None:
        self.stack: list[Any] = []


running = _Running()  # ``Module.__call__`` pushes and pops


def note(error: BaseException) -> None:
    """Add the running module's path to an error that does not name it: Python prints it under the message."""
    at = current_place()
    if at not in str(error) and not any(text.startswith("in module ") for text in getattr(error, "__notes__", ())):
        error.add_note(f"in module {at}")


def current_place() -> str:
    """Path of the running module: class name of the outermost one, then the attribute names that lead inwards.

    Returns ``""`` when no module runs. A module that its caller does not hold as a child (one kept in a plain list,
    say) is named by its class. The search costs time in the size of the model, and is done only when somebody asks.

    >>> current_place()
    ''
    """
    if not running.stack:
        return ""
    outermost = running.stack[0]
    parts = [type(outermost).__name__]
    for parent, child in zip(running.stack, running.stack[1:], strict=False):
        if child is parent:
            continue
        path = _path_to(parent, child)
        parts.extend([type(child).__name__] if path is None else path)
    return ".".join(parts)


def _path_to(parent: Any, child: Any) -> list[str] | None:
    """Attribute names from ``parent`` down to ``child``, nearest first; None if it is not below ``parent``.

    Looks deeper than one level, because containers (``self.blocks[1].conv(x)``) are often passed over without being
    called.
    """
    level: list[tuple[list[str], Any]] = [([], parent)]
    seen = {id(parent)}
    while level:
        below = []
        for path, module in level:
            for name, sub in module._modules.items():
                if sub is child:
                    return [*path, name]
                if sub is not None and id(sub) not in seen:
                    seen.add(id(sub))
                    below.append(([*path, name], sub))
        level = below
    return None
