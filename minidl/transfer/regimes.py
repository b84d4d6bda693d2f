"""Which way of transfer suits which data."""

from __future__ import annotations

import operator
import textwrap
from dataclasses import dataclass

BOUNDARY = 1000  # samples; see recommend


@dataclass(frozen=True)
class Recommendation:
    """What ``recommend`` says. ``print`` shows it as text.

    Attributes:
        regime: "fixed features", "SVM on features" or "fine-tuning".
        steps: what to do, with the functions of this package.
        reason: why.
        n_samples, similar, boundary: as given.
    """

    regime: str
    steps: tuple[str, ...]
    reason: str
    n_samples: int
    similar: bool
    boundary: int

    def __str__(self) -> str:
        size = "small" if self.n_samples < self.boundary else "large"
        data = f"{self.n_samples:,} samples ({size}: the boundary is {self.boundary:,})"
        kind = "similar to what the network was trained on" if self.similar else "different from what it was trained on"
        lines = [f"{data}, {kind}: {self.regime}."]
        lines += [f"  {number}. {step}" for number, step in enumerate(self.steps, 1)]
        return "\n".join(
            [*lines, *textwrap.wrap(f"Why: {self.reason}", 110, initial_indent="  ", subsequent_indent="  ")]
        )


_REGIMES = {  # (small, similar): regime, steps, reason
    (True, True): (
        "fixed features",
        (
            "x, y = features(model, loader): the input of the head, computed once",
            "model = replace_head(freeze(model), num_classes), and train the head on x, y",
        ),
        "few samples are soon learned by heart by a network that may change all its weights. Where they are like the ones it was "
        "trained on, its last features already tell the classes apart, and a linear classifier on them overfits little.",
    ),
    (False, True): (
        "fine-tuning",
        (
            "model = replace_head(model, num_classes)",
            "optimizer = optim.SGD(param_groups(model, lr=0.01), momentum=0.9)",
            "train all of it, with callbacks=[GradualUnfreezing(model)]; measure on held-out data when to stop",
        ),
        "there are enough samples to change all weights without learning them by heart, and enough held-out ones to see whether "
        "it helps; the weights begin near a good place, so a low learning rate and few epochs do.",
    ),
    (True, False): (
        "SVM on features",
        (
            "x, y = features(model, loader, layer=…): of a layer in the middle, averaged over the image with x.mean((2, 3))",
            "LinearSVC(C=…).fit(x, y), with C and the layer chosen by cross-validation",
        ),
        "few samples forbid changing the network. Its last features are made for other classes than these, but those of earlier "
        "layers are more general (edges, textures); a large-margin linear classifier needs few samples to use them.",
    ),
    (False, False): (
        "fine-tuning",
        (
            "model = replace_head(model, num_classes)",
            "optimizer = optim.SGD(param_groups(model, lr=0.03, decay=1.5), momentum=0.9): early layers have to change too",
            "train all of it, for longer; compare with training from scratch, for which there may be enough samples",
        ),
        "there are enough samples to change all weights, and features made for other data have to change; weights that know some "
        "images are still a better beginning than random ones.",
    ),
}


def recommend(n_samples: int, *, similar: bool, boundary: int = BOUNDARY) -> Recommendation:
    """Say how to use a trained network for new data: one of four regimes, by the number of samples and their kind.

    ========= ================================== =======================================
    samples   similar                            different
    ========= ================================== =======================================
    few       fixed features, a new classifier   an SVM on features of an earlier layer
    many      fine-tuning                        fine-tuning
    ========= ================================== =======================================

    It is a rule of thumb: a first thing to try, and to hold against the others on held-out data.

    Args:
        n_samples: labelled training samples, at least 2.
        similar: whether they are like what the network was trained on. Photographs of things are to ImageNet; drawings, X-rays,
            spectrograms and images from above are not.
        boundary: from how many samples on there are many. The default, 1000, is where measuring begins to work: fine-tuning has
            settings to choose (rates, epochs, stages), and choosing them takes held-out samples. A fifth of 1000 is 200, on which
            an accuracy of 90 % is known to ±4 points (95 % interval, 1.96 √(0.9 · 0.1 / 200)). With fewer, what fine-tuning
            gains, often a few points, cannot be told from luck.

    Raises:
        TypeError: if ``n_samples`` or ``boundary`` is no integer, or ``similar`` no bool.
        ValueError: if ``n_samples`` is below 2, or ``boundary`` below 1.

    Source: Stanford's course CS231n, notes on transfer learning, "When and how to fine-tune?"; the boundary is ours.

    Example:
        >>> recommend(244, similar=True).regime
        'fixed features'
    """
    if not isinstance(similar, bool):
        raise TypeError(f"recommend: similar should be True or False, got {similar!r}")
    for name, value, least in (("n_samples", n_samples, 2), ("boundary", boundary, 1)):
        if isinstance(value, bool):
            raise TypeError(f"recommend: {name} should be an integer, got {value}")
        if operator.index(value) < least:
            raise ValueError(f"recommend: {name} should be at least {least}, got {value}")
    regime, steps, reason = _REGIMES[n_samples < boundary, similar]
    return Recommendation(regime, steps, reason, operator.index(n_samples), similar, operator.index(boundary))
