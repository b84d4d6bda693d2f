"""One engine in a process of its own, for single operations: every line names a case and is answered with seconds per call.

    python -m benchmarks.case_worker ENGINE        requests: {"case": "relu 16×16, forward", "seconds": 0.2}

A case that fails is answered with its error; the worker goes on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import chains, large_ops, small_ops
from benchmarks.kit import Kit
from benchmarks.timing import per_call

CASES = {**small_ops.CASES, **large_ops.CASES, **chains.CASES}


def main() -> None:
    kit = Kit(sys.argv[1])
    print(json.dumps({"ready": True}), flush=True)
    name = ""
    function: Callable[[], Any] = lambda: None  # noqa: E731
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["case"] != name:
                function = lambda: None  # noqa: E731  # drops the arrays of the case before
                function = CASES[request["case"]].build(kit)
                name = request["case"]
                function()
            answer: dict[str, Any] = {"seconds": per_call(function, request["seconds"])}
        except Exception as error:
            name = ""
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
