"""The engines that are compared: how each is started, what must be installed for it, and which nets it can do."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple


class Engine(NamedTuple):
    """An engine as a row of a table.

    ``worker`` is what its process is told to load, ``environment`` is set for that process (None removes a variable),
    ``needs`` is the package without which it is left out, ``install`` says how to get that. ``device`` is where it computes;
    engines of different devices are not compared.
    """

    name: str
    worker: str
    needs: str
    install: str
    environment: dict[str, str | None] = {}
    device: str = "cpu"


_CUPY = "pip install 'minidl[cuda13]', on a machine with a GPU"
_TORCH = "pip install 'minidl[bench]'"

ENGINES = {
    engine.name: engine
    for engine in (
        Engine("torch", "torch", "torch", _TORCH),
        Engine("torch-channels-last", "torch-channels-last", "torch", _TORCH),
        Engine("minidl", "minidl", "numba", "pip install 'minidl[fast]'", {"MINIDL_FAST": None}),
        Engine("minidl-numpy", "minidl", "numpy", "pip install numpy", {"MINIDL_FAST": "0"}),
        Engine("jax", "jax", "jax", "pip install jax"),
        Engine("mygrad", "mygrad", "mygrad", "pip install mygrad"),
        Engine("torch-cuda", "torch-cuda", "torch", _TORCH, device="cuda"),
        Engine("torch-cuda-channels-last", "torch-cuda-channels-last", "torch", _TORCH, device="cuda"),
        Engine("minidl-cuda", "minidl-cuda", "cupy", _CUPY, device="cuda"),
    )
}
ON_CPU = tuple(name for name, engine in ENGINES.items() if engine.device == "cpu")
ON_CUDA = tuple(name for name, engine in ENGINES.items() if engine.device == "cuda")
PEERS = ("torch", "torch-channels-last")  # a ratio is a ratio to the faster of these
CUDA_PEERS = ("torch-cuda", "torch-cuda-channels-last")  # … and on a GPU of these
OURS = ("minidl", "minidl-numpy")
MYGRAD_NETS = ("toy MLP", "BN-MLP", "MLP", "LeNet")  # it has no grouped convolution, and takes minutes for the others


def package_of(worker: str) -> str:
    """The package that a worker imports for what it was told: one of those that have PyTorch's interface."""
    packages = {engine.worker: engine.worker.partition("-")[0] for engine in ENGINES.values()}
    if packages.get(worker) not in ("minidl", "torch"):
        known = ", ".join(name for name, package in packages.items() if package in ("minidl", "torch"))
        raise ValueError(f"engine must be one of {known}, got {worker!r}")
    return packages[worker]


def installed(names: Sequence[str]) -> list[Engine]:
    """Those of the named engines that can run here; a line says which cannot. Ends the program if PyTorch cannot.

    Where Numba is missing, minidl runs on NumPy alone.
    """
    found, missing = [], set()
    for name in names:
        engine = ENGINES[name]
        if find_spec(engine.needs) is not None:
            found.append(engine)
        elif engine.needs == "torch":
            sys.exit(
                f"PyTorch is not installed, and every ratio is a ratio to it: {engine.install}\n"
                f"(To time minidl alone: --engines {' '.join(OURS)})"
            )
        elif engine.needs not in missing:
            missing.add(engine.needs)
            print(f"left out: {engine.name}; it needs {engine.needs} ({engine.install})", file=sys.stderr)
            if engine.name == "minidl" and "minidl-numpy" not in names:
                found.append(ENGINES["minidl-numpy"])
    if not found:
        sys.exit("None of the engines that were asked for is installed.")
    return found


def can_run(engine: Engine, net: str, shape: Sequence[int]) -> bool:
    """Whether the engine has something of its own to say about this net, whose inputs have this shape."""
    if engine.name.endswith("channels-last"):
        return len(shape) == 3  # only images have a layout
    return engine.name != "mygrad" or net in MYGRAD_NETS


def all_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_asked() -> int:
    """How many threads a worker shall use: ``MINIDL_NUM_THREADS``, or else all cores."""
    return int(os.environ.get("MINIDL_NUM_THREADS") or all_cores())


def threads_environment(threads: int) -> dict[str, str | None]:
    """What a worker's environment must say so that nothing in it uses more threads than that."""
    variables = [f"{name}_NUM_THREADS" for name in ("MINIDL", "OMP", "OPENBLAS", "MKL", "NUMBA")]
    return dict.fromkeys([*variables, "VECLIB_MAXIMUM_THREADS"], str(threads))
