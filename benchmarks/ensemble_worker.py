"""minidl in a process of its own, evaluating ensembles: every line names a case and is answered with seconds per call.

    python -m benchmarks.ensemble_worker        requests: {"net": "MLP", "members": 5, "batch": 8, "seconds": 0.2}

The answer has the seconds of ``MembersTogether`` and of its members one after another, measured one right after the other, and
whether a ``VotingEnsemble`` would take the former. A case that fails is answered with its error; the worker goes on.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

import minidl
from benchmarks.nets import NETS
from benchmarks.timing import per_call
from minidl import nn
from minidl.ensemble import MembersTogether


def draw_again(module: nn.Module) -> None:
    """New parameters, where a layer has them."""
    if hasattr(module, "reset_parameters"):
        module.reset_parameters()


def measure(net: str, members: int, batch: int, seconds: float, turn: int) -> dict[str, Any]:
    """Time both ways under ``no_grad``; in odd turns the other way comes first."""
    minidl.manual_seed(0)
    first = NETS[net].build(nn).eval()  # copied, as every build has a class of its own for its blocks
    models = [first, *(copy.deepcopy(first).apply(draw_again) for _ in range(1, members))]
    x = minidl.tensor(np.random.default_rng(0).standard_normal((batch, *NETS[net].shape), dtype=np.float32))
    together = MembersTogether(models)
    ways = {"one by one": lambda: minidl.stack([model(x) for model in models]), "together": lambda: together(x)}
    with minidl.no_grad():
        difference = float((ways["one by one"]() - together(x)).abs().max().item())
        order = list(ways) if turn % 2 == 0 else list(ways)[::-1]
        times = {name: per_call(ways[name], seconds) for name in order}
        return {**times, "pays": together.pays(x), "difference": difference}


def main() -> None:
    print(json.dumps({"ready": True}), flush=True)
    turns: dict[str, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        key = json.dumps(request)
        turn = turns[key] = turns.get(key, -1) + 1
        try:
            answer = measure(**request, turn=turn)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
