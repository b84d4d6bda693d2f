"""A network in stages, from the head back to the input, and learning rates that fall from stage to stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl import nn
from minidl.nn.normalization import _AffineNorm
from minidl.transfer.heads import auxiliary_heads, find_head


def find_stages(model: nn.Module, stages: int | Sequence[Sequence[str]] = 5) -> list[list[str]]:
    """Divide a model into stages, from the head backwards: the paths of each stage's modules.

    The first stage is the head (with auxiliary classifiers, if there are any). The blocks below it (the children of the model,
    with containers and whatever holds the head opened, and normalisations counted to the layer before them) are divided into runs
    of equal length, as far as possible; those nearer to the head have one block more.

    Args:
        model: its head is found as by ``find_head``, its blocks in the order in which they were assigned.
        stages: how many to make; fewer if there are not enough blocks. Lists of paths are checked and returned.

    Raises:
        ValueError: if the number is below 1, or the head is not found, or a path names no module, or a module comes twice.

    Example:
        >>> for stage in find_stages(minidl.models.resnet18(), 4):
        ...     print(*stage)
        fc
        layer3.1 layer4.0 layer4.1
        layer2.0 layer2.1 layer3.0
        conv1 bn1 layer1.0 layer1.1
    """
    if not isinstance(stages, int):
        return _checked(model, stages)
    if isinstance(stages, bool) or stages < 1:
        raise ValueError(f"find_stages: the number of stages should be at least 1, got {stages}")
    head = [find_head(model)[0], *auxiliary_heads(model)]
    blocks = _blocks(model, "", head)
    while len(blocks) == 1 and len(blocks[0]) == 1:  # a model around a model: open that
        inner = _blocks(model.get_submodule(blocks[0][0]), f"{blocks[0][0]}.", head)
        if not inner:
            break
        blocks = inner
    blocks.reverse()
    if stages == 1:
        return [head + [path for block in blocks for path in block]]
    runs = np.array_split(np.arange(len(blocks)), min(stages - 1, len(blocks))) if blocks else []
    # Within a stage in the order of the model.
    return [head, *([path for i in reversed(run) for path in blocks[i]] for run in runs)]


def _blocks(module: nn.Module, prefix: str, head: list[str]) -> list[list[str]]:
    """The modules below ``module`` that have something to learn or to keep, without the heads, as lists of paths."""
    blocks: list[list[str]] = []
    for name, child in module.named_children():
        path = prefix + name
        if path in head or not any(True for part in (child.parameters(), child.buffers()) for _ in part):
            continue
        if type(child) in (nn.Sequential, nn.ModuleList) or any(h.startswith(f"{path}.") for h in head):
            blocks += _blocks(child, f"{path}.", head)
        elif isinstance(child, _AffineNorm) and blocks:
            blocks[-1].append(path)
        else:
            blocks.append([path])
    return blocks


def _checked(model: nn.Module, stages: Sequence[Sequence[str]]) -> list[list[str]]:
    seen: dict[int, str] = {}
    for stage in stages:
        if isinstance(stage, str):
            raise ValueError(f"stages: expected lists of paths, such as [['fc'], ['layer4', 'layer3']], got {stage!r}")
        for path in stage:
            try:
                module = model.get_submodule(path)
            except AttributeError as error:
                raise ValueError(f"stages: {error}") from error
            parts = {id(part): path for part in module.modules() if part._parameters or part._buffers}
            for part in parts.keys() & seen.keys():
                raise ValueError(f"stages: {path!r} and {seen[part]!r} have a layer in common")
            seen.update(parts)
    if not seen:
        raise ValueError("stages: expected at least one path of a module with parameters")
    return [list(stage) for stage in stages]


def param_groups(
    model: nn.Module, lr: float, decay: float = 2.6, stages: int | Sequence[Sequence[str]] = 5
) -> list[dict[str, Any]]:
    """Return parameter groups for an optimizer, one for each stage: the head learns at the rate ``lr``, and each stage at a
    ``decay``-th of the rate of the stage after it. Layers near the input, whose features are general, so change least.

    Groups are in the order of the stages, the head's first, which is therefore the rate that a ``Trainer`` shows. Each is
    ``{"params": …, "lr": …, "name": …}``. Frozen parameters are in them too: an optimizer passes over what has no gradient, and
    finds it when it is unfrozen. What belongs to no stage, such as a parameter of the model itself, joins the last one.

    Schedulers that multiply rates keep their ratios. ``OneCycleLR`` takes one highest rate for each group:
    ``max_lr=[group["lr"] for group in groups]``.

    Args:
        lr: the head's learning rate.
        decay: at least 1; 1 gives all stages the same rate, 2.6 is the paper's factor (for a network in four or five stages).
        stages: as in ``find_stages``.

    Raises:
        ValueError: if ``lr`` is not above 0 or ``decay`` below 1. And as ``find_stages``.

    Source: Howard and Ruder, "Universal language model fine-tuning for text classification", ACL 2018, section 3.2.

    Example:
        >>> model = replace_head(minidl.models.resnet18(), 2)
        >>> optimizer = optim.SGD(param_groups(model, lr=0.01), momentum=0.9)
        >>> [round(group["lr"], 5) for group in optimizer.param_groups]
        [0.01, 0.00385, 0.00148, 0.00057, 0.00022]
    """
    if not (lr > 0 and math.isfinite(lr)):
        raise ValueError(f"param_groups: lr should be above 0, got {lr}")
    if not (decay >= 1 and math.isfinite(decay)):
        raise ValueError(f"param_groups: decay should be at least 1, got {decay}")
    seen: set[int] = set()
    groups: list[dict[str, Any]] = []
    for number, stage in enumerate(find_stages(model, stages)):
        params = [p for path in stage for p in model.get_submodule(path).parameters()]
        params = [p for p in params if not (id(p) in seen or seen.add(id(p)))]  # type: ignore[func-returns-value]
        groups.append({"params": params, "lr": lr / decay**number, "name": ", ".join(stage)})
    groups[-1]["params"] += [p for p in model.parameters() if id(p) not in seen]
    return [group for group in groups if group["params"]]
