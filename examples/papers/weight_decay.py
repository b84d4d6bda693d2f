"""Weight decay and L1: what they do to the weights and the test error of a net with too little to learn from. No download needed.

    python examples/papers/weight_decay.py [--fast] [--images 1000] [--seeds 3]

Krogh and Hertz, "A simple weight decay can improve generalization", 1991. They add λ/2 · Σw² to the loss: each step then
shrinks every weight by a share of itself. They show two things. It picks the smallest weights that do the task, so that what
no image asks for dies away; and with the right λ it suppresses what the net would learn of noise in the targets. So there
are two rows of runs here, on 1,000 images of FashionMini: with the right labels, and with a fifth of them drawn at random.

L1 (Tibshirani, "Regression shrinkage and selection via the lasso", 1996) adds λ · Σ|w|: each step shrinks every weight by
the same amount, so that small ones do not get smaller but vanish. Do they? The slope of |w| jumps at 0, and gradient descent
steps over it, again and again: weights stay small but are not 0. "Soft thresholding" takes a step for the loss alone, then
moves each weight by lr · λ towards 0, but not beyond it (a proximal gradient step: Daubechies et al., 2004). That gives
zeros that are zeros, wherever the batch's gradient is smaller than λ.

What to look for: with wrong labels the net learns them by heart (training error 0) and pays for it; weight decay takes back
much of that. With right labels there is little to gain. L1 makes nearly all weights nearly zero, at much the same test
error.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import Row, error, finish, parse, picture, run, say

import minidl
from minidl import nn, optim
from minidl.data import DataLoader, TensorDataset
from minidl.datasets import FashionMini
from minidl.nn import functional as F

BATCH, WIDTH, LR = 100, 128, 0.2
NONE, L2, L1, SOFT = "no penalty", "weight decay (L2)", "L1 in the loss", "L1 by soft thresholding"
STRENGTHS = {
    L2: (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    L1: (1e-5, 1e-4, 3e-4, 1e-3, 2e-3, 5e-3),
    SOFT: (1e-5, 1e-4, 3e-4, 1e-3, 2e-3, 5e-3),
}
SHOWN = {NONE: 0.0, L2: 3e-2, L1: 1e-3, SOFT: 1e-3}  # in the histograms
NEAR = 1e-3  # a weight that is smaller is nearly zero


@dataclass(frozen=True)
class Data:
    """Images (n, 784), mean 0, deviation 1: a few to learn from, others to choose a strength by, and test images."""

    train: TensorDataset
    validation: TensorDataset
    test: TensorDataset


def load(count: int, noise: float, seed: int) -> Data:
    """``count`` of FashionMini's 6,000 training images, a share of ``noise`` with random labels; 1,000 others to validate."""
    parts = [FashionMini(train=train) for train in (True, False)]
    pixels = [part.data.reshape(-1, 784).to(minidl.float32) for part in parts]
    pixels = [(part - pixels[0].mean()) / pixels[0].std() for part in pixels]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(parts[0]))
    mine, others = order[:count], order[-1000:]
    labels = parts[0].targets.numpy()
    wrong = np.where(rng.random(count) < noise, rng.integers(0, 10, count), labels[mine])
    return Data(
        TensorDataset(minidl.tensor(pixels[0].numpy()[mine]), minidl.tensor(wrong)),
        TensorDataset(minidl.tensor(pixels[0].numpy()[others]), minidl.tensor(labels[others])),
        TensorDataset(pixels[1], parts[1].targets),
    )


@minidl.no_grad()
def soft_threshold(weight: minidl.Tensor, amount: float) -> None:
    """Move each number by ``amount`` towards 0, but not beyond it."""
    weight.copy_(weight.sign() * (weight.abs() - amount).clamp(min=0))


