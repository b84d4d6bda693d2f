"""Votes: what each way of voting gives, ties, weights, stacking, and the ensemble as a module."""

from __future__ import annotations

import copy
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl
from minidl import models, nn
from minidl.ensemble import VotingEnsemble, hard_vote, soft_vote
from minidl.ensemble.stacking import Stacker, fit_softmax
from minidl.nn import functional as F
from minidl.training.metrics import accuracy

common = settings(max_examples=60, deadline=None)
sizes = st.tuples(st.integers(1, 7), st.integers(0, 12), st.integers(1, 6), st.integers(0, 2**32 - 1))


def scores_of(size, spread=2.0):
    members, samples, classes, seed = size
    return np.random.default_rng(seed).normal(0, spread, (members, samples, classes))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def tensor(x):
    return minidl.from_numpy(np.asarray(x))


def plain_majority(scores, weights):
    """The rule in plain loops: most votes, then the highest mean probability, then the lowest index."""
    p = softmax(scores)
    members, samples, classes = scores.shape
    winners = []
    for n in range(samples):
        votes, mean = [0.0] * classes, [0.0] * classes
        for m in range(members):
            votes[int(np.argmax(p[m, n]))] += weights[m]
            for c in range(classes):
                mean[c] += weights[m] * p[m, n, c]
        winners.append(max(range(classes), key=lambda c: (round(votes[c], 9), mean[c], -c)))
    return winners


@common
@given(sizes, st.booleans())
def test_soft_vote_is_the_mean_probability(size, weighted):
    scores = scores_of(size)
    w = np.random.default_rng(size[3]).uniform(0.1, 3, size[0]) if weighted else np.ones(size[0])
    found = soft_vote(tensor(scores), tensor(w) if weighted else None).numpy()
    expected = np.tensordot(w / w.sum(), softmax(scores), 1)
    np.testing.assert_allclose(np.exp(found), expected, rtol=1e-10)
    assert found.dtype == np.float64 and found.shape == scores.shape[1:]
    listed = soft_vote([tensor(s) for s in scores], w.tolist() if weighted else None)
    np.testing.assert_allclose(listed.numpy(), found, rtol=1e-6, atol=1e-6)


@common
@given(sizes, st.sampled_from(["none", "whole", "any"]))
def test_hard_vote_is_the_majority(size, kind):
    scores = scores_of(size)
    rng = np.random.default_rng(size[3])
    w = {"none": np.ones(size[0]), "whole": rng.integers(1, 3, size[0]) * 1.0, "any": rng.uniform(0.1, 3, size[0])}[
        kind
    ]
    found = hard_vote(tensor(scores), None if kind == "none" else tensor(w)).numpy()
    assert found.argmax(1).tolist() == plain_majority(scores, w)
    np.testing.assert_allclose(np.exp(found).sum(1), 1, rtol=1e-12)
    if kind == "none":  # the distribution is as documented
        votes = np.eye(size[2])[scores.argmax(2)].sum(0)
        np.testing.assert_allclose(np.exp(found), (votes + softmax(scores).mean(0)) / (size[0] + 1), rtol=1e-10)


@common
@given(st.integers(1, 6), st.integers(2, 5), st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64]))
def test_ties_of_every_kind(members, classes, seed, dtype):
    """Scores of few values, so that votes, probabilities and scores themselves are often equal."""
    scores = np.random.default_rng(seed).integers(0, 2, (members, 20, classes)).astype(dtype)
    found = hard_vote(tensor(scores)).numpy()
    p = softmax(scores.astype(np.float64))
    votes = np.eye(classes)[scores.argmax(2)].sum(0)
    mean = p.mean(0).round(6)
    expected = [max(range(classes), key=lambda c: (votes[n, c], mean[n, c], -c)) for n in range(20)]
    # Means that are equal may come out in either order by rounding; then a class with the same votes and mean is as good.
    for n, (a, b) in enumerate(zip(found.argmax(1), expected, strict=True)):
        assert votes[n, a] == votes[n, b] and mean[n, a] == mean[n, b]


