"""Momentum and schedules: how a step is made of gradients, and how its length changes, on MNIST.

    python examples/papers/momentum.py [--fast] [--steps 1500] [--seeds 3] [--data FOLDER]

Polyak, "Some methods of speeding up the convergence of iteration methods", 1964: on a quadratic that is κ times as steep in one
direction as in another, plain descent needs a number of steps that grows like κ; with momentum ("heavy ball") it grows like
√κ. This can be counted (left plot). Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in
deep learning", 2013, table 1: so it is with deep autoencoders, which squeeze an image through a few numbers. On MNIST plain
SGD ends at an error of 2.1, momentum and Nesterov's momentum of 0.9 at 1.0 (middle plot; the net and the number of steps
are far smaller here, and so the errors larger). Nesterov's gains on the heavy ball only from 0.99 on.

A running average of the gradients (SGD's dampening: 0.1 of each new one, 0.9 of what was) is the heavy ball with a tenth of
the learning rate: given its own best rate it does the same. It is not a better gradient but the same step by another name.

Right: the learning rate over time, for a classifier of digits. Gradients of batches are noisy, and at a constant rate the noise
keeps the net from settling. Smaller steps at the end help: a tenth after half of the time and again after three quarters,
half a cosine (Loshchilov and Hutter, "SGDR", 2017), or up first and then down to nothing (one cycle: Smith and Topin,
"Super-convergence", 2017). So does the average of the weights over the second half (Polyak and Juditsky, "Acceleration of
stochastic approximation by averaging", 1992), without a schedule: noise averages out.

What to look for: each method has its own best rate of four, chosen by 5,000 of the training images. Compare methods at one and
the same rate, and you compare nothing.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from common import Row, error, finish, mnist, parse, picture, run, say

import minidl
from minidl import Tensor, models, nn, optim
from minidl.data import DataLoader, TensorDataset
from minidl.nn import functional as F

BATCH, MU, POINTS = 100, 0.9, 25  # POINTS: how often the error is taken on the way
NESTEROV: dict[str, Any] = {"momentum": MU, "nesterov": True}
KINDS: dict[str, tuple[dict[str, Any], list[float]]] = {  # options of SGD, and learning rates to choose from
    "plain": ({}, [0.005, 0.01, 0.02, 0.04]),
    "momentum": ({"momentum": MU}, [0.002, 0.004, 0.008, 0.016]),
    "Nesterov": (NESTEROV, [0.002, 0.004, 0.008, 0.016]),
    "average of gradients": ({"momentum": MU, "dampening": MU}, [0.02, 0.04, 0.08, 0.16]),
}
RATES = [0.01, 0.03, 0.1, 0.3]  # of the classifier
SCHEDULES: dict[str, Callable[[optim.SGD, int], Any]] = {
    "constant": lambda optimizer, steps: optim.lr_scheduler.ConstantLR(optimizer, 1.0),
    "constant, weights averaged": lambda optimizer, steps: optim.lr_scheduler.ConstantLR(optimizer, 1.0),
    "step": lambda optimizer, steps: optim.lr_scheduler.MultiStepLR(optimizer, [steps // 2, 3 * steps // 4]),
    "cosine": lambda optimizer, steps: optim.lr_scheduler.CosineAnnealingLR(optimizer, steps),
    "one cycle": lambda optimizer, steps: optim.lr_scheduler.OneCycleLR(
        optimizer, optimizer.param_groups[0]["lr"], total_steps=steps
    ),
}
PAPER = {"plain": 2.1, "momentum": 1.0, "Nesterov": 1.0}  # Sutskever et al., table 1, MNIST, momentum 0 and 0.9
KAPPAS = [10, 30, 100, 300, 1000]
METHODS = ("plain", "momentum", "Nesterov")


def best_on_quadratic(method: str, kappa: float) -> tuple[dict[str, Any], float]:
    """Options of SGD for curvatures from 1/κ to 1, and the factor by which each step then shrinks the distance in the end.

    Plain descent and heavy ball with their best constants (Polyak 1964), Nesterov's with lr 1 and the momentum that fits it
    ("Introductory lectures on convex optimization", 2004, section 2.2.1).
    """
    low, root = 1 / kappa, math.sqrt(kappa)
    if method == "plain":
        return {"lr": 2 / (1 + low)}, (kappa - 1) / (kappa + 1)
    if method == "momentum":
        factor = (root - 1) / (root + 1)
        return {"lr": 4 / (1 + math.sqrt(low)) ** 2, "momentum": factor**2}, factor
    return {"lr": 1.0, "momentum": (root - 1) / (root + 1), "nesterov": True}, 1 - 1 / root


def steps_on_quadratic(method: str, kappa: float, goal: float = 1e-6) -> int:
    """Count SGD's steps until the distance to the minimum of ½ Σ hᵢ wᵢ² is ``goal`` of what it was, for good."""
    curvature = np.geomspace(1 / kappa, 1, 20)
    w = minidl.tensor(np.ones(20), requires_grad=True)
    optimizer = optim.SGD([w], **best_on_quadratic(method, kappa)[0])
    start = math.sqrt(20)
    for step in itertools.count(1):
        w.grad = minidl.tensor(curvature * w.detach().numpy())  # the gradient, with no need of a graph
        optimizer.step()
        if np.linalg.norm(w.detach().numpy()) <= goal * start:
            return step
    raise AssertionError


