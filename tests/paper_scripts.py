"""The scripts of ``examples/papers`` as modules."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "examples" / "papers"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A script, freshly imported; it finds what lies beside it, as when it is run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for module in (name, "common", "averaging"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return importlib.import_module(name)