def test_ties_by_hand():
    log = lambda rows: tensor(np.log(np.array(rows)))[:, None]  # noqa: E731
    one_each = log([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1]])
    assert hard_vote(one_each).argmax(1).item() == 1  # summed 0.7 against 1.1
    three_ways = log([[0.5, 0.2, 0.3], [0.1, 0.5, 0.4], [0.1, 0.1, 0.8]])
    assert hard_vote(three_ways).argmax(1).item() == 2  # one vote each; 0.7, 0.8, 1.5
    # A class without a vote may have the highest mean, and does not win: 0.49 of three against the votes for 0 and 1.
    quiet = log([[0.51, 0.0 + 1e-9, 0.49], [1e-9, 0.51, 0.49], [0.34, 0.33, 0.33]])
    assert soft_vote(quiet).argmax(1).item() == 2 and hard_vote(quiet).argmax(1).item() == 0
    even = log([[0.5, 0.5], [0.5, 0.5]])
    assert hard_vote(even).argmax(1).item() == 0
    mirrored = log([[0.75, 0.25], [0.25, 0.75]])  # the same votes, the same sums: the lowest index
    assert hard_vote(mirrored).argmax(1).item() == 0
    # Weights that are equal but for rounding are a tie; by a little more they are none.
    by_weight = log([[0.9, 0.1], [0.9, 0.1], [0.01, 0.99]])
    for tenths in product(range(1, 9), repeat=2):
        weights = [tenths[0] / 10, tenths[1] / 10, sum(tenths) / 10]
        assert hard_vote(by_weight, tensor(weights)).argmax(1).item() == 1, weights
    assert hard_vote(by_weight, [0.1, 0.2001, 0.3]).argmax(1).item() == 0
    assert soft_vote(by_weight, [0.1, 0.2001, 0.3]).argmax(1).item() == 1
    # Sure as it may be, a minority loses; that class has no vote, and yet a probability.
    sure = tensor([[[0.1, 0.0, 0.0]], [[0.1, 0.0, 0.0]], [[0.0, 90.0, 0.0]]])
    assert hard_vote(sure).argmax(1).item() == 0 and np.isfinite(hard_vote(sure).numpy()).all()


@common
@given(sizes, st.sampled_from([soft_vote, hard_vote]))
def test_a_weight_is_a_number_of_members(size, vote):
    scores = scores_of(size)
    counts = np.random.default_rng(size[3]).integers(0, 3, size[0])
    counts[0] += not counts.any()
    repeated = vote(tensor(np.repeat(scores, counts, 0))).numpy()
    weighted = vote(tensor(scores), tensor(counts * 1.0)).numpy()
    if vote is soft_vote:
        np.testing.assert_allclose(weighted, repeated, rtol=1e-9, atol=1e-12)
    else:
        assert weighted.argmax(1).tolist() == repeated.argmax(1).tolist()


@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_the_outputs_suit_losses_and_accuracies(voting):
    members = [nn.Linear(5, 4) for _ in range(3)]
    ensemble = VotingEnsemble(members, voting).eval()
    x, y = minidl.randn(40, 5), minidl.randint(0, 4, (40,))
    with minidl.no_grad():
        logs = ensemble(x)
        np.testing.assert_allclose(F.cross_entropy(logs, y).item(), F.nll_loss(logs, y).item(), rtol=1e-5)
        assert accuracy(logs, y) == np.mean(ensemble.predict(x).numpy() == y.numpy())
        np.testing.assert_allclose(ensemble.predict_proba(x).numpy().sum(1), 1, rtol=1e-5)
        inner = VotingEnsemble([ensemble, ensemble], voting).eval()  # an ensemble can be a member
        np.testing.assert_allclose(inner.predict(x).numpy(), ensemble.predict(x).numpy())


def test_gradients_flow_through_votes():
    for voting in ("soft", "hard", "stacked"):
        members = [nn.Linear(5, 4) for _ in range(3)]
        ensemble = VotingEnsemble(members, voting, num_classes=4)
        loss = F.nll_loss(ensemble(minidl.randn(10, 5)), minidl.randint(0, 4, (10,)))
        loss.backward()
        assert all(
            np.isfinite(p.grad.numpy()).all() and np.abs(p.grad.numpy()).max() > 0 for p in ensemble.parameters()
        )
    x = tensor(np.random.default_rng(0).normal(size=(3, 4, 2))).requires_grad_()
    assert minidl.testing.gradcheck(lambda x: soft_vote(x, [1.0, 0.5, 2.0]), [x])
    assert minidl.testing.gradcheck(hard_vote, [x])
    y = soft_vote(x, [1.0, 0.0, 2.0])  # a member without a weight
    y.sum().backward()
    assert np.isfinite(x.grad.numpy()).all() and (x.grad.numpy()[1] == 0).all()