def train(penalty: str, strength: float, data: Data, steps: int, seed: int) -> dict[str, Any]:
    """Train a net of one hidden layer by plain gradient descent; return its errors in percent and what its weights are like.

    The penalty is for the two weight matrices, not for biases. The learning rate falls along half a cosine.
    """
    minidl.manual_seed(seed)
    model = nn.Sequential(nn.Linear(784, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10))
    weights, biases = [model[0].weight, model[2].weight], [model[0].bias, model[2].bias]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": strength if penalty == L2 else 0.0},
        {"params": biases},
    ]
    optimizer = optim.SGD(groups, lr=LR)
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / steps))
    loader = DataLoader(data.train, batch_size=BATCH, shuffle=True, seed=seed)
    step = 0
    while step < steps:
        for images, labels in loader:
            loss = F.cross_entropy(model(images), labels)
            if penalty == L1:
                loss = loss + strength * (weights[0].abs().sum() + weights[1].abs().sum())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if penalty == SOFT:
                for weight in weights:
                    soft_threshold(weight, optimizer.param_groups[0]["lr"] * strength)
            scheduler.step()
            step += 1
            if step == steps:
                break
    flat = np.concatenate([weight.detach().numpy().ravel() for weight in weights])
    return {
        "training error": error(model, data.train),
        "validation error": error(model, data.validation),
        "test error": error(model, data.test),
        "norm": float(np.linalg.norm(flat)),
        "nearly zero": 100 * float((np.abs(flat) < NEAR).mean()),
        "zero": 100 * float((flat == 0).mean()),
        "weights": flat,
    }


