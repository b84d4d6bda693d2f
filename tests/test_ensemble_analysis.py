"""What a majority promises, what members have in common, and calibration: against exact sums, simulations and plain loops."""

from __future__ import annotations

import builtins
import math
import warnings
from fractions import Fraction
from itertools import accumulate, product
from operator import mul

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import minidl
from minidl import nn
from minidl.ensemble import (
    TemperatureScaling,
    disagreement,
    error_correlation,
    expected_calibration_error,
    intraclass_correlation,
    majority_error,
    plot_reliability,
    q_statistic,
    reliability_diagram,
)
from minidl.nn import functional as F

common = settings(max_examples=50, deadline=None)


# -- the majority's error ------------------------------------------------------------------------------------------


def exact(members, error, ties="right", correlation=0):
    """The same sum in whole numbers: every factor is multiplied by what makes it one, above and below the line alike."""
    e, rho = Fraction(error), Fraction(correlation)
    whole = (e.denominator * rho.denominator) ** 2

    def products(first):
        return list(accumulate((int((first + i * rho) * whole) for i in range(members)), mul, initial=1))

    wrong, right, all_ = products(e * (1 - rho)), products((1 - e) * (1 - rho)), products(1 - rho)
    total = Fraction(0)
    for k in range((members + 1) // 2, members + 1):
        share = {"right": 0, "half": Fraction(1, 2), "wrong": 1}[ties] if 2 * k == members else 1
        total += share * (math.comb(members, k) * wrong[k] * right[members - k])
    return total / all_[members]


def test_the_stated_numbers():
    assert round(majority_error(3, 0.01), 6) == 0.000298
    assert round(majority_error(3, 0.02), 6) == 0.001184
    assert majority_error(3, 0.01) == pytest.approx(3 * 0.01**2 * 0.99 + 0.01**3, rel=1e-14)


@common
@given(
    st.integers(1, 40),
    st.fractions(0, 1, max_denominator=50),
    st.sampled_from(["right", "half", "wrong"]),
    st.one_of(st.just(Fraction(0)), st.fractions(0, Fraction(49, 50), max_denominator=50)),
)
def test_the_sum_is_exact(members, error, ties, correlation):
    found = majority_error(members, float(error), ties=ties, correlation=float(correlation))
    expected = float(exact(members, error, ties, correlation))
    assert found == pytest.approx(expected, rel=1e-11, abs=1e-300)


@pytest.mark.parametrize("members", [501, 1000, 1001])
@pytest.mark.parametrize(("error", "correlation"), [("1/100", "0"), ("2/5", "0"), ("49/100", "0"), ("3/10", "1/20")])
def test_many_members(members, error, correlation):
    found = majority_error(members, float(Fraction(error)), correlation=float(Fraction(correlation)))
    expected = exact(members, error, correlation=correlation)
    if expected < Fraction(1, 10**307):
        assert found == pytest.approx(0, abs=1e-306)
    else:
        assert found == pytest.approx(float(expected), rel=1e-9)


def test_very_many_members():
    assert majority_error(100_001, 0.5) == pytest.approx(0.5, rel=1e-9)  # by symmetry
    # The bound of Chernoff and Hoeffding, exp(-M·D(1/2, e)), and the first term of the sum, on either side of the sum.
    members, e = 100_001, 0.49
    k = members // 2 + 1
    log = math.lgamma(members + 1) - math.lgamma(k + 1) - math.lgamma(members - k + 1)
    first = math.exp(log + k * math.log(e) + (members - k) * math.log(1 - e))
    bound = math.exp(members * math.log(2 * math.sqrt(e * (1 - e))))
    assert first < majority_error(members, e) < bound


@pytest.mark.parametrize("members", range(1, 8))
def test_limits(members):
    e = np.array([0.0, 0.1, 0.3, 0.5, 0.7, 1.0])
    for ties in ("right", "half", "wrong"):
        independent = majority_error(members, e, ties=ties)
        np.testing.assert_allclose(majority_error(members, e, correlation=1, ties=ties), e)  # all as one
        np.testing.assert_allclose(majority_error(members, e, correlation=1e-12, ties=ties), independent, atol=1e-10)
        np.testing.assert_allclose(majority_error(members, e, correlation=1 - 1e-9, ties=ties), e, atol=1e-7)
        assert independent[0] == 0 and independent[-1] == 1
    if members % 2:  # from independent to all as one the error grows, if members are better than a coin
        steps = [majority_error(members, 0.2, correlation=r) for r in np.linspace(0, 1, 21)]
        assert members == 1 or all(a < b for a, b in zip(steps, steps[1:], strict=False))
        np.testing.assert_allclose(majority_error(members, e), majority_error(members, e, ties="wrong"))
        np.testing.assert_allclose(majority_error(members, 1 - e), 1 - majority_error(members, e), atol=1e-12)
    else:
        right, half, wrong = (majority_error(members, e, ties=t) for t in ("right", "half", "wrong"))
        np.testing.assert_allclose(half, (right + wrong) / 2, atol=1e-12)
        np.testing.assert_allclose(half, majority_error(members - 1, e), atol=1e-12)  # a coin is worth nothing


def test_a_probability_is_never_above_1():
    assert max(majority_error(members, e) for members in (101, 1001) for e in (0.8, 0.9, 0.99, 0.999)) <= 1


def test_shapes_of_errors():
    assert type(majority_error(5, 0.1)) is float and type(majority_error(5, np.float32(0.1))) is float
    grid = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    found = majority_error(5, grid)
    assert found.shape == (2, 3) and found[1, 0] == majority_error(5, 0.4)
    np.testing.assert_array_equal(majority_error(5, minidl.from_numpy(grid)), found)
    assert majority_error(np.int64(3), []).shape == (0,)


def test_correlated_members_by_simulation():
    """Samples with a difficulty of their own, drawn from a beta distribution: the measured correlation and error are as asked."""
    members, samples, e, rho = 5, 200_000, 0.2, 0.3
    rng = np.random.default_rng(0)
    hard = rng.beta(e * (1 - rho) / rho, (1 - e) * (1 - rho) / rho, samples)
    wrong = (rng.random((members, samples)) < hard).astype(np.int64)
    nothing = np.zeros(samples, np.int64)
    assert intraclass_correlation(wrong, nothing) == pytest.approx(rho, abs=0.01)
    pairs = error_correlation(wrong, nothing)[np.triu_indices(members, 1)]
    np.testing.assert_allclose(pairs, rho, atol=0.015)
    measured = (wrong.sum(0) > members / 2).mean()
    # Five standard deviations of a share of 200,000 samples.
    assert measured == pytest.approx(majority_error(members, e, correlation=rho), abs=5 * math.sqrt(0.25 / samples))
    assert abs(measured - majority_error(members, e)) > 0.05


def test_correlated_members_by_enumeration():
    """Two values of difficulty: every outcome of three members, with its probability, has the first two moments asked for."""
    e, rho = Fraction(1, 5), Fraction(1, 4)
    total = mean = both = majority = Fraction(0)
    for outcome in product((0, 1), repeat=3):
        p, ones, zeros = Fraction(1), 0, 0
        for member in outcome:  # Pólya's urn: each outcome makes its like more probable
            share = (e if member else 1 - e) * (1 - rho) + (ones if member else zeros) * rho
            p *= share / (1 - rho + (ones + zeros) * rho)
            ones, zeros = ones + member, zeros + 1 - member
        total, mean, both = total + p, mean + p * outcome[0], both + p * outcome[0] * outcome[2]
        majority += p * (sum(outcome) > 1)
    assert total == 1 and mean == e and (both - e**2) / (e * (1 - e)) == rho
    assert majority_error(3, 0.2, correlation=0.25) == pytest.approx(float(majority), rel=1e-13)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((0, 0.1), {}, ValueError, "members should be at least 1, got 0"),
        ((-3, 0.1), {}, ValueError, "members should be at least 1"),
        ((3.0, 0.1), {}, TypeError, "members should be an integer, got float"),
        ((True, 0.1), {}, TypeError, "got bool"),
        ((3, -0.1), {}, ValueError, "error should be from 0 to 1, got -0.1"),
        ((3, 1.1), {}, ValueError, "error should be from 0 to 1"),
        ((3, [0.1, float("nan")]), {}, ValueError, "error should be from 0 to 1"),
        ((3, 0.1), {"correlation": -0.1}, ValueError, "correlation should be from 0 to 1, got -0.1"),
        ((3, 0.1), {"correlation": 1.5}, ValueError, "correlation should be from 0 to 1"),
        ((3, 0.1), {"correlation": float("nan")}, ValueError, "correlation should be from 0 to 1"),
        ((3, 0.1), {"ties": "coin"}, ValueError, "ties should be 'right', 'wrong' or 'half', got 'coin'"),
    ],
)
def test_bad_arguments_of_the_formula(arguments, options, error, message):
    with pytest.raises(error, match=message):
        majority_error(*arguments, **options)


