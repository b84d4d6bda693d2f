"""Votes: how the outputs of several classifiers become one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import minidl
from minidl import nn
from minidl.ensemble.stacking import Stacker
from minidl.ensemble.together import MembersTogether
from minidl.nn import Module
from minidl.nn import functional as F
from minidl.nn.utils import evaluating
from minidl.tensor import Tensor

TIED = 1e-6  # votes by which totals may differ and count as equal: weights such as 0.1 + 0.2 and 0.3


def soft_vote(outputs: Any, weights: Any = None) -> Tensor:
    """The logarithm of the members' mean probability: log Σ_m w_m softmax(outputs_m).

    Args:
        outputs: the members' scores (logits, or log-probabilities), (M, N, C), or a sequence of M Tensors (N, C).
        weights: one number ≥ 0 for each member; they are divided by their sum. None: all alike.

    Returns:
        Log-probabilities (N, C).

    Raises:
        ValueError: if the shape is another, or the weights do not fit.

    Example:
        >>> scores = minidl.tensor([[[2.0, 0.0]], [[0.0, 1.0]]])  # two members, one sample, two classes
        >>> soft_vote(scores).exp()
        tensor([[0.5749, 0.4251]])
    """
    outputs = _read_outputs(outputs)
    logs = F.log_softmax(outputs, 2)
    if weights is None:
        return minidl.logsumexp(logs, 0) - math.log(len(outputs))
    share = read_weights(weights, len(outputs)) / len(outputs)
    share = share.to(outputs.device).to(outputs.dtype)
    return minidl.logsumexp(logs + share.log().reshape(-1, 1, 1), 0)


def hard_vote(outputs: Any, weights: Any = None) -> Tensor:
    """The majority: each member votes for its likeliest class, and the class with most votes wins.

    **Ties.** Among classes with equally many votes the one with the higher (weighted) mean probability wins, then the one with
    the lower index. A member that finds two classes equally likely votes for the lower index.

    The result is a distribution, so that losses and accuracies can be computed of it: the soft vote counts as one more vote,

        p(c) = (votes for c + mean probability of c) / (M + 1),

    which decides ties and nothing else (without a tie the leader is ahead by a whole vote), and leaves no class at zero. With
    weights (which are made to sum to M) the leader may be ahead by less; then the soft vote counts for as much less.

    Args, returns, raises: as ``soft_vote``. Gradients flow through the mean probability alone.

    Example:
        >>> scores = minidl.tensor([[[0.1, 0.0]], [[0.1, 0.0]], [[0.0, 9.0]]])  # two just for class 0, one sure of class 1
        >>> hard_vote(scores).argmax(1).item(), soft_vote(scores).argmax(1).item()
        (0, 1)
    """
    outputs = _read_outputs(outputs)
    members, _, classes = outputs.shape
    mean = soft_vote(outputs, weights).exp()
    ballots = F.one_hot(outputs.detach().argmax(2), classes).to(outputs.dtype)
    if weights is not None:
        w = read_weights(weights, members).to(outputs.device).to(outputs.dtype)
        ballots = ballots * w.reshape(-1, 1, 1)
    votes = ballots.sum(0)
    most = minidl.amax(votes, 1, keepdim=True)
    behind = minidl.where(
        votes < most - TIED, most - votes, float(members)
    )  # by how much; the leaders: by no matter what
    extra = minidl.clamp(minidl.amin(behind, 1, keepdim=True), max=1.0)
    return ((votes + extra * mean) / (members + extra)).log()


class VotingEnsemble(Module):
    """Classifiers that vote.

    Args:
        members: modules that take a batch (N, …) and return scores (N, C): logits, or log-probabilities (not probabilities).
        voting: how they vote:

            - "soft": the mean of their probabilities, see ``soft_vote``.
            - "hard", also called "max": the majority, see ``hard_vote`` for ties.
            - "stacked": a linear classifier on the members' log-probabilities, learned by ``fit`` from samples that the members
              have not learned from (Wolpert 1992, "Stacked generalization"). Until then it is their geometric mean.
        weights: one number ≥ 0 for each member, for "soft" and "hard". They are kept as a buffer.
        num_classes: C, which "stacked" has to know.
        together: whether members of one architecture go through one pass (``MembersTogether``; in evaluation mode only): True,
            False, or "auto": where that is known to pay, see ``MembersTogether.pays``, and if it gives the same: the first time
            both ways are computed and compared.

    Calling it returns **log-probabilities** (N, C). So ``F.nll_loss`` takes them, ``F.cross_entropy`` gives the same number, the
    accuracy is that of their ``argmax``, and an ensemble can itself be a member, be augmented or calibrated.
    ``predict_proba`` gives probabilities and ``predict`` labels, as in scikit-learn.

    Members are children: ``train()``, ``eval()``, ``to()`` and ``state_dict()`` reach them. Each computes in the mode it is in:
    call ``eval()`` before trained members vote.

    Raises:
        ValueError: for no members, an unknown ``voting``, weights that do not fit, or ``together=True`` with members of different
            structure; when called, if the outputs' shapes differ.
        TypeError: if a member is no Module.

    Example:
        >>> ensemble = VotingEnsemble([nn.Linear(4, 3) for _ in range(5)]).eval()
        >>> with minidl.no_grad():
        ...     labels = ensemble.predict(minidl.rand(8, 4))
        >>> labels.shape
        (8,)
    """

    weights: Tensor | None

    def __init__(
        self,
        members: Iterable[Module],
        voting: str = "soft",
        weights: Any = None,
        *,
        num_classes: int | None = None,
        together: bool | str = "auto",
    ) -> None:
        super().__init__()
        members = list(members)
        if not members:
            raise ValueError("VotingEnsemble: expected at least one member")
        for i, member in enumerate(members):
            if not isinstance(member, Module):
                raise TypeError(
                    f"VotingEnsemble: members should be nn.Modules, got {type(member).__name__} as number {i}"
                )
        if voting not in ("soft", "hard", "max", "stacked"):
            raise ValueError(f"VotingEnsemble: voting should be 'soft', 'hard' ('max') or 'stacked', got {voting!r}")
        if together not in (True, False, "auto"):
            raise ValueError(f"VotingEnsemble: together should be True, False or 'auto', got {together!r}")
        self.members = nn.ModuleList(members)
        self.voting = "hard" if voting == "max" else voting
        self.together = together
        if voting == "stacked":
            if weights is not None:
                raise ValueError("VotingEnsemble: stacked voting learns its weights; pass none")
            if num_classes is None:
                raise ValueError("VotingEnsemble: stacked voting needs num_classes")
            self.stacker = Stacker(len(members), num_classes)
        self.register_buffer("weights", None if weights is None else read_weights(weights, len(members)))
        self._joint: list[MembersTogether] = []  # in a list, so that it is no child: its members are this one's
        self._compared = False
        if together is not False:
            try:
                self._joint.append(MembersTogether(self.members))
            except ValueError:
                if together is True:
                    raise

    def member_outputs(self, x: Tensor) -> Tensor:
        """The scores of all members, (M, N, C).

        Raises:
            ValueError: if the members' outputs have different shapes.
        """
        if self._joint and (self.together is True or (len(x) and self._joint[0].pays(x) and self._agree(x))):
            return self._joint[0](x)
        return self._one_by_one(x)

    def _one_by_one(self, x: Tensor) -> Tensor:
        outputs = [member(x) for member in self.members]
        shapes = sorted({tuple(y.shape) for y in outputs})
        if len(shapes) > 1:
            raise ValueError(
                f"VotingEnsemble: the members' outputs have different shapes: {', '.join(map(str, shapes))}"
            )
        return minidl.stack(outputs)

    def _agree(self, x: Tensor) -> bool:
        """Whether one pass for all gives the same, found out once: a member's code may not treat each sample by itself, or may
        reach into its layers. If it does not, or fails, the members go one after another from now on."""
        try:
            if not self._joint[0].refresh():
                return False
            if not self._compared:
                expected = self._one_by_one(x)
                limit = 1e-4 * float(expected.abs().max().item())
                self._compared = minidl.allclose(self._joint[0](x), expected, rtol=1e-3, atol=limit)
            agree = self._compared
        except Exception:
            agree = False
        if not agree:
            self._joint.clear()
        return agree

    def forward(self, x: Tensor) -> Tensor:
        outputs = self.member_outputs(x)
        if self.voting == "stacked":
            return self.stacker(outputs)
        return (soft_vote if self.voting == "soft" else hard_vote)(outputs, self.weights)

    def predict_proba(self, x: Tensor) -> Tensor:
        """The probabilities of the classes, (N, C)."""
        return self(x).exp()

    def predict(self, x: Tensor) -> Tensor:
        """The winning classes, (N,)."""
        return self(x).argmax(1)

    def fit(self, loader: Iterable[Any], l2: float = 0.01) -> VotingEnsemble:
        """Learn how to weigh the members, for stacked voting. The members themselves stay as they are.

        Args:
            loader: gives batches (x, labels) of held-out samples. On samples that the members have learned from they seem better
                than they are, and the one that remembers most would be trusted most.
            l2: how strongly the classifier is held near the members' mean, see ``minidl.ensemble.stacking.fit_softmax``.

        Raises:
            RuntimeError: if voting is not "stacked".
            ValueError: if there are no samples, or labels do not fit.
        """
        if self.voting != "stacked":
            raise RuntimeError(
                f"VotingEnsemble.fit is for voting='stacked'; with {self.voting!r} there is nothing to learn"
            )
        with evaluating(self), minidl.no_grad():
            batches = [(self.member_outputs(x), labels) for x, labels in loader]
        if not batches:
            raise ValueError("VotingEnsemble.fit: the loader has no batches")
        outputs, labels = (minidl.cat([batch[i].cpu() for batch in batches], dim=1 - i) for i in (0, 1))
        self.stacker.fit(outputs, labels, l2)
        return self

    def extra_repr(self) -> str:
        return f"voting={self.voting!r}, together={self.together!r}"


def read_weights(weights: Any, members: int) -> Tensor:
    """Weights as a float Tensor (M,) that sums to M.

    Raises:
        ValueError: if they are not one finite number ≥ 0 for each member, or all are 0.
    """
    w = weights.detach() if isinstance(weights, Tensor) else minidl.tensor(weights)
    w = w if w.dtype.kind == "f" else w.float()
    if tuple(w.shape) != (members,):
        raise ValueError(f"weights: expected one for each of the {members} members, got shape {tuple(w.shape)}")
    values = w.tolist()
    if not all(math.isfinite(v) and v >= 0 for v in values) or not any(values):
        raise ValueError(f"weights: expected finite numbers >= 0, not all of them 0, got {values}")
    return w * (members / sum(values))


def _read_outputs(outputs: Any) -> Tensor:
    outputs = outputs if isinstance(outputs, Tensor) else minidl.stack(list(outputs))
    if outputs.ndim != 3 or not outputs.shape[0] or not outputs.shape[2]:
        raise ValueError(
            f"votes: expected outputs of shape (members, samples, classes), got {tuple(outputs.shape)}; members should "
            "return (samples, classes)"
        )
    return outputs