def main() -> None:
    """Train with every penalty, strength, noise and seed."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--images", type=int, default=1000, help="images to learn from, 100 to 5000 (default: 1000)"
        )
        parser.add_argument(
            "--noise", type=float, default=0.2, help="share of labels that are drawn at random (default: 0.2)"
        )
        parser.add_argument("--seeds", type=int, help="nets for each point of the curves (default: 3; fast: 1)")

    options = parse(__doc__, "weight_decay", add)
    steps, count = (800, 1) if options.fast else (2000, 3)
    count = count if options.seeds is None else options.seeds
    if count < 1 or not 100 <= options.images <= 5000 or not 0 < options.noise <= 1:
        raise ValueError("--seeds must be at least 1, --images 100 to 5000, and --noise more than 0 and at most 1; got "
                         f"{count}, {options.images} and {options.noise}")  # fmt: skip
    seeds = range(options.seed, options.seed + count)
    plan = [(NONE, 0.0)] + [
        (kind, s) for kind, some in STRENGTHS.items() for s in (some[1::2] if options.fast else some)
    ]
    noises = (0.0, options.noise)
    shown: dict[str, np.ndarray] = {}  # weights for the histograms
    results: dict[tuple[str, float, float], list[dict[str, Any]]] = {}
    for noise in noises:
        data = {seed: load(options.images, noise, seed) for seed in seeds}
        for kind, strength in plan:
            runs = [train(kind, strength, data[seed], steps, seed) for seed in seeds]
            if noise and strength == SHOWN[kind]:
                shown[kind] = runs[0]["weights"]
            results[kind, strength, noise] = [{k: v for k, v in run.items() if k != "weights"} for run in runs]
            means = {k: float(np.mean([run[k] for run in runs])) for k in results[kind, strength, noise][0]}
            say(
                f"{100 * noise:.0f} % random labels, {kind}, λ = {strength:g}: "
                + ", ".join(f"{k} {v:.3g}" for k, v in means.items())
            )

    def mean(kind: str, noise: float, what: str) -> tuple[list[float], list[float]]:
        strengths = [s for k, s in plan if k == kind]
        return strengths, [float(np.mean([r[what] for r in results[kind, s, noise]])) for s in strengths]

    def best(kind: str, noise: float) -> float:
        """The strength with the fewest errors on the validation images."""
        strengths, errors = mean(kind, noise, "validation error")
        return strengths[int(np.argmin(errors))]

    colors = {NONE: "black", L2: "C0", L1: "C1", SOFT: "C2"}

    def draw(axes: Any) -> None:
        for ax, kind in ((axes[0], L2), (axes[1], SOFT)):
            for noise, color in zip(noises, ("C0", "C3"), strict=True):
                for what, style in (("test error", "-"), ("training error", "--")):
                    ax.semilogx(
                        *mean(kind, noise, what),
                        style,
                        marker=".",
                        color=color,
                        label=f"{what}, {100 * noise:.0f} % random labels",
                    )
                ax.axhline(
                    mean(NONE, noise, "test error")[1][0], color=color, linestyle=":", label="test error without"
                )
            ax.set_title(f"errors with {kind}, %")
        for kind in STRENGTHS:
            axes[2].semilogx(*mean(kind, noises[1], "norm"), marker=".", color=colors[kind], label=kind)
            axes[3].semilogx(
                *mean(kind, noises[1], "nearly zero"), marker=".", color=colors[kind], label=f"{kind}: |w| < {NEAR:g}"
            )
            axes[3].semilogx(
                *mean(kind, noises[1], "zero"), "--", marker=".", color=colors[kind], label=f"{kind}: w = 0"
            )
        axes[2].axhline(mean(NONE, noises[1], "norm")[1][0], color="black", linestyle=":", label=NONE)
        axes[2].set_title("length of all weights as a vector")
        axes[3].set_title("share of weights that are zero or nearly, %")
        for kind, weights in shown.items():
            label = f"{kind}, λ = {SHOWN[kind]:g}" if SHOWN[kind] else kind
            axes[4].hist(
                weights, np.linspace(-0.3, 0.3, 121), histtype="step", color=colors[kind], label=label, log=True
            )
            logs = np.log10(np.abs(weights[weights != 0]))
            label += f" (w = 0: {100 * (weights == 0).mean():.0f} %)"
            axes[5].hist(logs, np.linspace(-8, 0, 81), histtype="step", color=colors[kind], label=label)
        axes[4].set_title("weights")
        axes[4].set_ylim(0.5, 3e6)  # room for the legend
        axes[5].set_title("weights that are not 0, by size")
        for ax, label in zip(axes, ["λ"] * 4 + ["weight", "log₁₀ |weight|"], strict=True):
            ax.set_xlabel(label)
            ax.tick_params(axis="x", which="minor", labelbottom=False)
            ax.grid(alpha=0.3)
            ax.legend(fontsize="x-small", handlelength=3.5)

    picture(options, (15, 9), 3, draw, rows=2)
    rows = []
    for noise in noises:
        for kind in (NONE, *STRENGTHS):
            strength = best(kind, noise)
            label = f"{100 * noise:.0f} % random labels, {kind}, λ = {strength:g}"
            found = results[kind, strength, noise]
            rows.append(Row(f"test error, %: {label}", None, [run["test error"] for run in found]))
            if kind in (NONE, L2):
                rows.append(Row(f"length of the weights: {label}", None, [run["norm"] for run in found]))
            else:
                rows.append(Row(f"weights that are 0, %: {label}", None, [run["zero"] for run in found]))
    setting = {
        "ran": f"{options.images} images of FashionMini, 784-{WIDTH}-10 ReLU net, {steps} steps of plain SGD, batches of "
        f"{BATCH}, learning rate {LR} falling along half a cosine; the table has for each penalty the λ with the fewest errors "
        "on 1,000 other training images",
        "paper": "Krogh & Hertz show curves for a linear perceptron and NetTalk: a λ in between is best, and takes back "
        "what noise costs",
    }
    curves = [{"penalty": k, "strength": s, "noise": n, "seeds": runs} for (k, s, n), runs in results.items()]
    finish(options, "Krogh & Hertz 1991, weight decay; Tibshirani 1996, L1", rows, setting, curves,
           "--images 300, or --noise 0.5: how much does weight decay gain, and at which λ?")  # fmt: skip


if __name__ == "__main__":
    run(main)
