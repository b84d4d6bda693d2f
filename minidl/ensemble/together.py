"""Members of one architecture, evaluated together: one pass through the network for all of them.

Each of M members has to see each of N samples. So the batch is laid out M times, member after member (M·N samples), and goes
once through a copy of the first member in which every layer with parameters of its own is replaced by a *joint* layer: it views
its input as (M, N, …) and applies member m's parameters to part m, by one batched matrix product for ``Linear``, by one
multiplication and one addition for batch normalisation. Everything else in the model (activations, pooling, flattening,
shortcuts) acts on each sample by itself, and so needs to know nothing of members.

What this saves are calls: a layer costs a fixed time beside its arithmetic, and spends it once instead of M times. The arithmetic
stays the same. So it pays for small batches and narrow layers, and not where the arithmetic fills the processor anyway, as in
convolutional networks: ``MembersTogether.pays`` has the rule.

PyTorch has the idea as ``torch.func.stack_module_state`` with ``vmap`` ("model ensembling").
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import minidl
from minidl import nn
from minidl.autograd.mode import is_grad_enabled
from minidl.ensemble.joint import JOINT, OneByOne
from minidl.ensemble.structure import check_same_structure
from minidl.nn import Module
from minidl.tensor import Tensor

# What calls cost weighs something beside the arithmetic if a batch has fewer samples than this, or a member needs fewer
# multiplications for it.
FEW_SAMPLES, LITTLE_WORK = 16, 1 << 22


class MembersTogether(Module):
    """Evaluates members of one architecture in one pass; the plain twin is ``[member(x) for member in members]``.

    Args:
        members: modules of the same structure: the same layers under the same names with the same settings; only the values of
            parameters and buffers may differ. Each takes one Tensor whose first dimension is the batch, treats every sample by
            itself (in evaluation mode), and returns one Tensor.

    Shapes: input (N, …), output (M, N, …): the outputs of all members.

    While any module in a member is in training mode, the members run one after another: there batch normalisation and dropout
    are each member's own affair. Gradients reach the members' parameters and the input. Without recording, stacked copies of the
    parameters are kept from call to call, and are made anew when a member's have changed (but not if they were written to
    behind autograd's back, through ``.data`` or ``.array``).

    A layer with parameters that has no joint form (convolutions; any layer of your own) is applied one member after another
    within the pass. That is correct, and saves nothing.

    Raises:
        ValueError: if there are no members, or their structures differ; the message says where. When called, if the output has
            another batch than the input.
        TypeError: if a member is no Module; when called, if it returns no Tensor.

    Example:
        >>> members = [nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)) for _ in range(5)]
        >>> together = MembersTogether(members).eval()
        >>> together(minidl.zeros(2, 4)).shape
        (5, 2, 3)
    """

    def __init__(self, members: Sequence[Module] | nn.ModuleList) -> None:
        super().__init__()
        check_same_structure(list(members))
        self.members = members if isinstance(members, nn.ModuleList) else nn.ModuleList(members)
        self._build()

    def _build(self) -> None:
        members = list(self.members)
        check_same_structure(members)
        self._count = len(members)
        self._links = list(_links(self.members))
        # In a list, so that it is no child: its layers hold the members' own parameters, which would be listed twice.
        self._network = [_join(members)]
        self._weights = sum(p.numel() for p in members[0].parameters())
        self._joined = not any(isinstance(module, OneByOne) for module in self._network[0].modules())

    def refresh(self) -> bool:
        """Take notice of members and layers that were replaced, and of hooks. Return whether all is in evaluation mode.

        Raises:
            ValueError: if the members' structures have come to differ.
        """
        replaced, training = len(self.members) != self._count, False
        for holder, name, module, hooked in self._links:
            replaced |= holder.get(name) is not module or _has_hooks(module) is not hooked
            training |= module.training
        if replaced:
            self._build()
            return self.refresh()
        return not training

    def forward(self, x: Tensor) -> Tensor:
        if not self.refresh():
            return minidl.stack([_one_tensor(member(x)) for member in self.members])
        count = len(self.members)
        y = _one_tensor(self._network[0](minidl.cat([x] * count)))
        if not y.ndim or y.shape[0] != count * x.shape[0]:
            raise ValueError(
                f"MembersTogether: for {count} members and {x.shape[0]} samples the network returned shape {tuple(y.shape)}; "
                "its first dimension should be the batch. Evaluate these members one after another."
            )
        return y.reshape(count, x.shape[0], *y.shape[1:])

    def pays(self, x: Tensor) -> bool:
        """Whether one pass for all members takes less time than one after another, as far as known.

        It does if every layer with parameters has a joint form (so not for convolutional networks), the batch has fewer than 16
        samples or needs fewer than about four million multiplications by a member's weights, and no gradients are recorded for
        the parameters (they would have to be stacked in every call). ``benchmarks/ensemble.py`` measures what it saves.
        """
        if len(self.members) < 2 or not self._joined:
            return False
        if is_grad_enabled() and any(p.requires_grad for p in self.members.parameters()):
            return False
        return x.shape[0] < FEW_SAMPLES or x.shape[0] * self._weights < LITTLE_WORK


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Stack the parameters and the buffers of models of one architecture, as ``torch.func.stack_module_state`` does.

    Returns:
        Two dicts, parameters and buffers, from names to Tensors of shape (M, …): detached copies; those of parameters require a
        gradient where the models' do.

    Raises:
        ValueError: if there are no models, or their structures differ.

    Example:
        >>> params, buffers = stack_module_state([nn.Linear(3, 2) for _ in range(4)])
        >>> params["weight"].shape
        (4, 2, 3)
    """
    check_same_structure(models)
    with minidl.no_grad():
        params = {name: _stacked(models, "get_parameter", name) for name, _ in models[0].named_parameters()}
        buffers = {name: _stacked(models, "get_buffer", name) for name, _ in models[0].named_buffers()}
    for name, p in models[0].named_parameters():
        params[name].requires_grad_(p.requires_grad)
    return params, buffers


def _stacked(models: Sequence[Module], get: str, name: str) -> Tensor:
    return minidl.stack([getattr(model, get)(name) for model in models])


def _one_tensor(y: Any) -> Tensor:
    if not isinstance(y, Tensor):
        raise TypeError(f"MembersTogether: a member should return one Tensor, got {type(y).__name__}")
    return y


def _links(members: nn.ModuleList) -> Iterator[tuple[dict[str, Any], str, Module, bool]]:
    """Every module in the members: the dict that holds it, its name there, itself, and whether it has hooks."""
    for module in members.modules():
        for name, child in module._modules.items():
            if child is not None:
                yield module._modules, name, child, _has_hooks(child)


def _has_hooks(module: Module) -> bool:
    return bool(module._forward_pre_hooks or module._forward_hooks or module._backward_hooks)


def _join(modules: Sequence[Module]) -> Module:
    """The network for all members: joint layers where there are parameters, copies of what only holds other modules."""
    first = modules[0]
    hooks = any(_has_hooks(module) for module in modules)
    own = any(t is not None for t in (*first._parameters.values(), *first._buffers.values()))
    if type(first) in JOINT and not hooks:
        return JOINT[type(first)](modules).eval()
    if own or hooks:  # what its forward does with them is not known; and a hook expects one member's samples
        return OneByOne(modules).eval()
    if not first._modules:
        return first  # without parameters, and with the same settings in every member
    joined = copy.copy(first)
    joined.__dict__["_modules"] = {
        name: None if child is None else _join([m._modules[name] for m in modules])  # type: ignore[misc]
        for name, child in first._modules.items()
    }
    return joined
