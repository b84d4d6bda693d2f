"""Whether modules have the same structure, so that one network can stand for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from minidl.nn import Module
from minidl.tensor import Tensor

# What a module keeps in its __dict__ beside its settings.
_INTERNAL = {
    "training",
    "_parameters",
    "_buffers",
    "_modules",
    "_non_persistent_buffers_set",
    "_forward_pre_hooks",
    "_forward_hooks",
    "_backward_hooks",
}


def check_same_structure(models: Sequence[Module]) -> None:
    """See that models differ in nothing but the values of their parameters and buffers.

    Compared are: modules, their names and classes; names, shapes, dtypes and devices of parameters and buffers; and every other
    attribute. An attribute that is not equal counts as different, also where that is only because Python cannot tell, as for a
    lambda that each model made for itself.

    Raises:
        ValueError: if there are no models, or they differ; the message says where, and what was found.
        TypeError: if one is no Module.
    """
    models = list(models)
    if not models:
        raise ValueError("expected at least one member")
    for i, model in enumerate(models):
        if not isinstance(model, Module):
            raise TypeError(f"members should be nn.Modules, got {type(model).__name__} as number {i}")
    for i, model in enumerate(models[1:], 1):
        difference = find_difference(models[0], model)
        if difference is not None:
            raise ValueError(f"members 0 and {i} differ in structure: {difference}")


def find_difference(first: Module, second: Module) -> str | None:
    """The first difference between two models, in words; None if there is none."""
    ours, theirs = (dict(model.named_modules(remove_duplicate=False)) for model in (first, second))
    for path in [*ours, *(p for p in theirs if p not in ours)]:
        where = f"module '{path}'" if path else "the model"
        a, b = ours.get(path), theirs.get(path)
        if a is None or b is None:
            return f"only one of them has {where} ({type(a or b).__name__})"
        if type(a) is not type(b):
            return f"{where} is a {type(a).__name__} in one and a {type(b).__name__} in the other"
        found = _difference_of_tensors(a, b) or _difference_of_attributes(a, b)
        if found:
            return f"{where} ({type(a).__name__}): {found}"
    return _difference_of_sharing(ours, theirs)


def _difference_of_tensors(a: Module, b: Module) -> str | None:
    for kind, registry, other in (("parameter", a._parameters, b._parameters), ("buffer", a._buffers, b._buffers)):
        for name in _names(registry, other):
            x, y = registry.get(name), other.get(name)
            if x is None and y is None:
                continue
            if x is None or y is None:
                return f"only one has a {kind} '{name}'"
            one, two = ((tuple(t.shape), str(t.dtype), str(t.device)) for t in (x, y))
            if one != two:
                return f"{kind} '{name}' is {one} in one and {two} in the other"
    return None


def _difference_of_attributes(a: Module, b: Module) -> str | None:
    ours, theirs = (vars(m) for m in (a, b))
    for name in _names(ours, theirs):
        if name not in _INTERNAL and not (name in ours and name in theirs and _equal(ours[name], theirs[name])):
            return f"attribute '{name}' is {ours.get(name)!r:.80} in one and {theirs.get(name)!r:.80} in the other"
    return None


def _difference_of_sharing(ours: Mapping[str, Module], theirs: Mapping[str, Module]) -> str | None:
    """A module that one model holds under two names, and the other one does not."""
    first: dict[int, str] = {}
    second: dict[int, str] = {}
    for path, module in ours.items():
        a, b = first.setdefault(id(module), path), second.setdefault(id(theirs[path]), path)
        if a != b:
            return f"module '{path}' is the same as '{min(a, b)}' in only one of them"
    return None


def _equal(a: Any, b: Any) -> bool:
    """Whether two attributes are surely the same."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    if isinstance(a, Tensor):  # one that is no buffer
        return a.dtype == b.dtype and a.device == b.device and np.array_equal(a.detach().numpy(), b.detach().numpy())
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype and np.array_equal(a, b))
    return (a == b) is True


def _names(first: Iterable[str], second: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*first, *second]))
