"""Processes that take turns: each holds one engine, and while one of them computes the others wait for a line.

A worker is a module of this folder that prints one JSON object as soon as it is ready, and then answers every line that it
reads (a request, in JSON) with one line (a JSON object). So all engines see the machine in the same minutes, and none
has another one's threads, memory or libraries beside it in its own process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAUSE = 0.05  # s between two turns: threads that spin while they wait for more work sleep by then
LIMIT = 900.0  # s that one answer may take


class Worker:
    """A process with one engine.

    Args:
        name: of the row that it works for.
        module: what is run, as in ``python -m``.
        arguments: what the module is told.
        environment: variables to set for it; None removes one.

    Attributes:
        ready: what it said when it was ready; empty if it died before.
        error: why there will be no more answers; empty while all is well.
    """

    def __init__(
        self, name: str, module: str, *arguments: object, environment: Mapping[str, str | None] | None = None
    ) -> None:
        self.name = name
        self.error = ""
        # Its messages go to a file: a pipe that nobody reads would fill up and stop it.
        self._messages = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        changes = environment or {}
        variables = {k: v for k, v in {**os.environ, "PYTHONIOENCODING": "utf-8", **changes}.items() if v is not None}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=ROOT,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            text=True,
            encoding="utf-8",
        )
        self.ready = self._answer() or {}

    def ask(self, request: Any) -> dict[str, Any] | None:
        """Send a request and wait for the answer; None once the worker has died."""
        if self.error:
            return None
        assert self._process.stdin is not None
        with suppress(OSError):  # if it is gone, reading will say why
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._messages.close()

    def _answer(self) -> dict[str, Any] | None:
        assert self._process.stdout is not None
        watch = threading.Timer(LIMIT, self._process.kill)
        watch.daemon = True
        start = time.perf_counter()
        watch.start()
        try:
            for line in self._process.stdout:
                if line.startswith("{"):  # anything else is an engine that talks to itself
                    answer: dict[str, Any] = json.loads(line)
                    return answer
        finally:
            watch.cancel()
        code = self._process.wait()
        self._messages.seek(0)
        lines = self._messages.read().strip().splitlines()
        late = f"no answer within {LIMIT:.0f} s" if time.perf_counter() - start >= LIMIT else ""
        self.error = late or (lines[-1].strip() if lines else f"ended with code {code} and no message")
        shown = "\n".join(f"    {line}" for line in lines[-20:])
        print(f"\n{self.name}: its process ended (code {code}). {late}\n{shown}", file=sys.stderr, flush=True)
        return None


def take_turns(
    workers: Sequence[Worker], rounds: int, request: Any, tick: Callable[[], None] = lambda: None
) -> dict[str, list[dict[str, Any]]]:
    """Ask every worker once in every round, one after the other; return their answers by name, in the order of rounds.

    Who comes first changes from round to round, so that none always follows the same other. ``tick`` is called after
    each turn.
    """
    answers: dict[str, list[dict[str, Any]]] = {worker.name: [] for worker in workers}
    for number in range(rounds):
        first = number % max(len(workers), 1)
        for worker in [*workers[first:], *workers[:first]]:
            time.sleep(PAUSE)
            answer = worker.ask(request)
            if answer is not None:
                answers[worker.name].append(answer)
            tick()
    return answers


def spread(values: Sequence[float]) -> float:
    """(largest − smallest) / median."""
    return (max(values) - min(values)) / median(values)
