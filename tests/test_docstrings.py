"""The examples in docstrings give what stands below them."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import PIL.Image
import pytest

import minidl
from minidl import models, nn, optim, transfer, transforms
from minidl.nn import functional as F

COMPILED = "minidl.backend.cpu.fast"  # needs Numba, and has nothing for users
MODULES = [m.name for m in pkgutil.walk_packages(minidl.__path__, "minidl.") if not m.name.startswith(COMPILED)]
NEED_FILES = {"MemmapDataset", "MemmapWriter", "ShardWriter", "ShardDataset", "pack_images", "Trainer"}


def usual() -> dict[str, Any]:
    """What a user would have imported and made."""
    weight = nn.Parameter(minidl.ones(2))
    weight.grad = minidl.ones(2)
    names = {name: getattr(module, name) for module in (models, transfer, transforms) for name in module.__all__}
    return names | {
        "minidl": minidl, "nn": nn, "optim": optim, "np": np, "F": F, "PIL": PIL,
        "x": minidl.ones(2, requires_grad=True), "weight": weight, "model": nn.Linear(4, 2),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["minidl", *MODULES])
def test_the_examples_of_a_module(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    minidl.manual_seed(0)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder().find(module, name, globs={**usual(), **vars(module)}):
        if test.name.rpartition(".")[2] not in NEED_FILES:
            runner.run(test, out=report.append)
    assert not report, "".join(report)
