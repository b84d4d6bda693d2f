"""Freezing a part of a network, and letting it go again, at once or stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from minidl import nn
from minidl.transfer.groups import find_stages

M = TypeVar("M", bound=nn.Module)


def freeze(module: M) -> M:
    """Make a part of a network a fixed function, in place; return it.

    Its parameters need no gradients (and those that they have are dropped), so no optimizer moves them, not even by momentum or
    weight decay. Its layers (the modules without children) compute as in evaluation, whatever ``model.train()`` says later:
    batch normalisation uses its running statistics and leaves them alone, and **dropout drops nothing**. So the same input gives
    the same output, and ``features`` may be computed once and for all.

    This holds for copies (``copy.deepcopy``) too, and ends with ``unfreeze``. It is no part of a ``state_dict``. The flag
    ``training`` goes on telling what ``train()`` and ``eval()`` last said. Modules that have children keep to it: a frozen
    GoogLeNet in training mode still returns its auxiliary scores, and what a ``forward`` does with ``self.training`` itself, such
    as ``F.dropout(x, training=self.training)``, is not switched off.

    Example:
        >>> model = freeze(minidl.models.mobilenet_v2())
        >>> model = replace_head(model, 2).train()  # only the new layer learns
        >>> [name for name, p in model.named_parameters() if p.requires_grad]
        ['classifier.1.weight', 'classifier.1.bias']
    """
    for parameter in module.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None
    for layer in _layers(module):
        if _to_evaluation not in layer._forward_pre_hooks.values():
            layer.register_forward_pre_hook(_to_evaluation)
            layer.register_forward_hook(_back)
    return module


def unfreeze(module: M) -> M:
    """Undo ``freeze`` for a module, which may be a part of what was frozen; return it.

    All its parameters need gradients afterwards, and batch normalisation and dropout do what ``train()`` or ``eval()`` last said.

    Example:
        >>> model = unfreeze(freeze(minidl.models.mobilenet_v2()))
        >>> all(p.requires_grad for p in model.parameters())
        True
    """
    module.requires_grad_(True)
    for layer in _layers(module):
        for hooks in (layer._forward_pre_hooks, layer._forward_hooks):
            for key in [key for key, hook in hooks.items() if hook in (_to_evaluation, _back)]:
                del hooks[key]
    return module


def _layers(module: nn.Module) -> list[nn.Module]:
    return [layer for layer in module.modules() if not layer._modules]


# A frozen layer's hooks. They are plain functions, so copies of the layer share them. (If the layer's forward fails, it stays in
# evaluation until the next ``train()``.)


def _to_evaluation(layer: nn.Module, args: tuple[Any, ...]) -> None:
    layer._mode_outside = layer.training
    layer.training = False


def _back(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    layer.training = layer._mode_outside


class GradualUnfreezing:
    """Unfreezes a network stage by stage, from the head backwards: in epoch 1 only the head learns, then the stage before it too,
    until everything does. So the random numbers of a new head do not spoil what the layers below have learned.

    It is a callback of the ``Trainer``; in a loop of your own, call ``begin_epoch``. An optimizer may be made before or after,
    over all parameters: what is frozen has no gradient, and is passed over.

    Args:
        model: its head is found as by ``find_head``.
        stages: how many stages to make, or what ``find_stages`` returned (or lists of paths of your own, the head's first).
        every: epochs before the next stage joins.

    Attributes:
        stages: lists of paths, from the head backwards.
        unfrozen: how many of them learn at present.

    Raises:
        ValueError: if ``every`` is below 1. And as ``find_stages``.

    Source: Howard and Ruder, "Universal language model fine-tuning for text classification", ACL 2018, section 3.3.

    Example:
        >>> model = replace_head(minidl.models.mobilenet_v2(), 2)
        >>> optimizer = optim.SGD(param_groups(model, lr=0.01), momentum=0.9)
        >>> trainer = Trainer(model, optimizer, callbacks=[GradualUnfreezing(model)])  # doctest: +SKIP
    """

    def __init__(self, model: nn.Module, stages: int | Sequence[Sequence[str]] = 5, every: int = 1) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"GradualUnfreezing: every should be an integer of at least 1, got {every!r}")
        self.model = model
        self.stages = find_stages(model, stages)
        self.every = every
        self.unfrozen = 0

    def begin_epoch(self, epoch: int) -> None:
        """Freeze and unfreeze as it should be in an epoch, counted from 1. Calling it again changes nothing.

        Raises:
            ValueError: if ``epoch`` is below 1.
        """
        if epoch < 1:
            raise ValueError(f"GradualUnfreezing: epochs are counted from 1, got {epoch}")
        self.unfrozen = min(len(self.stages), 1 + (int(epoch) - 1) // self.every)
        if self.unfrozen == len(self.stages):
            unfreeze(self.model)  # with what belongs to no stage, such as a parameter of the model itself
            return
        freeze(self.model)
        for stage in self.stages[: self.unfrozen]:
            for path in stage:
                unfreeze(self.model.get_submodule(path))

    # What the Trainer calls. (This package does not know it; see minidl.training.Callback.)

    def on_fit_start(self, trainer: Any) -> None:
        """Begin with epoch 1, or the one that a resumed training goes on with."""
        self.begin_epoch(len(trainer.history) + 1)

    def on_batch_end(self, trainer: Any, loss: float) -> None:
        """Nothing."""

    def on_epoch_end(self, trainer: Any, row: dict[str, float]) -> None:
        """Prepare the next epoch."""
        self.begin_epoch(int(row["epoch"]) + 1)

    def on_fit_end(self, trainer: Any) -> None:
        """Nothing."""
