"""Vanishing and exploding gradients: what depth does to them, and what three papers do about it. No download needed.

    python examples/papers/vanishing_gradients.py [--fast] [--steps 600]

On the way back every layer multiplies the gradient by its weights and by the slope of its units. If that makes it f times as
large on average, the first of L layers gets f^(L−1) times what the last one gets. Theory gives f before any training. With n
inputs to each unit, and weights of variance Var W, it is √(n · Var W) times the typical slope.

So:

- sigmoid: the slope is at most 1/4. Xavier's weights have n · Var W = 1, so f ≤ 1/4: hopeless beyond a few layers.
- tanh: the slope is 1 near 0 and smaller elsewhere. The weights that were customary, from −1/√n to 1/√n, have n · Var W =
  1/3, so f ≤ 1/√3. Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010,
  choose n · Var W = 1 ("Xavier"): f ≤ 1. Their figures 6 and 7 show the activations and gradients of 5 layers, here at the
  top.
- ReLU: the slope is 1 or 0, each half of the time, f = √(n · Var W / 2). That is 1/√2 with Xavier's weights, and 1 with n ·
  Var W = 2: He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015, section 2.2. In their figure 3 a net of 30 layers
  learns with these weights, and stands still with Xavier's.
- Batch normalization before each ReLU: f = √(π / (π − 1)) = 1.21, whatever the weights (Yang et al., "A mean field theory of
  batch normalization", 2019). The gradient grows on its way back, but not for long: see what is left of it after some steps.
- Where it explodes, Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013, clip: a
  gradient that is longer than a limit is shortened to it. Here the net is not recurrent but 30 layers deep, with weights 1.2
  times He's.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import Row, finish, parse, picture, run, say

import minidl
from minidl import nn, optim
from minidl.data import DataLoader, TensorDataset
from minidl.datasets import FashionMini
from minidl.nn import functional as F

WIDTH, BATCH, LR, MOMENTUM = 256, 100, 0.01, 0.9
DEPTHS = 5, 10, 20, 30
GLOROT = 5, 1000  # layers and units of the nets of figures 6 and 7
UNITS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "ReLU": nn.ReLU}
SLOPES = {"sigmoid": 1 / 4, "tanh": 1.0, "ReLU": math.sqrt(1 / 2)}  # typical ones, for inputs near 0 or around it
STARTS = {  # deviation of the weights of n inputs and m outputs
    "small": lambda n, m: 0.01,
    "1/√n": lambda n, m: 1 / math.sqrt(3 * n),  # of the uniform distribution from −1/√n to 1/√n
    "Xavier": lambda n, m: math.sqrt(2 / (n + m)),
    "He": lambda n, m: math.sqrt(2 / n),
    "1.2 × He": lambda n, m: 1.2 * math.sqrt(2 / n),
}


@dataclass(frozen=True)
class Kind:
    """What a net is made of: its units, the deviation of its weights, and whether it is batch-normalized."""

    unit: str
    start: str
    batch_norm: bool = False

    def __str__(self) -> str:
        return f"{self.unit}, {self.start}{', batch norm' if self.batch_norm else ''}"

    def factor(self, width: int) -> float:
        """By how much a gradient grows on its way back through a layer of ``width`` inputs and outputs, in theory."""
        if self.batch_norm:  # the normalization undoes what the weights do; this is for ReLU and large batches
            return math.sqrt(math.pi / (math.pi - 1))
        return math.sqrt(width) * STARTS[self.start](width, width) * SLOPES[self.unit]


KINDS = [Kind("sigmoid", "Xavier"), Kind("tanh", "1/√n"), Kind("tanh", "Xavier"), Kind("ReLU", "small"), Kind("ReLU", "Xavier"),
         Kind("ReLU", "He"), Kind("ReLU", "He", True)]  # fmt: skip


def build(kind: Kind, depth: int, width: int) -> nn.Sequential:
    """784 inputs, ``depth`` hidden layers, 10 scores; uniform weights for "1/√n" as was customary, else normal ones; biases 0."""
    layers: list[nn.Module] = []
    for i in range(depth + 1):
        linear = nn.Linear(width if i else 784, width if i < depth else 10)
        std = STARTS[kind.start](linear.in_features, linear.out_features)
        if kind.start == "1/√n":
            nn.init.uniform_(linear.weight, -math.sqrt(3) * std, math.sqrt(3) * std)
        else:
            nn.init.normal_(linear.weight, std=std)
        nn.init.zeros_(linear.bias)
        layers.append(linear)
        if i < depth:
            layers += [nn.BatchNorm1d(width)] * kind.batch_norm + [UNITS[kind.unit]()]
    return nn.Sequential(*layers)


def look(
    model: nn.Sequential, images: minidl.Tensor, labels: minidl.Tensor
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each hidden layer its activations, and the gradient of the loss by what its linear part puts out; (images, units)."""
    activations, sums, x = [], [], images
    for layer in model:
        x = layer(x)
        if isinstance(layer, nn.Linear):
            x.retain_grad()
            sums.append(x)
        elif isinstance(layer, tuple(UNITS.values())):
            activations.append(x.detach().numpy())
    F.cross_entropy(x, labels).backward()
    model.zero_grad()
    return activations, [s.grad.numpy() for s in sums[:-1]]


