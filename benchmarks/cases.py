"""Running cases in several engines that take turns, and what their times come to. Shared by ``ops.py`` and ``overhead.py``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.cli import Progress
from benchmarks.engines import OURS, PEERS, Engine
from benchmarks.kit import Case
from benchmarks.turns import Worker, spread, take_turns


def run_cases(
    cases: Mapping[str, Case], engines: Sequence[Engine], options: argparse.Namespace, progress: Progress
) -> Iterator[dict[str, Any]]:
    """Time every case in every engine; a row for each case, as soon as it is done.

    Args:
        cases: by name.
        engines: who takes part; the channels-last PyTorch only where a case has images.
        options: ``rounds``, and ``seconds`` of a turn.
        progress: ticks once for each turn.

    Yields:
        ``case``, ``seconds`` (engine → median over rounds of the seconds per call), ``rounds`` (engine → those of each
        round), ``spread`` (engine → (largest − smallest) / median), ``ratio`` (engine of minidl → its time by the faster
        PyTorch's) and ``errors`` (engine → message).
    """
    workers: list[Worker] = []
    try:
        for engine in engines:
            module = "benchmarks.case_worker"
            workers.append(Worker(engine.name, module, engine.worker, environment=engine.environment))
        for name, case in cases.items():
            progress.now(name)
            plan = [worker for worker in workers if _takes_part(worker.name, case)]
            answers = take_turns(plan, options.rounds, {"case": name, "seconds": options.seconds}, progress.tick)
            errors = {worker.name: worker.error for worker in plan if worker.error}
            yield _row(name, answers, errors)
    finally:
        for worker in workers:
            worker.close()


def count_turns(cases: Mapping[str, Case], engines: Sequence[Engine], rounds: int) -> int:
    """How many turns ``run_cases`` will take."""
    return rounds * sum(_takes_part(engine.name, case) for case in cases.values() for engine in engines)


def _takes_part(engine: str, case: Case) -> bool:
    return case.images or engine != "torch-channels-last"


def _row(name: str, answers: dict[str, list[dict[str, Any]]], errors: dict[str, str]) -> dict[str, Any]:
    rounds: dict[str, list[float]] = {}
    for engine, given in answers.items():
        rounds[engine] = [answer["seconds"] for answer in given if "seconds" in answer]
        for answer in given:
            if "error" in answer:
                errors[engine] = answer["error"]
    rounds = {engine: times for engine, times in rounds.items() if times}
    seconds = {engine: median(times) for engine, times in rounds.items()}
    peers = [seconds[engine] for engine in PEERS if engine in seconds]
    ratio = {engine: seconds[engine] / min(peers) for engine in OURS if engine in seconds and peers}
    spreads = {engine: spread(times) for engine, times in rounds.items()}
    return {"case": name, "seconds": seconds, "rounds": rounds, "spread": spreads, "ratio": ratio, "errors": errors}


def fastest_peer(row: dict[str, Any]) -> float | None:
    """Seconds of the faster PyTorch; None if there is none."""
    return min((row["seconds"][engine] for engine in PEERS if engine in row["seconds"]), default=None)
