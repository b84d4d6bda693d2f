"""The base of all optimizers: parameter groups, state, and the walk over the parameters."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import minidl
from minidl.backend import Backend, backend_of
from minidl.tensor import Tensor

Params = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]]


class Optimizer:
    """Moves parameters along their gradients. Subclasses define ``_update``, the rule for one parameter.

    Args:
        params: the parameters: an iterable of Tensors, of (name, Tensor) pairs such as ``named_parameters()``, or of
            dicts (groups), each with ``"params"`` and any options that differ from ``defaults``.
        defaults: the value of every option of which a group says nothing.

    Attributes:
        param_groups: a list of dicts, each with the list ``"params"`` and one entry per option. The options may be
            changed between steps; that is what learning rate schedulers do.
        state: for each parameter the dict of what the rule remembers (``momentum_buffer``, ``exp_avg``, …) as Tensors
            of the parameter's shape, dtype and device. A parameter that never had a gradient has no entry.

    Raises:
        TypeError: if ``params`` is a single Tensor or a set, or holds something that is not a Tensor.
        ValueError: if there are no parameters, one comes twice, one is not a leaf, or an option is out of range.

    Example:
        >>> w = minidl.tensor([1.0, 2.0], requires_grad=True)
        >>> optimizer = minidl.optim.SGD([w], lr=0.5)
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> w.tolist()
        [0.0, 0.0]
    """

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._has_stepped = False  # lets a scheduler notice that it is stepped before the optimizer
        self._check_options(defaults)
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, "
                f"but got {type(params).__name__}"
            )
        _refuse_set(params)
        given: list[Any] = list(params)
        if not given:
            raise ValueError("optimizer got an empty parameter list")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def _check_options(self, options: dict[str, Any]) -> None:
        """Raise ValueError if an option is out of range."""

    def _update_all(self, params: list[Tensor], grads: list[Any], group: dict[str, Any]) -> None:
        """Write one step into the parameters of a group. To override where a kernel does all of them at once."""
        for param, grad in zip(params, grads, strict=True):
            self._update(param, grad, group)

    def _update(self, param: Tensor, grad: Any, group: dict[str, Any]) -> None:
        """Write one step into ``param.array`` and ``state[param]``; ``grad`` is a raw array, to be read only."""
        raise NotImplementedError(f"{type(self).__name__} defines no _update")

    def _buffer(self, param: Tensor, name: str, fill: float = 0.0) -> Any:
        """Return the raw array of ``state[param][name]``; the first time, one like ``param``, filled with ``fill``."""
        state = self.state[param]
        if state.get(name) is None:
            state[name] = Tensor.wrap(backend_of(param.array).full_like(param.array, fill))  # in its memory layout too
        return state[name].array

    def _count_step(self, param: Tensor) -> float:
        """Add one to ``state[param]["step"]`` and return it. As in PyTorch it is a 0-d float32 Tensor on the CPU."""
        state = self.state[param]
        if "step" not in state:
            state["step"] = minidl.tensor(0.0, dtype=minidl.float32)
        step = float(state["step"].item()) + 1
        state["step"].array[...] = step
        return step

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: clears the gradients, computes the loss, calls ``backward()`` and returns the loss. It runs first.

        Returns:
            What ``closure`` returned, or None.
        """
        loss = None
        if closure is not None:
            with minidl.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            grads = [p.grad.array for p in params]
            for p, grad in zip(params, grads, strict=True):
                array = p.array
                if grad.shape != array.shape or (grad.dtype is not array.dtype and grad.dtype != array.dtype):
                    raise RuntimeError(
                        f"{type(self).__name__}: a parameter of shape {p.shape} and dtype {p.dtype} has a grad of shape "
                        f"{p.grad.shape} and dtype {p.grad.dtype}"
                    )
            self._update_all(params, grads, group)
            for p in params:
                p.bump_version(type(self).__name__)
        self._has_stepped = True
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters.

        Args:
            set_to_none: drop each gradient, so that a parameter that gets none is left alone by ``step``. If False,
                fill it with zeros: then momentum and weight decay still move the parameter.
        """
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if set_to_none:
                    p.grad = None
                else:
                    if p.grad.requires_grad:  # made with create_graph=True
                        p.grad = p.grad.detach()
                    p.grad.zero_()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, for instance layers that are unfrozen during fine-tuning.

        Args:
            param_group: ``{"params": …, "lr": …, …}``; options that are missing are taken from ``defaults``.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group).__name__}")
        group = {**self.defaults, **param_group}
        params = group["params"]
        _refuse_set(params)
        group["params"] = params = [params] if isinstance(params, Tensor) else list(params)
        pairs = [p for p in params if isinstance(p, tuple)]
        if pairs:
            if len(pairs) != len(params):
                raise ValueError("all optimizer params should be with/without names. Some param names are missing")
            group["param_names"] = [name for name, _ in pairs]
            group["params"] = params = [p for _, p in pairs]
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
        if any(("param_names" in group) != ("param_names" in other) for other in self.param_groups):
            raise ValueError("all optimizer param groups should be with/without names")
        if len({id(p) for p in params}) != len(params):
            raise ValueError("some parameters appear more than once in a parameter group")
        known = {id(p) for other in self.param_groups for p in other["params"]}
        if any(id(p) in known for p in params):
            raise ValueError("some parameters appear in more than one parameter group")
        self._check_options(group)
        self.param_groups.append(group)

    def state_dict(self) -> dict[str, Any]:
        """Return the state and the options in PyTorch's layout.

        Returns:
            ``{"state": {0: {"exp_avg": …}, …}, "param_groups": [{"lr": …, "params": [0, 1]}, …]}``: parameters are
            numbered through all groups. The Tensors are those of the optimizer, not copies: the next step changes them.
        """
        number: dict[Tensor, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                number[p] = len(number)
            groups.append({**group, "params": [number[p] for p in group["params"]]})
        return {"state": {number[p]: dict(values) for p, values in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over (a copy of) the state and the options of another optimizer; ``state_dict`` stays as it is.

        Parameters are matched by their place, so the groups must be built in the same order. The learning rate is one
        of the options: load after making a scheduler, which sets it. State may also be NumPy arrays, as
        ``minidl.io.torch_file.load_torch`` gives them.

        Raises:
            ValueError: if the number or the sizes of the groups differ, or a state does not have its parameter's shape.
            TypeError: if a state is another library's array.
        """
        loaded = state_dict["param_groups"]
        if len(loaded) != len(self.param_groups):
            raise ValueError(
                "loaded state dict has a different number of parameter groups: "
                f"{len(loaded)}, the optimizer has {len(self.param_groups)}"
            )
        groups = []
        by_number: dict[int, Tensor] = {}
        for i, (own, other) in enumerate(zip(self.param_groups, loaded, strict=True)):
            if len(own["params"]) != len(other["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group: "
                    f"group {i} has {len(other['params'])} parameters, the optimizer's {len(own['params'])}"
                )
            by_number.update(zip(other["params"], own["params"], strict=True))
            options = {key: copy.deepcopy(value) for key, value in other.items() if key != "params"}
            names = {"param_names": own["param_names"]} if "param_names" in own else {}
            groups.append({**self.defaults, **names, **options, "params": own["params"]})
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for number, values in state_dict["state"].items():
            if number not in by_number:
                raise ValueError(
                    f"loaded state dict has state for parameter {number!r}, which is in none of its groups"
                )
            p = by_number[number]
            state[p] = {key: self._adopt_state(p, number, key, value) for key, value in values.items()}
        self.param_groups, self.state = groups, state

    def _adopt_state(self, param: Tensor, number: int, key: str, value: Any) -> Any:
        """Return a copy of one loaded value, ready for use beside ``param``. To override for state of other shapes."""
        if key == "step":
            return minidl.tensor(float(value), dtype=minidl.float32)
        if isinstance(value, np.ndarray):
            value = minidl.from_numpy(value)
        if not isinstance(value, Tensor):
            if hasattr(value, "__array__") and not isinstance(value, np.generic):
                raise TypeError(
                    f"loaded state dict: {key} of parameter {number} should be a minidl.Tensor or NumPy array, "
                    f"got {type(value).__module__}.{type(value).__name__}"
                )
            return copy.deepcopy(value)
        if value.shape != param.shape:
            raise ValueError(
                f"loaded state dict: {key} of parameter {number} has shape {tuple(value.shape)}, "
                f"the parameter has shape {tuple(param.shape)}"
            )
        array = backend_of(param.array).empty_like(param.array)
        array[...] = value.to(param.device).array
        return Tensor.wrap(array)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])


def _refuse_set(params: Any) -> None:
    if isinstance(params, (set, frozenset)):
        raise TypeError(
            "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
            "will change between runs. Please use a list instead."
        )


def require(holds: bool, name: str, value: Any) -> None:
    """Raise ValueError("Invalid <name>: <value>") unless ``holds``."""
    if not holds:
        raise ValueError(f"Invalid {name}: {value}")


def by_backend(params: list[Tensor]) -> list[tuple[Backend, list[int]]]:
    """The backends that hold these parameters, each with the places of its own in the list."""
    if len({type(p.array) for p in params}) == 1:
        return [(backend_of(params[0].array), list(range(len(params))))]
    places: dict[Backend, list[int]] = {}
    for i, p in enumerate(params):
        places.setdefault(backend_of(p.array), []).append(i)
    return list(places.items())
