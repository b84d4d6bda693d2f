"""One engine and one net in a process of its own: every line asks for seconds of steps, and is answered with their times.

    python -m benchmarks.worker ENGINE MODE NET BATCH        by hand: python -m benchmarks.worker minidl train LeNet 128

Engines: minidl, torch, torch-channels-last, jax, mygrad; on a GPU minidl-cuda, torch-cuda and torch-cuda-channels-last.
Modes: train, infer. Batch 0 is the net's own. A request is a number of seconds, or ``{"seconds": 2, "least": 5}`` with the
least number of steps. Times are in seconds, memory in bytes.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.engines import package_of, threads_asked
from benchmarks.memory import cuda_bytes, held_bytes, peak_bytes
from benchmarks.nets import NETS

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 1e-4


def load(engine: str, mode: str) -> Any:
    """Import the engine, with what it only loads when it is first used."""
    if engine in ("jax", "mygrad"):
        return importlib.import_module(f"benchmarks.with_{engine}")
    dl = importlib.import_module(package_of(engine))
    if on_cuda(engine) and not dl.cuda.is_available():
        sys.exit(f"{engine}: {dl.__name__} finds no GPU here")
    importlib.import_module(f"{dl.__name__}.nn.functional")
    if dl.__name__ == "torch":
        dl.set_num_threads(threads_asked())
    if mode == "train":  # PyTorch imports much more of itself when an optimizer is first made
        dl.optim.SGD([dl.zeros(1, requires_grad=True)], lr=LEARNING_RATE)
    return dl


def on_cuda(engine: str) -> bool:
    """Whether the engine computes on a GPU."""
    return "-cuda" in engine


def until_done(dl: Any, step: Any) -> Any:
    """The same step, which does not return before the GPU has done what it was given."""

    def whole_step() -> Any:
        result = step()
        dl.cuda.synchronize()
        return result

    return whole_step


def batch_of(net: str, batch: int = 0) -> tuple[Any, Any]:
    """Random images (float32, of the net's shape) and labels (int64): NumPy arrays."""
    import numpy as np

    row = NETS[net]
    random = np.random.default_rng(0)
    shape = (batch or row.batch, *row.shape)
    return random.standard_normal(shape, dtype=np.float32), random.integers(0, row.classes, shape[0])


def make_step(engine: str, net: str, mode: str, batch: int = 0) -> Any:
    """A function that trains (or infers) on one batch, and leaves the loss (or logits) behind."""
    dl = load(engine, mode)
    images, labels = batch_of(net, batch)
    if engine in ("jax", "mygrad"):
        return dl.make_step(NETS[net].build, images, labels, mode)
    x, y = (dl.from_numpy if dl.__name__ == "torch" else dl.tensor)(images), dl.tensor(labels)
    functional = dl.nn.functional
    dl.manual_seed(0)
    model = NETS[net].build(dl.nn)
    if engine.endswith("channels-last") and x.ndim == 4:
        x = x.to(memory_format=dl.channels_last)
        model = model.to(memory_format=dl.channels_last)
    if on_cuda(engine):
        x, y, model = x.to("cuda"), y.to("cuda"), model.to("cuda")
    if mode == "infer":
        model.eval()

        def infer() -> Any:
            with dl.no_grad():
                return model(x)

        return until_done(dl, infer) if on_cuda(engine) else infer
    optimizer = dl.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)

    def train() -> Any:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return until_done(dl, train) if on_cuda(engine) else train


def run_steps(step: Any, seconds: float, least: int) -> list[float]:
    """The seconds of every step, for ``seconds`` in all or at least ``least`` steps."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


def say(**answer: Any) -> None:
    """Print one answer."""
    print(json.dumps(answer), flush=True)


def main() -> None:
    engine, mode, net, batch = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    start = time.perf_counter()
    load(engine, mode)
    imported, base = time.perf_counter() - start, 0 if on_cuda(engine) else held_bytes()
    step = make_step(engine, net, mode, batch)
    start = time.perf_counter()
    step()
    say(first=time.perf_counter() - start, imported=imported, base=base)
    for line in sys.stdin:
        request = json.loads(line)
        if not isinstance(request, dict):
            request = {"seconds": request}
        times = run_steps(step, request["seconds"], request.get("least", 5))
        say(times=times, peak=cuda_bytes(package_of(engine)) if on_cuda(engine) else peak_bytes())


if __name__ == "__main__":
    main()