def norms(model: nn.Sequential, data: TensorDataset) -> list[float]:
    """The norm of the gradient at each hidden layer, over the first 500 images."""
    return [
        float(np.linalg.norm(g.astype(np.float64))) for g in look(model, *data[:500])[1]
    ]  # float32 squares underflow


def ratio(norms: list[float]) -> float:
    """The first layer's norm, in units of the last one's; 0 if no gradient arrives at all, as behind ReLUs that are all off."""
    return norms[0] / norms[-1] if norms[-1] else 0.0


def per_layer(norms: list[float]) -> float:
    """By how much the gradient grows from a layer to the one before it, the geometric mean over all layers."""
    return ratio(norms) ** (1 / (len(norms) - 1))


def train(
    model: nn.Sequential, data: TensorDataset, steps: int, seed: int, lr: float = LR, clip: float | None = None
) -> tuple[list[float], list[float]]:
    """Train as long as the loss is finite; return the losses and, if ``clip`` is given, the gradient's norms before clipping."""
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=MOMENTUM)
    loader = DataLoader(data, batch_size=BATCH, shuffle=True, seed=seed)
    losses: list[float] = []
    lengths: list[float] = []
    while True:
        for images, labels in loader:
            loss = F.cross_entropy(model(images), labels)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]) or len(losses) == steps:
                return losses, lengths
            optimizer.zero_grad()
            loss.backward()
            if clip is not None:
                lengths.append(nn.utils.clip_grad_norm_(model.parameters(), clip).item())
            optimizer.step()