def test_max_is_hard_and_weights_are_kept():
    x = minidl.randn(6, 5)
    members = [nn.Linear(5, 4) for _ in range(3)]
    hard, maximum = VotingEnsemble(members, "hard"), VotingEnsemble(members, "max")
    np.testing.assert_array_equal(hard(x).detach().numpy(), maximum(x).detach().numpy())
    weighted = VotingEnsemble(members, "soft", weights=[1, 2, 3])
    np.testing.assert_allclose(weighted.weights.numpy(), [0.5, 1.0, 1.5])
    expected = soft_vote([m(x) for m in members], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(weighted(x).detach().numpy(), expected.detach().numpy(), rtol=1e-5)
    other = VotingEnsemble([nn.Linear(5, 4) for _ in range(3)], "soft", weights=[1, 1, 1])
    other.load_state_dict(weighted.state_dict())
    np.testing.assert_array_equal(other(x).detach().numpy(), weighted(x).detach().numpy())
    with pytest.raises(RuntimeError, match="weights"):
        VotingEnsemble(members).load_state_dict(weighted.state_dict())
    assert "weights" not in VotingEnsemble(members).state_dict()
    assert weighted.double()(x.double()).dtype == np.float64


def test_members_keep_their_modes():
    members = [models.MLP(5, [6], 3, batch_norm=True, dropout=0.5) for _ in range(3)]
    ensemble = VotingEnsemble(members)
    x = minidl.randn(8, 5)
    before = members[0].layers[2].running_mean.numpy().copy()
    assert not np.array_equal(ensemble(x).detach().numpy(), ensemble(x).detach().numpy())  # dropout draws anew
    assert not np.array_equal(members[0].layers[2].running_mean.numpy(), before)
    ensemble.eval()
    assert not any(m.training for member in members for m in member.modules())
    with minidl.no_grad():
        a, b = ensemble(x).numpy(), ensemble(x).numpy()
        alone = soft_vote([member(x) for member in members]).numpy()
    np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(a, alone, atol=1e-5)
    members[2].train()  # by hand: dropout is wanted there
    with minidl.no_grad():
        assert not np.array_equal(ensemble(x).numpy(), ensemble(x).numpy())


# -- evaluated together --------------------------------------------------------------------------------------------


class Mixing(nn.Module):
    """Looks at the whole batch: not fit for one pass."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        y = self.layer(x)
        return y - y.mean(0, keepdim=True)


class Reaching(nn.Module):
    """Uses a layer's parameter without calling it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return F.linear(x, self.layer.weight)


@pytest.mark.parametrize("together", ["auto", True, False])
def test_together_or_not_is_the_same(together):
    members = [models.MLP(5, [6, 6], 3, batch_norm=True) for _ in range(4)]
    ensemble = VotingEnsemble(members, together=together).eval()
    x = minidl.randn(7, 5)
    with minidl.no_grad():
        for _ in range(2):
            expected = np.stack([member(x).numpy() for member in members])
            np.testing.assert_allclose(ensemble.member_outputs(x).numpy(), expected, atol=1e-5)
    assert len(ensemble._joint) == (together is not False)
    assert {name.split(".")[0] for name in ensemble.state_dict()} == {"members"}
    assert len(list(ensemble.parameters())) == 4 * len(list(members[0].parameters()))
    other = copy.deepcopy(ensemble)
    ensemble.members[2] = models.MLP(5, [6, 6], 3, batch_norm=True).eval()
    with minidl.no_grad():
        assert not np.allclose(ensemble.member_outputs(x).numpy(), expected, atol=1e-2)
        ensemble.members[2] = members[2]
        other.members[0].layers[1].weight.zero_()
        assert not np.allclose(other(x).numpy(), ensemble(x).numpy())
        np.testing.assert_allclose(ensemble.member_outputs(x).numpy(), expected, atol=1e-5)


def test_one_pass_is_taken_where_it_pays(monkeypatch):
    members = [models.MLP(5, [6], 3) for _ in range(3)]
    ensemble = VotingEnsemble(members).eval()
    calls = []
    original = ensemble._one_by_one
    monkeypatch.setattr(ensemble, "_one_by_one", lambda x: calls.append(len(x)) or original(x))
    x = minidl.randn(2, 5)
    ensemble(x)
    assert calls == [2]  # gradients are wanted: one after another
    with minidl.no_grad():
        ensemble(x)
        assert calls == [2, 2]  # compared once
        ensemble(x)
        assert calls == [2, 2]
        ensemble(minidl.zeros(0, 5))
        assert calls == [2, 2, 0]
        members[0].train()
        ensemble(x)
        assert calls == [2, 2, 0, 2]


@pytest.mark.parametrize("kind", [Mixing, Reaching])
def test_members_that_cannot_go_together_are_noticed(kind):
    members = [kind() for _ in range(3)]
    ensemble = VotingEnsemble(members).eval()
    assert ensemble._joint
    x = minidl.randn(6, 4)
    with minidl.no_grad():
        expected = np.stack([member(x).numpy() for member in members])
        np.testing.assert_array_equal(ensemble.member_outputs(x).numpy(), expected)
        assert not ensemble._joint
        np.testing.assert_array_equal(ensemble.member_outputs(x).numpy(), expected)


def test_members_of_different_structure_vote_too():
    members = [nn.Linear(4, 3), nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3))]
    x = minidl.randn(5, 4)
    np.testing.assert_allclose(
        VotingEnsemble(members)(x).detach().numpy(), soft_vote([m(x) for m in members]).detach().numpy(), rtol=1e-6
    )
    with pytest.raises(ValueError, match="members 0 and 1 differ in structure"):
        VotingEnsemble(members, together=True)
    alike = VotingEnsemble([nn.Sequential(nn.Linear(4, 3)) for _ in range(2)]).eval()
    with minidl.no_grad():
        alike(x)
        alike.members[1][0] = nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 3)).eval()
        expected = soft_vote([m(x) for m in alike.members]).numpy()
        np.testing.assert_allclose(alike(x).numpy(), expected, rtol=1e-6)


