"""The head of a network: the linear layer that turns its last features into scores for the classes."""

from __future__ import annotations

import operator
from typing import TypeVar

from minidl import nn
from minidl.models import GoogLeNet, Inception3

M = TypeVar("M", bound=nn.Module)

# Auxiliary classifiers give scores for the same classes half way up: each one's name, and the path of its last layer.
_AUXILIARY = {GoogLeNet: {"aux1": "aux1.fc2", "aux2": "aux2.fc2"}, Inception3: {"AuxLogits": "AuxLogits.fc"}}


def find_head(model: nn.Module) -> tuple[str, nn.Linear]:
    """Return the path and the layer of a model's head: its last linear layer.

    It is found in the tree of modules, without running the model: the last child with parameters, of this the last child, and so
    on, must end at an ``nn.Linear``. All networks of ``minidl.models`` are of this form, and any ``nn.Sequential`` that ends with
    a linear layer; layers without parameters, such as a softmax, may follow.

    Raises:
        ValueError: if the last layer with parameters is no linear layer, or if it is not clear which layer is the head: where the
            last one stands beside another whose output cannot be its input, such as a second head. The message lists them.

    Example:
        >>> find_head(minidl.models.mobilenet_v2())
        ('classifier.1', Linear(in_features=1280, out_features=1000, bias=True))
    """
    path, module, kind = "", model, type(model).__name__
    while not isinstance(module, nn.Linear):
        children = _with_parameters(module)
        if not children:
            found = (
                f"its last layer with parameters is {path} ({type(module).__name__})" if path else "it has no layers"
            )
            raise ValueError(
                f"{kind}: {found}, where the head should be an nn.Linear. "
                "Put a layer for your classes there yourself: model.NAME = …"
            )
        below = f"{path}." if path else ""
        if rivals := _rivals(module, children):
            raise ValueError(
                f"{kind}: it is not clear which of these is the head: {', '.join(below + name for name in rivals)}. "
                "Replace the layer that you mean yourself: model.NAME = nn.Linear(…)"
            )
        name, module = children[-1]
        path = below + name
    return path, module


def auxiliary_heads(model: nn.Module) -> dict[str, str]:
    """The auxiliary classifiers in a model, GoogLeNet's and Inception v3's, if it has them: each one's path, and the path of its
    last layer."""
    found = {}
    for path, module in model.named_modules():
        below = f"{path}." if path else ""
        for name, last in _AUXILIARY.get(type(module), {}).items():
            if getattr(module, name) is not None:
                found[below + name] = below + last
    return found


def replace_head(model: M, num_classes: int) -> M:
    """Give a model a new last layer, for other classes, in place; return the model.

    The new layer is an ``nn.Linear`` with as many inputs as the old one, a bias if that had one, and its device and dtype. Its
    weights are drawn as those of every ``nn.Linear``; they need gradients, whatever is frozen. The auxiliary classifiers of
    GoogLeNet and Inception v3 get new last layers too. ``find_head(model)`` gives the layer itself.

    An optimizer that was made before does not know the new layer.

    Args:
        model: see ``find_head`` for what is replaced.
        num_classes: of the new layer, at least 1.

    Raises:
        ValueError: if there is no head, or it is not clear which it is (see ``find_head``); if the model is itself the layer; or
            if ``num_classes`` is below 1.
        TypeError: if ``num_classes`` is no integer.

    Example:
        >>> model = replace_head(minidl.models.mobilenet_v2(), 2)
        >>> model(minidl.zeros(1, 3, 64, 64)).shape
        (1, 2)
    """
    if isinstance(num_classes, bool):
        raise TypeError(f"replace_head: num_classes should be an integer, got {num_classes}")
    classes = operator.index(num_classes)
    if classes < 1:
        raise ValueError(f"replace_head: num_classes should be at least 1, got {num_classes}")
    path, _ = find_head(model)
    if not path:
        raise ValueError("replace_head: the model is itself the linear layer; make a new nn.Linear in its place")
    for head in [path, *auxiliary_heads(model).values()]:
        _replace(model, model.get_submodule(head), classes)
    return model


def _replace(model: nn.Module, old: nn.Module, classes: int) -> None:
    """Put a new layer wherever the model holds ``old``."""
    assert isinstance(old, nn.Linear)
    weight = old.weight
    new = nn.Linear(old.in_features, classes, old.bias is not None, weight.device, weight.dtype).train(old.training)
    for module in list(model.modules()):
        for name, child in list(module._modules.items()):
            if child is old:
                setattr(module, name, new)


def _with_parameters(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, child) for name, child in module.named_children() if any(True for _ in child.parameters())]


def _rivals(parent: nn.Module, children: list[tuple[str, nn.Module]]) -> list[str]:
    """The names of those among a module's children that may be heads, if there are several; the last one is among them."""
    if isinstance(parent, nn.Sequential):
        return []  # they run one after the other
    known = auxiliary_heads(parent)
    rivals = []
    for (name, child), (_, following) in zip(children, children[1:], strict=False):
        end, begin = _linear_at(child, -1), _linear_at(following, 0)
        if end is None or begin is None or name in known:
            continue
        if end.out_features != begin.in_features or isinstance(parent, nn.ModuleDict):
            rivals.append(name)
    return [*rivals, children[-1][0]] if rivals else []


def _linear_at(module: nn.Module, place: int) -> nn.Linear | None:
    """The linear layer that a module is, or begins (place 0) or ends with (place -1); None if there is another layer."""
    while children := _with_parameters(module):
        module = children[place][1]
    return module if isinstance(module, nn.Linear) else None