def main() -> None:
    """Measure nets as they are drawn, train them, measure again; then clip one that explodes."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--steps", type=int, help="training steps of each net (default: 600; fast: 60)")

    options = parse(__doc__, "vanishing_gradients", add)
    steps = (60 if options.fast else 600) if options.steps is None else options.steps
    if steps < 1:
        raise ValueError(f"--steps must be at least 1, got {steps}")
    depths = DEPTHS[::3] if options.fast else DEPTHS
    deep = depths[-1]
    photographs = FashionMini()
    pixels = photographs.data.reshape(-1, 784).to(minidl.float32)
    data = TensorDataset((pixels - pixels.mean()) / pixels.std(), photographs.targets)

    # Glorot and Bengio's figures 6 and 7: five layers of 1,000 tanh units, before training.
    glorot = {}
    for start in ("1/√n", "Xavier"):
        minidl.manual_seed(options.seed)
        glorot[start] = look(build(Kind("tanh", start), *GLOROT), *data[:300])

    results: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        result: dict[str, Any] = {"before": {}, "after": {}}
        for depth in depths:
            minidl.manual_seed(options.seed)
            model = build(kind, depth, WIDTH)
            result["before"][depth] = norms(model, data)
            losses = train(model, data, steps, options.seed)[0]
            result["after"][depth] = norms(model, data)
        result["losses"] = losses  # of the deepest
        results[str(kind)] = result
        say(f"{kind}, {deep} layers: each multiplies the gradient by {per_layer(result['before'][deep]):.3f} (theory "
            f"{kind.factor(WIDTH):.3f}); loss {losses[0]:.3f} → {np.mean(losses[-20:]):.3f} in {steps} steps")  # fmt: skip

    clipped = {}
    for clip, name in (
        (math.inf, "not clipped"),
        (1.0, "clipped at 1"),
    ):  # at infinity nothing is clipped, only measured
        minidl.manual_seed(options.seed)
        clipped[name] = train(build(Kind("ReLU", "1.2 × He"), deep, WIDTH), data, steps, options.seed, clip=clip)
        losses = clipped[name][0]
        say(f"ReLU, 1.2 × He, {name}: loss {losses[0]:.3g} → {np.mean(losses[-20:]):.3g} in {len(losses)} steps")

    picture(options, (15, 9), 3, lambda axes: draw(axes, glorot, results, clipped, depths, steps), rows=2)
    rows = [
        Row(f"gradient, layer 1 / layer 5, 5×1000 tanh, {start} (at most)", Kind("tanh", start).factor(GLOROT[1]) ** 4,
            [float(measured[1][0].std() / measured[1][-1].std())])
        for start, measured in glorot.items()
    ]  # fmt: skip
    for kind in KINDS:
        what = f"factor per layer, {kind}{'' if kind.unit == 'ReLU' else ' (at most)'}"
        rows.append(Row(what, kind.factor(WIDTH), [per_layer(results[str(kind)]["before"][deep])]))
    for kind in KINDS:
        result = results[str(kind)]
        rows.append(Row(f"factor after {steps} steps, {kind}", None, [per_layer(result["after"][deep])]))
        rows.append(Row(f"loss after {steps} steps, {kind}", None, [float(np.mean(result["losses"][-20:]))]))
    for name, (losses, _) in clipped.items():
        if math.isfinite(losses[-1]):
            rows.append(Row(f"loss after {steps} steps, ReLU, 1.2 × He, {name}", None, [float(np.mean(losses[-20:]))]))
        else:
            rows.append(Row(f"step where the loss is not finite, ReLU, 1.2 × He, {name}", None, [float(len(losses))]))
    setting = {
        "ran": f"FashionMini, {WIDTH} units to a layer, {', '.join(map(str, depths))} layers (factors and losses: {deep}); SGD, "
        f"learning rate {LR}, momentum {MOMENTUM}, batches of {BATCH}. A layer's gradient: the norm, over 500 images, of that "
        "by what its linear part puts out",
        "paper": "the column has what theory says; nets and data of the papers are others (ImageNet, Shapeset)",
    }
    curves = {
        "kinds": results,
        "clipped": {name: {"loss": finite(losses), "norm": finite(norm)} for name, (losses, norm) in clipped.items()},
    }
    finish(
        options,
        "Glorot & Bengio 2010; He et al. 2015; Yang et al. 2019; Pascanu et al. 2013: gradients through many layers",
        rows,
        setting,
        curves,
        "--steps 3000: does any net that stands still start to learn? Or 1.2 × He in STARTS made 1.5 × He.",
    )


def finite(values: list[float]) -> list[float]:
    """Those that a picture and a JSON file can hold."""
    return [value for value in values if math.isfinite(value)]


def draw(axes: Any, glorot: Any, results: Any, clipped: Any, depths: tuple[int, ...], steps: int) -> None:
    """The six pictures."""
    deep = depths[-1]
    for what, ax, title in ((0, axes[0], "activations"), (1, axes[1], "gradients")):
        unit = max(values.std() for values in glorot["Xavier"][1]) if what else 1.0
        edges = np.linspace(-3, 3, 121) if what else np.linspace(-1.1, 1.1, 89)
        for start, measured in glorot.items():
            for layer, values in enumerate(measured[what]):
                density = np.histogram(values / unit, edges, density=True)[0]
                pale = 0.17 * layer
                ax.plot((edges[1:] + edges[:-1]) / 2, density, linewidth=1.1,
                        color=(pale, pale, 1) if start == "Xavier" else (1, pale, pale),
                        label=f"{start}, layer {layer + 1}" if layer in (0, 4) else None)  # fmt: skip
        ax.set_title(
            f"{title} of 5 tanh layers before training\n(Glorot & Bengio, figure {6 + what}; pale: higher layers)"
        )
        ax.set_ylim(0, 3)
    for i, kind in enumerate(KINDS):
        result, color = results[str(kind)], f"C{i}"
        norm = np.array(result["before"][deep])
        axes[2].semilogy(range(1, deep + 1), norm / norm[-1], color=color, label=str(kind))
        axes[2].semilogy([1, deep], [kind.factor(WIDTH) ** (deep - 1), 1], color=color, linestyle=":")
        for when, style in (("before", "-"), ("after", "--")):
            ratios = [ratio(result[when][depth]) for depth in depths]
            label = str(kind) if when == "before" else None
            axes[3].semilogy(depths, ratios, style, color=color, marker=".", label=label)
        if kind.unit == "ReLU":
            width = min(20, len(result["losses"]))
            smooth = np.convolve(result["losses"], np.ones(width) / width, "valid")
            axes[4].plot(smooth, ":" if kind.start == "small" else "-", color=color, label=str(kind), zorder=3 - i / 10)
    axes[2].set_title(f"gradient at each of {deep} layers before training\n(relative to the last; dotted: theory)")
    axes[3].set_title(f"first layer's gradient / last layer's\n(dashed: after {steps} steps)")
    axes[4].set_title(f"training loss, {deep} ReLU layers, mean of 20 steps\n(He et al., figure 3)")
    for (name, (losses, norm)), color in zip(clipped.items(), ("C3", "C0"), strict=True):
        ended = "" if math.isfinite(losses[-1]) else f", not finite at step {len(losses)}"
        axes[5].semilogy(finite(losses), color=color, marker="." if ended else "", label=f"loss, {name}{ended}")
        if not ended:
            axes[5].semilogy(finite(norm), ":", color=color, label=f"norm of the gradient before it is {name}")
    axes[5].set_title(f"weights 1.2 × He, {deep} ReLU layers\n(clipping: Pascanu et al., algorithm 1)")
    axes[5].set_ylim(0.5, 1e6)
    names = ("activation", "gradient / deviation of the widest", "layer", "layers", "step", "step")
    for ax, label in zip(axes, names, strict=True):
        ax.set_xlabel(label)
        ax.grid(alpha=0.3)
        ax.legend(fontsize="x-small")


if __name__ == "__main__":
    run(main)