# -- what members have in common -----------------------------------------------------------------------------------


@common
@given(st.integers(1, 5), st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_measures_by_plain_loops(members, samples, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, samples)
    p = np.where(rng.random((members, samples)) < 0.6, labels, rng.integers(0, 3, (members, samples)))
    wrong = p != labels
    differ, q = disagreement(minidl.from_numpy(p)), q_statistic(p, minidl.from_numpy(labels))
    rho = error_correlation(p, labels)
    for i in range(members):
        for j in range(members):
            assert differ[i, j] == pytest.approx(sum(a != b for a, b in zip(p[i], p[j], strict=True)) / samples)
            both, neither = (wrong[i] & wrong[j]).sum(), (~wrong[i] & ~wrong[j]).sum()
            first, second = (~wrong[i] & wrong[j]).sum(), (wrong[i] & ~wrong[j]).sum()
            if both * neither + first * second:
                expected = (both * neither - first * second) / (both * neither + first * second)
                assert q[i, j] == pytest.approx(expected)
            else:
                assert np.isnan(q[i, j])
            if 0 < wrong[i].mean() < 1 and 0 < wrong[j].mean() < 1:
                assert rho[i, j] == pytest.approx(np.corrcoef(wrong[i], wrong[j])[0, 1], abs=1e-12)
            else:
                assert np.isnan(rho[i, j])
    if members > 1 and 0 < wrong.mean() < 1:
        pairs = [(wrong[i] & wrong[j]).mean() for i in range(members) for j in range(members) if i != j]
        e = wrong.mean()
        assert intraclass_correlation(p, labels) == pytest.approx((np.mean(pairs) - e**2) / (e - e**2))


def test_extremes_of_what_members_have_in_common():
    labels = np.zeros(8, np.int64)
    same = np.array([[1, 0, 0, 0, 1, 0, 0, 0]] * 3)
    assert intraclass_correlation(same, labels) == pytest.approx(1) and disagreement(same).max() == 0
    np.testing.assert_allclose(error_correlation(same, labels), 1)
    apart = np.array([[1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0, 0]])
    assert q_statistic(apart, labels)[0, 1] == -1 and error_correlation(apart, labels)[0, 1] < 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for everywhere in (0, 1):  # no member errs, or all always do
            assert math.isnan(intraclass_correlation(np.full((2, 8), everywhere), labels))


def test_bad_predictions():
    labels = np.zeros(4, np.int64)
    for function in (error_correlation, intraclass_correlation, q_statistic):
        with pytest.raises(ValueError, match=r"expected predictions as integers of shape \(M, N\), got float64"):
            function(np.zeros((2, 4)), labels)
        with pytest.raises(ValueError, match=r"expected labels as integers of shape \(4,\), got int64 of shape \(3,\)"):
            function(np.zeros((2, 4), int), labels[:3])
    with pytest.raises(ValueError, match="expected at least 2 members, got 1"):
        intraclass_correlation(np.zeros((1, 4), int), labels)
    with pytest.raises(ValueError, match=r"disagreement: .* got int64 of shape \(4,\)"):
        disagreement(labels)
    with pytest.raises(ValueError, match=r"\(2, 0\)"):
        disagreement(np.zeros((2, 0), int))


# -- calibration ---------------------------------------------------------------------------------------------------


def drawn(seed, samples=400, classes=4, temperature=1.0):
    """Scores, and labels drawn from their softmax; then the scores are multiplied: so their best temperature is known."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 2, (samples, classes))
    p = np.exp(scores)
    p /= p.sum(1, keepdims=True)
    labels = (p.cumsum(1) < rng.random((samples, 1))).sum(1)
    return scores * temperature, labels


@common
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.floats(0.05, 20))
def test_the_temperature_is_the_best(seed, classes, temperature):
    scores, labels = drawn(seed, 200, classes, temperature)
    found = float(TemperatureScaling().double().fit(scores, labels).temperature.item())

    def loss(t):
        return F.cross_entropy(minidl.from_numpy(scores / t), minidl.from_numpy(labels)).item()

    assert all(loss(found) <= loss(found * factor) + 1e-13 for factor in (0.5, 0.9, 0.999, 1.001, 1.1, 2))


def test_a_known_temperature_is_found():
    scores, labels = drawn(0, 50_000, temperature=3.0)
    scaling = TemperatureScaling().fit(minidl.from_numpy(scores.astype(np.float32)), minidl.from_numpy(labels))
    assert scaling.temperature.item() == pytest.approx(3.0, rel=0.03)
    assert "temperature=" in repr(scaling)
    before = expected_calibration_error(F.softmax(minidl.from_numpy(scores), 1), labels)
    with minidl.no_grad():
        model = nn.Sequential(nn.Identity(), scaling.double())
        after = expected_calibration_error(F.softmax(model(minidl.from_numpy(scores)), 1), labels)
        np.testing.assert_array_equal(model(minidl.from_numpy(scores)).argmax(1).numpy(), scores.argmax(1))
    assert before > 0.1 and after < 0.01
    other = TemperatureScaling()
    other.load_state_dict(scaling.state_dict())
    assert other.temperature.item() == pytest.approx(scaling.temperature.item())


def test_scores_of_any_size():
    scores, labels = drawn(1)
    for factor in (1e-1, 1.0, 10.0):
        t = TemperatureScaling().double().fit(scores * factor, labels).temperature.item()
        assert t / factor == pytest.approx(TemperatureScaling().double().fit(scores, labels).temperature.item())
    shifted = scores + np.random.default_rng(0).normal(0, 1000, (len(scores), 1))  # the softmax does not see it
    assert TemperatureScaling().double().fit(shifted, labels).temperature.item() == pytest.approx(
        TemperatureScaling().double().fit(scores, labels).temperature.item(), rel=1e-6
    )


def test_without_a_best_temperature_one_is_warned():
    scores = np.eye(3)[[0, 1, 2]] * 5
    with pytest.warns(
        UserWarning, match=r"no best temperature between 0.01 and 100 .* because all of them are right; 0.01"
    ):
        assert TemperatureScaling().fit(scores, [0, 1, 2]).temperature.item() == pytest.approx(0.01)
    with pytest.warns(UserWarning, match="because the scores are no better than guessing; 100 is taken"):
        assert TemperatureScaling().fit(scores, [1, 2, 0]).temperature.item() == pytest.approx(100)


def plain_ece(p, labels, bins):
    total = 0.0
    for b in range(bins):
        inside = [n for n in range(len(p)) if b / bins < max(p[n]) <= (b + 1) / bins]
        if inside:
            right = sum(p[n].argmax() == labels[n] for n in inside) / len(inside)
            total += len(inside) / len(p) * abs(right - sum(max(p[n]) for n in inside) / len(inside))
    return total


@common
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 5), st.integers(1, 60))
def test_calibration_error_by_plain_loops(seed, bins, classes, samples):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(classes), samples)
    labels = rng.integers(0, classes, samples)
    d = reliability_diagram(minidl.from_numpy(p), labels, bins)
    assert d.ece == pytest.approx(plain_ece(p, labels, bins), abs=1e-12)
    assert d.counts.sum() == samples and len(d.edges) == bins + 1
    there = d.counts > 0
    assert (np.isnan(d.accuracy) == ~there).all()
    assert (d.confidence[there] > d.edges[:-1][there] - 1e-12).all() and (
        d.confidence[there] <= d.edges[1:][there]
    ).all()


def test_edges_belong_to_the_bin_below():
    p = np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]])
    assert reliability_diagram(p, [0, 0, 0], 4).counts.tolist() == [0, 1, 1, 1]
    assert reliability_diagram(p * 1.0004, [0, 0, 0], 4).counts.tolist() == [0, 0, 1, 2]  # rounding may lead above 1
    assert reliability_diagram(np.array([[1.0]]), [0], 4).counts.tolist() == [0, 0, 0, 1]
    assert expected_calibration_error(np.array([[0.8, 0.2]] * 10), [0] * 7 + [1] * 3) == pytest.approx(0.1)


def test_bad_input_of_calibration():
    p, labels = np.full((3, 2), 0.5), np.zeros(3, int)
    for function in (lambda: reliability_diagram(p * 3, labels), lambda: expected_calibration_error(np.log(p), labels)):
        with pytest.raises(ValueError, match="expected probabilities, got numbers from .*softmax of logits, or exp of"):
            function()
    with pytest.raises(ValueError, match=r"numbers from -0.2 to 1.2 whose rows sum to 1 to 1;"):
        reliability_diagram(np.array([[1.2, -0.2]] * 3), labels)
    for bins in (0, 2.5, True):
        with pytest.raises(ValueError, match="n_bins should be an integer of at least 1"):
            reliability_diagram(p, labels, bins)
    for bad, message in (
        (np.zeros(3), r"floats of shape \(N, C\), got float64 of shape \(3,\)"),
        (np.zeros((0, 2)), r"shape \(0, 2\)"),
        (np.zeros((3, 2), int), "got int64"),
        (np.array([[np.nan, 1]] * 3), "3 of the numbers are NaN or infinite"),
    ):
        with pytest.raises(ValueError, match=message):
            reliability_diagram(bad, labels)
        with pytest.raises(ValueError, match=message):
            TemperatureScaling().fit(bad, labels)
    for bad, message in (
        ([0, 1], r"shape \(3,\)"),
        ([0.0, 1.0, 1.0], "float64"),
        ([0, 1, 2], "label 2 is none of the 2"),
        ([0, -1, 1], "label -1"),
    ):
        with pytest.raises(ValueError, match=message):
            TemperatureScaling().fit(p, bad)


def test_the_picture(tmp_path, monkeypatch, capsys):
    scores, labels = drawn(0)
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    diagrams = {"one": reliability_diagram(p, labels), "two": reliability_diagram(p[:5], labels[:5], 10)}
    path = tmp_path / "there" / "reliability.png"
    assert plot_reliability(diagrams, path)
    with Image.open(path) as image:
        assert image.width > image.height > 300
    usual = builtins.__import__

    def without(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return usual(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert not plot_reliability(diagrams, tmp_path / "other.png")
    assert "other.png is not drawn: it needs matplotlib (pip install 'minidl[viz]')" in capsys.readouterr().err
