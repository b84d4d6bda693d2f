"""Trains the LeNet-like net on FashionMini in one engine, in a process of its own: every line asks for one training run.

    python -m benchmarks.accuracy_worker ENGINE        requests: {"seed": 0, "target": 0.86, "epochs": 30}

Initial weights and the order of the images come from NumPy and the seed, so both engines begin alike and see the same
batches. The images come straight from the package's file: PyTorch's process does not import minidl.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

from benchmarks.kit import Kit
from benchmarks.nets import NETS

DATA = Path(__file__).resolve().parent.parent / "minidl" / "datasets" / "fashion_mini.npz"
BATCH = 100
RECIPE = {"lr": 0.03, "momentum": 0.9, "weight_decay": 5e-4}


def load_data() -> tuple[np.ndarray, ...]:
    """Training images (6000, 1, 28, 28) from 0 to 1, their labels, test images and labels."""
    with np.load(DATA, allow_pickle=False) as file:
        images = [file[f"{part}_images"][:, None].astype(np.float32) / 255 for part in ("train", "test")]
        labels = [file[f"{part}_labels"].astype(np.int64) for part in ("train", "test")]
    return images[0], labels[0], images[1], labels[1]


class Training:
    """One engine with the data.

    Args:
        engine: minidl, torch or torch-channels-last.
    """

    def __init__(self, engine: str) -> None:
        self.kit = Kit(engine)
        self.dl, self.functional = self.kit.dl, self.kit.functional
        self.images, self.labels, self.test_images, self.test_labels = load_data()

    def make_model(self, seed: int) -> Any:
        """The net, with weights drawn by NumPy: uniform within ±1/√fan_in, which is PyTorch's default."""
        random = np.random.default_rng(seed)
        model = NETS["LeNet"].build(self.dl.nn)
        bound = 1.0
        with self.dl.no_grad():
            for p in model.parameters():  # a weight, then the bias of the same layer
                if p.ndim > 1:
                    bound = float(np.prod(p.shape[1:])) ** -0.5
                p.copy_(self.dl.from_numpy(random.uniform(-bound, bound, tuple(p.shape)).astype(np.float32)))
        if self.kit.channels_last:
            model = model.to(memory_format=self.dl.channels_last)
        return model

    def batch(self, images: np.ndarray) -> Any:
        """Images as the engine's tensor."""
        x = self.dl.from_numpy(images)
        return x.to(memory_format=self.dl.channels_last) if self.kit.channels_last else x

    def train_epoch(self, model: Any, optimizer: Any, order: np.ndarray) -> None:
        """One step for every ``BATCH`` images of ``order``."""
        model.train()
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            loss = self.functional.cross_entropy(
                model(self.batch(self.images[rows])), self.dl.from_numpy(self.labels[rows])
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def accuracy(self, model: Any) -> float:
        """The share of test images that are recognised, 0 to 1."""
        model.eval()
        right = 0
        with self.dl.no_grad():
            for start in range(0, len(self.test_images), 250):
                logits = model(self.batch(self.test_images[start : start + 250])).numpy()
                right += int((logits.argmax(1) == self.test_labels[start : start + 250]).sum())
        return right / len(self.test_images)

    def optimizer(self, model: Any) -> Any:
        """SGD by the recipe."""
        return self.dl.optim.SGD(model.parameters(), **RECIPE)

    def warm_up(self) -> float:
        """Two steps and a test batch with a net that is thrown away; seconds. (What is compiled once is compiled here.)"""
        start = time.perf_counter()
        model = self.make_model(0)
        self.train_epoch(model, self.optimizer(model), np.arange(2 * BATCH))
        self.accuracy(model)
        return time.perf_counter() - start

    def until(self, seed: int, target: float, epochs: int) -> dict[str, Any]:
        """Train until the test accuracy reaches ``target``, for ``epochs`` at most.

        Returns:
            ``reached``, ``epochs``, ``seconds`` of training (testing is not counted), ``test_seconds``, and the
            accuracy after every epoch.
        """
        model = self.make_model(seed)
        optimizer = self.optimizer(model)
        order = np.random.default_rng(1000 + seed)
        seconds = test_seconds = 0.0
        accuracies: list[float] = []
        while len(accuracies) < epochs and (not accuracies or accuracies[-1] < target):
            start = time.perf_counter()
            self.train_epoch(model, optimizer, order.permutation(len(self.images)))
            between = time.perf_counter()
            accuracies.append(self.accuracy(model))
            seconds += between - start
            test_seconds += time.perf_counter() - between
        reached = accuracies[-1] >= target
        answer = {"reached": reached, "epochs": len(accuracies), "seconds": seconds}
        return {**answer, "test_seconds": test_seconds, "accuracies": accuracies}


def main() -> None:
    training = Training(sys.argv[1])
    print(json.dumps({"warm_up": training.warm_up()}), flush=True)
    for line in sys.stdin:
        print(json.dumps(training.until(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