def autoencoder() -> nn.Sequential:
    """784 pixels through 16 numbers and back; rectified linear units, but for the 16. The outputs are logits of pixels."""
    widths = [784, 128, 64, 32, 16, 32, 64, 128, 784]
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        linear = nn.Linear(inputs, outputs)
        nn.init.xavier_normal_(linear.weight)
        layers += [linear] if outputs in (16, 784) else [linear, nn.ReLU()]
    return nn.Sequential(*layers)


def squared_error(model: nn.Module, images: Tensor) -> Tensor:
    """The sum over an image's pixels of the squares of what is wrong, mean over the images."""
    return (F.sigmoid(model(images)) - images).square().sum() / len(images)


def classifier() -> nn.Module:
    """Three hidden layers of 128 rectified linear units."""
    return models.MLP(784, [128, 128, 128], 10)


def train(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    loader: Any,
    scheduler: Any,
    steps: int,
    average: bool = False,
    measure: Callable[[], float] | None = None,
) -> list[float]:
    """Take ``steps`` steps, however many epochs that is; return what ``measure()`` said on the way, POINTS times.

    With ``average`` the model gets the mean of its weights over the second half of the steps in the end.
    """
    optimizer, parameters, curve = scheduler.optimizer, list(model.parameters()), []
    means = [p.detach().clone() for p in parameters]
    for step, batch in enumerate(itertools.islice(itertools.chain.from_iterable(itertools.repeat(loader)), steps), 1):
        value = loss(*batch)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        scheduler.step()
        if average and step > steps // 2:
            for mean, p in zip(means, parameters, strict=True):
                mean.lerp_(p.detach(), 1 / (step - steps // 2))  # the running mean: all count the same
        if measure is not None and step * POINTS // steps != (step - 1) * POINTS // steps:
            curve.append(measure())
    if average:
        for mean, p in zip(means, parameters, strict=True):
            p.detach().copy_(mean)
    return curve


def autoencode(kind: str, data: dict[str, Any], steps: int, rate: float, seed: int) -> dict[str, Any]:
    """Train an autoencoder; return its squared error over time on training images, and in the end on those to choose by."""
    minidl.manual_seed(seed)
    model = autoencoder()
    optimizer = optim.SGD(model.parameters(), lr=rate, **KINDS[kind][0])
    if "dampening" in KINDS[kind][0]:  # SGD's average begins with the whole first gradient: a step ten times too long
        for p in model.parameters():
            optimizer.state[p]["momentum_buffer"] = minidl.zeros_like(p)
    loader = DataLoader(data["train"], batch_size=BATCH, shuffle=True, seed=seed, drop_last=True)

    @minidl.no_grad()
    def measure(part: str) -> float:
        return squared_error(model, data[part].tensors[0]).item()

    curve = train(
        model,
        lambda images, _: squared_error(model, images),
        loader,
        SCHEDULES["constant"](optimizer, steps),
        steps,
        measure=lambda: measure("sample"),
    )
    return {"curve": curve, "result": curve[-1], "choose": measure("choose")}


def classify(schedule: str, data: dict[str, Any], steps: int, rate: float, seed: int) -> dict[str, Any]:
    """Train a classifier; return its error in percent on the test images, and on those to choose by."""
    minidl.manual_seed(seed)
    model = classifier()
    optimizer = optim.SGD(model.parameters(), lr=rate, **NESTEROV)
    loader = DataLoader(data["train"], batch_size=BATCH, shuffle=True, seed=seed, drop_last=True)
    average = "averaged" in schedule
    train(
        model,
        lambda images, labels: F.cross_entropy(model(images), labels),
        loader,
        SCHEDULES[schedule](optimizer, steps),
        steps,
        average,
    )
    return {"result": error(model, data["test"]), "choose": error(model, data["choose"])}


def best_rate(run_one: Callable[[float, int], dict[str, Any]], rates: list[float], seeds: list[int]) -> dict[str, Any]:
    """Try every rate with every seed; return the rate with the least mean of "choose", its runs, and what was chosen from."""
    runs = {rate: [run_one(rate, seed) for seed in seeds] for rate in rates}
    means = {rate: float(np.mean([one["choose"] for one in of_rate])) for rate, of_rate in runs.items()}
    best = min(rates, key=lambda rate: means[rate] if math.isfinite(means[rate]) else math.inf)
    tried = {rate: mean if math.isfinite(mean) else None for rate, mean in means.items()}
    return {"rate": best, "runs": runs[best], "tried": tried}


def draw(
    axes: Any, counted: dict[str, list[int]], kinds: dict[str, Any], schedules: dict[str, Any], steps: int
) -> None:
    """Steps on the quadratic; the autoencoder's error over time; the classifier's errors by schedule."""
    quadratic, middle, right = axes
    for i, method in enumerate(METHODS):
        theory = [math.log(1e-6) / math.log(best_on_quadratic(method, kappa)[1]) for kappa in KAPPAS]
        quadratic.loglog(KAPPAS, theory, color=f"C{i}", linewidth=1, label=f"{method}, theory")
        quadratic.loglog(KAPPAS, counted[method], "o", color=f"C{i}", markersize=5, label=f"{method}, counted")
    quadratic.set_title("Steps to a millionth of the distance")
    quadratic.set_xlabel("κ, largest over smallest curvature")
    at = [steps * (k + 1) // POINTS for k in range(POINTS)]
    for i, (kind, found) in enumerate(kinds.items()):
        mean = np.mean([one["curve"] for one in found["runs"]], axis=0)
        style = {"linestyle": "--", "linewidth": 2.5, "alpha": 0.7} if "average" in kind else {}
        middle.plot(at, mean, color=f"C{i}", label=f"{kind}, rate {found['rate']:g}", **style)
    end = np.mean([one["result"] for one in kinds["plain"]["runs"]]) * PAPER["Nesterov"] / PAPER["plain"]
    middle.axhline(end, color="0.3", linewidth=1, linestyle=":", label="paper: 1.0 / 2.1 of plain SGD's end")
    middle.set_title("Autoencoder: squared error, training images")
    middle.set_xlabel("steps")
    middle.set_ylim(0, None)
    for i, found in enumerate(schedules.values()):
        results = [one["result"] for one in found["runs"]]
        right.barh(i, float(np.mean(results)), color="0.75")
        right.plot(results, [i] * len(results), "k.", markersize=5)
    labels = [f"{name}, rate {found['rate']:g}".replace(", ", ",\n") for name, found in schedules.items()]
    right.set_yticks(range(len(schedules)), labels)
    right.invert_yaxis()
    right.set_title("Classifier: test error, % (dots: seeds)")
    for ax in (quadratic, middle):
        ax.grid(alpha=0.3)
        ax.legend(fontsize="small")


def main() -> None:
    """Count on the quadratic, train the autoencoders, train the classifiers."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--steps", type=int, help="of every net (default: 1500; fast: 600)")
        parser.add_argument("--seeds", type=int, help="nets for each method and rate (default: 3; fast: 1)")

    options = parse(__doc__, "momentum", add)
    steps = (600 if options.fast else 1500) if options.steps is None else options.steps
    count = (1 if options.fast else 3) if options.seeds is None else options.seeds
    if steps < POINTS or count < 1:
        raise ValueError(f"--steps must be at least {POINTS} and --seeds at least 1, not {steps} and {count}")
    whole, seeds = mnist(options, True), list(range(options.seed, options.seed + count))
    last = len(whole) - len(whole) // 12  # 55,000 to train on, 5,000 to choose by
    data = {
        "train": TensorDataset(*whole[:last]),
        "sample": TensorDataset(*whole[:1000]),  # of the training images, for the error on the way
        "choose": TensorDataset(*whole[last:]),
        "test": mnist(options, False),
    }
    counted = {method: [steps_on_quadratic(method, kappa) for kappa in KAPPAS] for method in METHODS}
    for method, values in counted.items():
        say(f"quadratic, κ = {KAPPAS[-1]}, {method}: {values[-1]} steps")
    kinds, schedules = {}, {}
    for kind, (_, rates) in KINDS.items():
        kinds[kind] = best_rate(partial(autoencode, kind, data, steps), rates, seeds)
        say(f"autoencoder, {kind}: {report(kinds[kind])}")
    for name in SCHEDULES:
        schedules[name] = best_rate(partial(classify, name, data, steps), RATES, seeds)
        say(f"classifier, {name}: {report(schedules[name])}")

    picture(options, (15, 4.4), 3, lambda axes: draw(axes, counted, kinds, schedules, steps))
    results = {name: [one["result"] for one in found["runs"]] for name, found in {**kinds, **schedules}.items()}
    rows = [
        Row(f"steps on the quadratic with κ = {KAPPAS[-1]}, {method} (paper: theory)",
            round(math.log(1e-6) / math.log(best_on_quadratic(method, KAPPAS[-1])[1])), [float(counted[method][-1])])
        for method in METHODS
    ]  # fmt: skip
    rows += [Row(f"autoencoder's squared error, {kind}", PAPER.get(kind), results[kind]) for kind in kinds]
    for kind in ("momentum", "Nesterov"):
        times = [plain / other for plain, other in zip(results["plain"], results[kind], strict=True)]
        rows += [Row(f"how many times as large plain SGD's is, {kind}", PAPER["plain"] / PAPER[kind], times)]
    rows += [Row(f"classifier's test error, {name}, %", None, results[name]) for name in schedules]
    setting = {
        "ran": f"MNIST, {steps} steps of {BATCH} images for every net; momentum {MU}; each method at the best of four learning "
        f"rates, chosen by {len(data['choose']):,} images that no net was trained on. An autoencoder of 784-128-64-32-16 units "
        "and back (ReLU, Xavier's weights), constant rates, squared error of 1,000 training images; a classifier of 3×128 "
        "units, all schedules with Nesterov's momentum",
        "paper": "an autoencoder of 784-1000-500-250-30 units and back (sigmoid, sparse weights), 750,000 steps of 200 images, "
        "momentum rising to 0.9; the papers on schedules have far larger nets on CIFAR, so that there is no number to compare",
        "rates": {name: found["rate"] for name, found in {**kinds, **schedules}.items()},
    }
    finish(
        options,
        "Sutskever et al. 2013, table 1 (MNIST); Polyak 1964; Polyak and Juditsky 1992; Loshchilov and Hutter 2017; "
        "Smith and Topin 2017",
        rows,
        setting,
        {"quadratic": {"kappa": KAPPAS, **counted}, "autoencoder": kinds, "classifier": schedules},
        "MU = 0.99, with rates a tenth as high and --steps 6000: is Nesterov's now ahead of the heavy ball, as in the paper?",
    )


def report(found: dict[str, Any]) -> str:
    """One line on what was chosen, and from what."""
    results = [one["result"] for one in found["runs"]]
    tried = ", ".join(
        f"{rate:g}: {'-' if mean is None else format(mean, '.3g')}" for rate, mean in found["tried"].items()
    )
    return f"{np.mean(results):.3g} at the rate {found['rate']:g} (error to choose by, at each rate: {tried})"


if __name__ == "__main__":
    run(main)
