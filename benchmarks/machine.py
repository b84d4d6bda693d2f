"""Describe this machine and measure what it can do at best: how fast it copies memory and multiplies matrices.

python -m benchmarks.machine [--seconds 0.5] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

from benchmarks.cli import run
from benchmarks.engines import all_cores
from benchmarks.timing import per_call

COPY_BYTES = 1 << 28  # far more than any cache holds
GEMM_SIZE = 1024
PACKAGES = ("minidl", "numpy", "numba", "torch", "jax", "mygrad", "cupy-cuda12x", "cupy-cuda13x")


def describe() -> dict[str, Any]:
    """The machine and the versions of what runs on it; None where something cannot be found out. Sizes in bytes."""
    return {
        "cpu": _cpu_model(),
        "gpu": _gpu(),
        "cores": all_cores(),
        "instructions": _instructions(),
        "caches": _caches(),
        "memory": _memory(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "blas": _blas(),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": commit(),
    }


def measure(seconds: float = 0.5) -> dict[str, float]:
    """Copy bandwidth in GB/s and sgemm rate in GFLOP/s, with one thread and with all. Takes about five times ``seconds``.

    A copy of n bytes counts as 2n: n are read and n are written. (That a processor may also read what it is about to
    overwrite is not counted.) An n×n matrix product counts as 2n³ operations.
    """
    return {**_copy_rates(seconds), **_gemm_rates(seconds)}


def _copy_rates(seconds: float) -> dict[str, float]:
    cores = all_cores()
    source, target = np.ones(COPY_BYTES // 8), np.zeros(COPY_BYTES // 8)
    bounds = [len(source) * i // cores for i in range(cores + 1)]
    parts = [slice(a, b) for a, b in pairwise(bounds)]

    def copy_part(part: slice) -> None:
        np.copyto(target[part], source[part])  # NumPy lets other threads run meanwhile

    with ThreadPoolExecutor(cores) as pool:
        copies: dict[str, Callable[[], Any]] = {
            "copy_one": lambda: copy_part(slice(None)),
            "copy_all": lambda: list(pool.map(copy_part, parts)),
        }
        results = {}
        for name, copy in copies.items():
            copy()
            results[name] = 2 * COPY_BYTES / per_call(copy, seconds) / 1e9
    return results


def _gemm_rates(seconds: float) -> dict[str, float]:
    import threadpoolctl

    a, b, out = (np.ones((GEMM_SIZE, GEMM_SIZE), np.float32) for _ in range(3))
    results = {}
    for name, threads in (("gemm_one", 1), ("gemm_all", all_cores())):
        with threadpoolctl.threadpool_limits(threads):
            np.matmul(a, b, out=out)
            results[name] = 2 * GEMM_SIZE**3 / per_call(lambda: np.matmul(a, b, out=out), seconds) / 1e9
    return results


def headline(machine: dict[str, Any]) -> str:
    """The machine in one line."""
    packages = [f"{name} {number}" for name, number in machine["packages"].items() if number]
    blas = ", ".join(machine["blas"]) or "BLAS unknown"
    gpu = f"{machine['gpu']}, " if machine["gpu"] else ""
    memory = f"{machine['memory'] / 2**30:.0f} GiB, " if machine["memory"] else ""
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {memory}{gpu}{machine['os']}, Python {machine['python']}, "
        f"{', '.join(packages)}; {blas}; commit {machine['commit'] or 'unknown'}"
    )


def commit() -> str | None:
    """The commit that is checked out, with ``-dirty`` if files differ from it."""
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _cpu_model() -> str:
    for line in _lines("/proc/cpuinfo"):
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "Hardware"):
            return value.strip()
    if sys.platform == "darwin":
        with suppress(OSError, subprocess.SubprocessError):
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    return platform.processor() or platform.machine() or "unknown CPU"


def _gpu() -> str | None:
    """The first GPU with its driver, where NVIDIA's tool tells."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.splitlines()), "").replace(",", ", driver") or None


def _instructions() -> str | None:
    """The widest vector instructions, where Linux tells."""
    for line in _lines("/proc/cpuinfo"):
        if line.startswith(("flags", "Features")):
            flags = line.split()
            return next((name for name in ("avx512f", "avx2", "avx", "sve", "asimd", "sse2") if name in flags), None)
    return None


def _caches() -> dict[str, str]:
    """Size of each cache of the first core, where Linux tells: ``{"L1 Data": "48K", …}``."""
    caches = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ("".join(_lines(folder / name)).strip() for name in ("level", "type", "size"))
        if size:
            caches[f"L{level} {kind}"] = size
    return caches


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def _blas() -> list[str]:
    """NumPy's linear algebra: library, version, and the kind of processor it chose its kernels for."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return []
    return [
        " ".join(str(part) for part in (pool["internal_api"], pool["version"], pool.get("architecture")) if part)
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each of the four measurements (default: 0.5)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    machine = describe()
    rates = measure(options.seconds)
    if options.json:
        print(json.dumps({**machine, "rates": rates}, indent=1))
        return
    print(headline(machine))
    print(f"widest vectors: {machine['instructions'] or 'unknown'}")
    print(f"caches: {', '.join(f'{name} {size}' for name, size in machine['caches'].items()) or 'unknown'}")
    print(f"copy:   {rates['copy_one']:6.1f} GB/s with one thread, {rates['copy_all']:6.1f} with {machine['cores']}")
    print(f"sgemm:  {rates['gemm_one']:6.0f} GFLOP/s with one thread, {rates['gemm_all']:6.0f} with {machine['cores']}")


if __name__ == "__main__":
    run(main)