# -- stacking ------------------------------------------------------------------------------------------------------


def test_softmax_regression_finds_the_minimum():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(60, 4)) * [1, 10, 0.1, 1], rng.integers(0, 3, 60)
    start = rng.normal(size=(3, 4)) * 0.1
    for l2 in (0.0, 0.01, 1.0):
        w, b = fit_softmax(x, labels, start, l2, tolerance=1e-10, most=50000)

        def loss(w, b, l2=l2):
            p = softmax(x @ w.T + b)
            return -np.log(p[np.arange(60), labels]).mean() + l2 / 2 * ((w - start) ** 2).sum()

        least = loss(w, b)
        for i in range(30):
            step = rng.normal(size=w.shape) * 10.0 ** -(i % 4)
            assert loss(w + step, b) > least - 1e-13 and loss(w, b + step[:, 0]) > least - 1e-13
    far, _ = fit_softmax(x, labels, start, 1e6)
    np.testing.assert_allclose(far, start, atol=1e-5)  # held where it was
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="l2 should be a finite number >= 0"):
            fit_softmax(x, labels, start, bad)


def test_stacking_learns_whom_to_trust():
    """Of three members one is right, one guesses, and one mistakes class 0 for class 1 and the reverse."""
    rng = np.random.default_rng(0)

    def scores(labels):
        right = np.eye(3)[labels] * 3 + rng.normal(size=(len(labels), 3))
        swapped = (np.eye(3)[labels] * 3 + rng.normal(size=(len(labels), 3)))[:, [1, 0, 2]] * 2
        return np.stack([right, rng.normal(size=right.shape) * 3, swapped]).astype(np.float32)

    class Say(nn.Module):
        def __init__(self, m):
            super().__init__()
            self.m = m

        def forward(self, x):
            return x[:, self.m]

    labels, test = rng.integers(0, 3, 600), rng.integers(0, 3, 600)
    x, x_test = (minidl.from_numpy(scores(y).transpose(1, 0, 2)) for y in (labels, test))
    ensemble = VotingEnsemble([Say(m) for m in range(3)], "stacked", num_classes=3)
    geometric = F.log_softmax(F.log_softmax(x_test, 2).clamp(min=-10).mean(1), 1)
    np.testing.assert_allclose(ensemble(x_test).detach().numpy(), geometric.numpy(), atol=1e-4)  # before fit
    ensemble.members[1].train()
    ensemble.members[0].eval()
    modes = [m.training for m in ensemble.modules()]
    batches = [(x[i : i + 100], minidl.from_numpy(labels[i : i + 100])) for i in range(0, 600, 100)]
    assert ensemble.fit(batches) is ensemble
    assert [m.training for m in ensemble.modules()] == modes
    soft = VotingEnsemble(list(ensemble.members))
    rates = {name: np.mean(e.predict(x_test).numpy() == test) for name, e in (("stacked", ensemble), ("soft", soft))}
    alone = np.mean(x_test.numpy()[:, 0].argmax(1) == test)
    assert rates["stacked"] > alone + 0.01 > rates["soft"] + 0.1
    np.testing.assert_allclose(ensemble.predict_proba(x_test).detach().numpy().sum(1), 1, rtol=1e-5)
    other = VotingEnsemble([Say(m) for m in range(3)], "stacked", num_classes=3)
    other.load_state_dict(ensemble.state_dict())
    np.testing.assert_array_equal(other(x_test).detach().numpy(), ensemble(x_test).detach().numpy())


