"""Module: the base class of every layer and model.

A module owns parameters, buffers (state that is saved but not trained, such as running means) and child modules. All
three are registered by plain assignment (``self.weight = Parameter(…)``), kept in dicts in the order of assignment, and
found again through attribute access. Everything a module does to its whole tree (saving, moving, switching to training
mode) is a walk over these dicts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from minidl import place
from minidl.autograd.hooks import RemovableHandle
from minidl.autograd.node import count
from minidl.nn import state_dict as _state
from minidl.nn.hooks import GradientTap
from minidl.nn.moving import move
from minidl.nn.parameter import Parameter
from minidl.ops.methods import parse_to
from minidl.tensor import Tensor

M = TypeVar("M", bound="Module")


def _forward_missing(self: Module, *args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')


class Module:
    """Base class of layers and models. Subclasses assign their parts in ``__init__`` and compute in ``forward``.

    >>> import minidl
    >>> class Net(Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.fc = minidl.nn.Linear(4, 2)
    ...     def forward(self, x):
    ...         return self.fc(x).relu()
    >>> Net()(minidl.zeros(3, 4)).shape
    (3, 2)
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _non_persistent_buffers_set: set[str]
    _modules: dict[str, Module | None]
    _forward_pre_hooks: dict[int, Any]
    _forward_hooks: dict[int, Any]
    _backward_hooks: dict[int, Any]

    # Buffers that a state dict may lack: the model's own value then stays (batch norm's counter, which old files lack).
    _optional_in_state_dict: frozenset[str] = frozenset()

    # Declared as a Callable, not as a method, so that subclasses may take any arguments and still type-check.
    forward: Callable[..., Any] = _forward_missing

    def __init__(self) -> None:
        # Straight into __dict__: __setattr__ below needs these dicts to exist.
        self.__dict__.update(
            training=True,
            _parameters={},
            _buffers={},
            _non_persistent_buffers_set=set(),
            _modules={},
            _forward_pre_hooks={},
            _forward_hooks={},
            _backward_hooks={},
        )

    # -- calling -------------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward`` with the registered hooks around it. While it runs, `minidl.place` knows where it is."""
        running = place.running.stack
        running.append(self)
        try:
            if not (self._forward_pre_hooks or self._forward_hooks or self._backward_hooks):
                return self.forward(*args, **kwargs)
            return self._call_with_hooks(args, kwargs)
        except Exception as error:
            place.note(error)
            raise
        finally:
            running.pop()

    def _call_with_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for hook in tuple(self._forward_pre_hooks.values()):
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        tap = GradientTap(self, tuple(self._backward_hooks.values())) if self._backward_hooks else None
        if tap is not None:
            args = tap.on_inputs(args)
        output = self.forward(*args, **kwargs)
        for hook in tuple(self._forward_hooks.values()):
            changed = hook(self, args, output)
            if changed is not None:
                output = changed
        return output if tap is None else tap.on_outputs(output)

    def register_forward_pre_hook(self, hook: Callable[[Any, tuple[Any, ...]], Any]) -> RemovableHandle:
        """Call ``hook(module, args)`` before every ``forward``; an answer other than None replaces the arguments."""
        return _add_hook(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook: Callable[[Any, tuple[Any, ...], Any], Any]) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after ``forward``; an answer other than None replaces the output."""
        return _add_hook(self._forward_hooks, hook)

    def register_full_backward_hook(
        self, hook: Callable[[Any, tuple[Any, ...], tuple[Any, ...]], Any]
    ) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` once the gradients of the module's inputs are known.

        Both are tuples with one entry per positional input and per output, None for what is not a Tensor or needs no
        gradient. What the hook returns, if not None, replaces ``grad_input``.
        """
        return _add_hook(self._backward_hooks, hook)

    # -- registration --------------------------------------------------------------------------------------------------

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter. None reserves the name: the attribute exists and is None (as ``bias`` without a bias)."""
        self._check_name("parameter", name, self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{type(param).__name__}' object to parameter '{name}' "
                "(minidl.nn.Parameter or None required)"
            )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a buffer: a Tensor that moves with the module, is not trained, and if persistent is saved."""
        self._check_name("buffer", name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{type(tensor).__name__}' object to buffer '{name}' (minidl.Tensor or None required)"
            )
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child module under ``name``."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._check_name("module", name, self._modules)
        self._modules[name] = module

    register_module = add_module

    def _check_name(self, kind: str, name: str, registered: Mapping[str, Any]) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {type(name).__name__}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if name not in registered and hasattr(self, name):
            raise KeyError(f"attribute '{name}' already exists")

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._forget(name, "parameters", keep="_parameters")
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._forget(name, "modules", keep="_modules")
            self.add_module(name, value)
        else:
            for kind, allowed, label, registry in (
                ("parameter", Parameter, "minidl.nn.Parameter", "_parameters"),
                ("child module", Module, "minidl.nn.Module", "_modules"),
                ("buffer", Tensor, "minidl.Tensor", "_buffers"),
            ):
                members = self.__dict__.get(registry, ())
                if name in members:
                    if value is not None and not isinstance(value, allowed):
                        raise TypeError(
                            f"cannot assign '{type(value).__name__}' as {kind} '{name}' ({label} or None expected)"
                        )
                    members[name] = value
                    return
            object.__setattr__(self, name, value)

    def _forget(self, name: str, kind: str, keep: str) -> None:
        """Take ``name`` out of every place but the registry ``keep``, so that an attribute has one home."""
        if keep not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        self.__dict__.pop(name, None)
        for registry in ("_parameters", "_buffers", "_modules"):
            if registry != keep:
                self.__dict__[registry].pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def __getattr__(self, name: str) -> Any:
        # Python comes here only when the ordinary look-up has failed.
        own = self.__dict__
        for registry in ("_parameters", "_buffers", "_modules"):
            members = own.get(registry)
            if members and name in members:
                return members[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        for registry in (self._parameters, self._buffers, self._modules):
            if name in registry:
                del registry[name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        names = {*super().__dir__(), *self._parameters, *self._buffers, *self._modules}
        return sorted(name for name in names if name.isidentifier())

    # -- looking around ------------------------------------------------------------------------------------------------

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and everything below it, with paths, parents first. A module held twice is given once."""
        memo = set() if memo is None else memo
        if remove_duplicate:
            if id(self) in memo:
                return
            memo.add(id(self))
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and everything below it, each once."""
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below this one, with their names, each once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules directly below this one, each once."""
        for _, module in self.named_children():
            yield module

    def _named_members(
        self, registry: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        """What the modules hold in ``registry`` ("_parameters" or "_buffers"), with paths."""
        seen: set[int] = set()
        walk: Iterable[tuple[str, Module]] = [(prefix, self)]
        if recurse:
            walk = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
        for path, module in walk:
            for name, member in getattr(module, registry).items():
                if member is None or id(member) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(member))
                yield (f"{path}.{name}" if path else name), member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their paths ("features.0.weight"); a shared one is given once, under its first path."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once, in the order in which they were registered: what an optimizer takes."""
        for _, param in self.named_parameters(recurse=recurse):
            yield param

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their paths, each once."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def get_submodule(self, target: str) -> Module:
        """The module at a path such as ``"features.2"``; ``""`` is this module. AttributeError if there is none."""
        module: Any = self
        for name in target.split(".") if target else ():
            child = getattr(module, name, None)
            if child is None:
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}` (in path '{target}')")
            if not isinstance(child, Module):
                raise AttributeError(f"`{name}` is not an nn.Module (in path '{target}')")
            module = child
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path such as ``"features.0.weight"``. AttributeError if there is none."""
        return self._get_member(target, Parameter, "an nn.Parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a path such as ``"bn1.running_mean"``. AttributeError if there is none."""
        module = self.get_submodule(target.rpartition(".")[0])
        buffer = self._get_member(target, Tensor, "a buffer")
        if target.rpartition(".")[2] not in module._buffers:
            raise AttributeError(f"`{target}` is not a buffer")
        return buffer

    def _get_member(self, target: str, kind: type, what: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
        member = getattr(module, name)
        if not isinstance(member, kind):
            raise AttributeError(f"`{name}` is not {what}")
        return member

    # -- state ---------------------------------------------------------------------------------------------------------

    def state_dict(self, *, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """Parameters and persistent buffers by path: detached Tensors that share the module's memory.

        Clone them to keep a snapshot. With ``keep_vars=True`` the Parameters themselves, not detached.
        """
        return _state.state_dict(self, prefix, keep_vars)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _state.IncompatibleKeys:
        """Copy values (Tensors or NumPy arrays) by path into this module's parameters and buffers.

        Args:
            state_dict: what `state_dict` gave, or `minidl.load`, or any mapping from paths to arrays.
            strict: raise if a path is missing or unexpected. A shape that does not match raises in either case.
            assign: take the given Tensors themselves (their dtype, device and memory) instead of copying into the
                present ones. An optimizer made before then still holds the old parameters.

        Returns:
            A named tuple ``(missing_keys, unexpected_keys)``.

        Raises:
            RuntimeError: with everything that does not fit. The module is then unchanged: checks come before copies.
        """
        return _state.load_state_dict(self, state_dict, strict, assign)

    # -- modes and devices ---------------------------------------------------------------------------------------------

    def train(self: M, mode: bool = True) -> M:
        """Switch the whole tree to training behaviour (dropout active, batch norm uses the batch), or out of it."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Switch the whole tree to evaluation behaviour: ``train(False)``."""
        return self.train(False)

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call ``fn(module)`` on every module of the tree, children first; typically to initialise."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Freeze (False) or unfreeze every parameter, in place."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or fill them with zeros."""
        for param in self.parameters():
            if set_to_none:
                param.grad = None
            elif param.grad is not None:
                param.grad = param.grad.detach().zero_()

    def to(self: M, *args: Any, device: Any = None, dtype: Any = None) -> M:
        """``to(device)``, ``to(dtype)``, ``to(device, dtype)`` or ``to(tensor)``: move and convert, in place.

        Parameters stay the same objects, so an optimizer that holds them goes on working. A dtype applies to
        floating-point parameters and buffers only; integer ones (batch norm's counter) keep theirs.
        """
        move(self, *parse_to(args, device, dtype))
        return self

    def cpu(self: M) -> M:
        """Move to the CPU."""
        return self.to("cpu")

    def cuda(self: M, device: int = 0) -> M:
        """Move to a GPU."""
        return self.to(f"cuda:{device}")

    def float(self: M) -> M:
        """Convert floating-point parameters and buffers to float32."""
        return self.to(np.dtype("float32"))

    def double(self: M) -> M:
        """Convert floating-point parameters and buffers to float64."""
        return self.to(np.dtype("float64"))

    # -- printing ------------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What the layer shows between its parentheses; subclasses say their settings here."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = [f"({name}): {indented(repr(module))}" for name, module in self._modules.items()]
        if not lines:
            return f"{type(self).__name__}({extra})"
        body = extra.split("\n") + lines if extra else lines
        return f"{type(self).__name__}(\n  " + "\n  ".join(body) + "\n)"


def _add_hook(hooks: dict[int, Any], hook: Any) -> RemovableHandle:
    key = count()
    hooks[key] = hook
    return RemovableHandle(hooks, key)


def indented(text: str) -> str:
    """``text`` with every line but the first moved in by two spaces."""
    return text.replace("\n", "\n  ")