def test_fit_sees_members_as_they_decide():
    members = [models.MLP(4, [5], 3, batch_norm=True, dropout=0.5) for _ in range(2)]
    x, y = minidl.randn(30, 4), minidl.randint(0, 3, (30,))
    ensembles = [VotingEnsemble(copy.deepcopy(members), "stacked", num_classes=3) for _ in range(2)]
    recording = []
    ensembles[0].members[0].register_forward_hook(lambda *_: recording.append(minidl.is_grad_enabled()))
    ensembles[0].fit([(x, y)])  # in training mode
    ensembles[1].eval().fit([(x, y)])
    assert ensembles[0].training and recording == [False] * len(recording) and recording
    for (name, a), (_, b) in zip(*(e.state_dict().items() for e in ensembles), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-6, err_msg=name)


def test_features_are_in_the_members_order():
    stacker = Stacker(2, 3)
    logs = np.log(softmax(np.random.default_rng(0).normal(size=(2, 5, 3))))
    found = stacker.features(minidl.from_numpy(logs.astype(np.float32))).numpy()
    np.testing.assert_allclose(found, np.concatenate([logs[0], logs[1]], 1), rtol=1e-4, atol=1e-6)
    assert stacker.features(minidl.tensor([[[0.0, 50.0, 0.0]]] * 2)).numpy().min() == -10
    with pytest.raises(
        ValueError, match=r"expected outputs \(M, N, C\) of 2 members for 3 classes, got shape \(2, 5, 4\)"
    ):
        stacker(minidl.zeros(2, 5, 4))


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ([], {}, ValueError, "at least one member"),
        ([nn.ReLU(), "x"], {}, TypeError, "got str as number 1"),
        (
            [nn.ReLU()],
            {"voting": "mean"},
            ValueError,
            "voting should be 'soft', 'hard' .'max'. or 'stacked', got 'mean'",
        ),
        ([nn.ReLU()], {"together": "yes"}, ValueError, "together should be True, False or 'auto'"),
        ([nn.ReLU()], {"voting": "stacked"}, ValueError, "needs num_classes"),
        ([nn.ReLU()], {"voting": "stacked", "num_classes": 1}, ValueError, "at least 2, got 1"),
        ([nn.ReLU()], {"voting": "stacked", "num_classes": 3, "weights": [1]}, ValueError, "learns its weights"),
        ([nn.ReLU()] * 2, {"weights": [1]}, ValueError, r"one for each of the 2 members, got shape \(1,\)"),
        ([nn.ReLU()] * 2, {"weights": [1, -1]}, ValueError, "numbers >= 0"),
        ([nn.ReLU()] * 2, {"weights": [0, 0]}, ValueError, "not all of them 0"),
        ([nn.ReLU()] * 2, {"weights": [1, float("nan")]}, ValueError, "finite"),
        ([nn.ReLU()] * 2, {"weights": [1, float("inf")]}, ValueError, "finite"),
    ],
)
def test_bad_arguments(arguments, options, error, message):
    with pytest.raises(error, match=message):
        VotingEnsemble(arguments, **options)


def test_bad_calls():
    x = minidl.randn(4, 3)
    with pytest.raises(ValueError, match=r"different shapes: \(4, 2\), \(4, 5\)"):
        VotingEnsemble([nn.Linear(3, 2), nn.Linear(3, 5)])(x)
    for vote in (soft_vote, hard_vote):
        with pytest.raises(ValueError, match=r"\(members, samples, classes\), got \(4, 3\)"):
            vote(x)
        with pytest.raises(ValueError, match="one for each of the 2 members"):
            vote(minidl.zeros(2, 4, 3), [1, 2, 3])
    with pytest.raises(ValueError, match="got"):
        VotingEnsemble([nn.Flatten(0), nn.Flatten(0)])(x)
    with pytest.raises(RuntimeError, match="fit is for voting='stacked'; with 'hard' there is nothing to learn"):
        VotingEnsemble([nn.Linear(3, 2)], "max").fit([])
    stacked = VotingEnsemble([nn.Linear(3, 2)], "stacked", num_classes=2)
    with pytest.raises(ValueError, match="the loader has no batches"):
        stacked.fit([])
    with pytest.raises(ValueError, match="label 2 is none of the 2 classes"):
        stacked.fit([(x, minidl.tensor([0, 1, 2, 0]))])
    with pytest.raises(ValueError, match="expected labels as integers"):
        stacked.fit([(x, minidl.tensor([0, 1, 1]))])
    assert stacked.training
    assert "voting='stacked', together='auto'" in repr(stacked)
