"""Linear support vector machines: that the solver reaches the optimum, and that scikit-learn's reaches the same."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl
from minidl.nn import functional as F
from minidl.testing import gradcheck
from minidl.transfer import LinearSVC, coordinate, crammer_singer_loss, one_vs_rest_loss
from minidl.transfer.coordinate import crammer_singer, one_vs_rest, project

KINDS = {
    "hinge": {"loss": "hinge"},
    "squared": {"loss": "squared_hinge"},
    "crammer_singer": {"multi_class": "crammer_singer"},
}


def blobs(n: int, d: int, classes: int, seed: int, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clouds of points, one for each class."""
    g = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return g.normal(size=(classes, d))[y] + spread * g.normal(size=(n, d)), y


def objective(svm: LinearSVC, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What is minimised, of the fitted coefficients, by the losses of this package (one number, or one for each machine)."""
    scores = X @ svm.coef_.T + svm.intercept_
    free = (svm.intercept_ / svm.intercept_scaling) ** 2 if svm.fit_intercept else np.zeros(len(svm.coef_))
    penalty = 0.5 * ((svm.coef_**2).sum(1) + free)
    labels = np.searchsorted(svm.classes_, y)
    if len(svm.classes_) == 2 and svm.multi_class == "crammer_singer":
        scores, penalty = np.column_stack([-scores / 2, scores / 2]), penalty / 2  # w₁ = −w₀: half the difference each
    if svm.multi_class == "crammer_singer":
        return penalty.sum() + svm.C * crammer_singer_loss(minidl.tensor(scores), minidl.tensor(labels), "sum").item()
    p = 1 if svm.loss == "hinge" else 2
    signs = np.where(labels[:, None] == (np.arange(len(svm.classes_)) if len(svm.coef_) > 1 else [1]), 1, -1)
    return penalty + svm.C * (np.maximum(1 - signs * scores, 0) ** p).sum(0)


# -- the losses --------------------------------------------------------------------------------------------------------


def test_losses_on_paper():
    scores, y = minidl.tensor([[2.0, 1.5, 0.0], [0.0, 0.0, 3.0]]), minidl.tensor([0, 1])
    assert crammer_singer_loss(scores, y, "none").tolist() == [0.5, 4.0]
    assert crammer_singer_loss(scores, y).item() == 2.25 and crammer_singer_loss(scores, y, "sum").item() == 4.5
    # signs + − −: 0, 2.5, 1;  − + −: 1, 1, 4
    assert one_vs_rest_loss(scores, y, squared=False, reduction="none").tolist() == [3.5, 6.0]
    assert one_vs_rest_loss(scores, y, reduction="none").tolist() == [7.25, 18.0]
    assert one_vs_rest_loss(scores, y).item() == pytest.approx(12.625)
    with pytest.raises(ValueError, match="reduction"):
        crammer_singer_loss(scores, y, "median")


def test_a_right_class_that_leads_by_one_costs_nothing():
    assert crammer_singer_loss(minidl.tensor([[1.0, 0.0, -3.0]]), minidl.tensor([0])).item() == 0.0
    assert F.multi_margin_loss(minidl.tensor([[0.5, 0.0]]), minidl.tensor([0])).item() == pytest.approx(
        0.25
    )  # divides by 2
    assert crammer_singer_loss(minidl.tensor([[0.5, 0.0]]), minidl.tensor([0])).item() == pytest.approx(0.5)


def test_the_losses_have_gradients():
    scores = minidl.tensor(np.random.default_rng(0).normal(size=(4, 3)), requires_grad=True)
    y = minidl.tensor([0, 2, 1, 1])
    assert gradcheck(lambda s: crammer_singer_loss(s, y), (scores,))
    assert gradcheck(lambda s: one_vs_rest_loss(s, y), (scores,))


# -- the solver --------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(v=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8), total=st.floats(1e-3, 1e3))
def test_project_finds_the_nearest_point_of_the_simplex(v, total):
    v = np.array(v)
    u = project(v, total)
    assert (u >= 0).all() and u.sum() == pytest.approx(total)
    # The nearest point of a convex set: no corner of it lies on v's side.
    corners = total * np.eye(len(v))
    assert ((corners - u) @ (v - u) <= 1e-7 * (1 + np.abs(v).max()) * total).all()


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 6), length=st.floats(1e-3, 1e3))
def test_a_move_ends_at_the_first_bound_exactly(seed, n, length):
    g = np.random.default_rng(seed)
    now, step = g.uniform(0, 0.7, n), length * g.normal(size=n)
    there, cut = coordinate.move(now, step, 0.0, 0.7)
    assert (there >= 0).all() and (there <= 0.7).all()
    assert cut == bool(((now + step < 0) | (now + step > 0.7)).any()) == bool(((there == 0) | (there == 0.7)).any())
    share = float(np.median((there - now) / step))
    assert np.allclose(there, now + share * step, atol=1e-9) and (cut or share == pytest.approx(1))


def test_optima_on_paper():
    """Two points at ±1 and no intercept: ½w² + 2C max(0, 1 − w)ᵖ has its minimum at min(1, 2C) or at 4C / (1 + 4C)."""
    X, y = np.array([[1.0], [-1.0]]), ["b", "a"]
    for C in (0.1, 0.3, 2.0):
        fitted = {k: LinearSVC(C=C, fit_intercept=False, tol=1e-10, **kind).fit(X, y) for k, kind in KINDS.items()}
        assert fitted["hinge"].coef_ == pytest.approx(np.array([[min(1.0, 2 * C)]]))
        assert fitted["squared"].coef_ == pytest.approx(np.array([[4 * C / (1 + 4 * C)]]), rel=1e-4)
        assert fitted["crammer_singer"].coef_ == pytest.approx(np.array([[min(1.0, 4 * C)]]))
        assert all(svm.intercept_ == [0.0] and svm.predict([[0.5]]) == ["b"] for svm in fitted.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("C", [0.01, 1.0])
def test_the_reported_objective_is_that_of_the_coefficients(kind, classes, C):
    X, y = blobs(40, 5, classes, seed=1)
    for options in ({}, {"fit_intercept": False}, {"intercept_scaling": 3.0}):
        svm = LinearSVC(C=C, tol=1e-6, **KINDS[kind], **options).fit(X, y)
        assert svm.coef_.shape == (1 if classes == 2 else classes, 5) and svm.intercept_.shape == svm.coef_.shape[:1]
        assert objective(svm, X, y) == pytest.approx(svm.objective_, rel=1e-9)
        assert (svm.dual_gap_ <= 1e-6 * svm.objective_).all() and (svm.dual_gap_ >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 3])
def test_nothing_else_is_better_than_the_gap_allows(kind, classes):
    """The gap is no estimate: whatever the weights, after any number of passes, they are not below objective − gap."""
    X, y = blobs(30, 4, classes, seed=2)
    good = LinearSVC(tol=1e-9, **KINDS[kind]).fit(X, y)
    for passes in (1, 2, 5):
        with pytest.warns(RuntimeWarning, match=f"after {passes} passes"):
            svm = LinearSVC(tol=1e-12, max_iter=passes, **KINDS[kind]).fit(X, y)
        assert (svm.objective_ - svm.dual_gap_ <= good.objective_ * (1 + 1e-12)).all()
        assert (good.objective_ * (1 - 1e-9) <= svm.objective_).all() and svm.n_iter_ == passes
    g = np.random.default_rng(0)
    coef, intercept = good.coef_, good.intercept_
    for _ in range(300):
        scale = 10 ** g.uniform(-5, 0.5)
        good.coef_ = coef + scale * g.normal(size=coef.shape)
        good.intercept_ = intercept + scale * g.normal(size=intercept.shape)
        assert (objective(good, X, y) >= good.objective_ - good.dual_gap_ - 1e-12).all()


def test_the_gradient_vanishes_where_there_is_one():
    """The squared hinge is smooth, with L = 1 + 2C Σ|xᵢ|² at most, and then |gradient|² ≤ 2 L (f − min f)."""
    X, y = blobs(50, 6, 3, seed=3)
    svm = LinearSVC(C=0.5, tol=1e-8, fit_intercept=False).fit(X, y)
    W = minidl.tensor(svm.coef_, requires_grad=True)
    scores = minidl.tensor(X) @ W.t()
    (0.5 * (W * W).sum() + 0.5 * one_vs_rest_loss(scores, minidl.tensor(y), reduction="sum")).backward()
    L = 1 + 2 * 0.5 * (X**2).sum()
    assert ((W.grad.numpy() ** 2).sum(1) <= 2 * L * svm.dual_gap_ + 1e-12).all()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(4, 25),
    d=st.integers(1, 30),
    K=st.integers(2, 4),
    C=st.sampled_from([0.01, 1.0, 20.0]),
)
def test_the_gap_closes_on_any_data(seed, n, d, K, C):
    X, y = blobs(max(n, K), d, K, seed)
    for kind in KINDS.values():
        svm = LinearSVC(C=C, tol=1e-3, **kind).fit(X, y)
        assert (svm.dual_gap_ <= 1e-3 * svm.objective_).all()


def test_two_classes_crammer_singer_is_the_hinge_of_twice_the_cost():
    X, y = blobs(40, 3, 2, seed=5)
    one = LinearSVC(loss="hinge", C=0.2, tol=1e-9).fit(X, y)
    other = LinearSVC(multi_class="crammer_singer", C=0.1, tol=1e-9).fit(X, y)
    assert np.allclose(one.coef_, other.coef_, atol=1e-4) and np.allclose(one.intercept_, other.intercept_, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_of_zeros(kind):
    X, y = blobs(20, 3, 3, seed=6)
    X[:4] = 0
    nothing = LinearSVC(fit_intercept=False, tol=1e-6, **KINDS[kind]).fit(np.zeros_like(X), y)
    assert not nothing.coef_.any() and (nothing.dual_gap_ < 1e-9).all()
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        svm = LinearSVC(fit_intercept=False, tol=1e-6, **KINDS[kind]).fit(X, y)
    assert (svm.dual_gap_ <= 1e-6 * svm.objective_).all() and np.isfinite(svm.coef_).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "d", "C"), [(40, 5, 0.05), (30, 60, 10.0)])
def test_newton_steps_lead_to_the_same_optimum(monkeypatch, kind, n, d, C):
    X, y = blobs(n, d, 3, seed=13)
    quick = LinearSVC(C=C, tol=1e-7, **KINDS[kind]).fit(X, y)
    monkeypatch.setattr(coordinate, "LARGEST", 0)
    plain = LinearSVC(C=C, tol=1e-7, max_iter=3000, **KINDS[kind]).fit(X, y)
    assert plain.n_iter_ >= quick.n_iter_
    assert quick.objective_ == pytest.approx(plain.objective_, rel=2e-7)
    assert np.abs(quick.coef_ - plain.coef_).max() < 1e-2 * np.abs(plain.coef_).max()


def test_newton_steps_solve_what_single_steps_hardly_do():
    """Four points in a row far from the origin, and dear losses: without Newton steps this takes more than 10,000 passes."""
    X, y = np.array([[10.0], [10.5], [11.5], [12.0]]), [0, 0, 1, 1]
    for kind in KINDS.values():
        assert LinearSVC(C=100.0, tol=1e-6, max_iter=100, **kind).fit(X, y).score(X, y) == 1.0


def test_a_machine_does_not_depend_on_the_others():
    X, y = blobs(30, 4, 3, seed=7)
    signs = np.where(y[:, None] == np.arange(3), 1.0, -1.0)
    options = {"C": 1.0, "squared": False, "tol": 1e-9, "max_iter": 1000}
    together = one_vs_rest(X, signs, **options).weights
    for k in range(3):
        assert np.allclose(one_vs_rest(X, signs[:, k : k + 1], **options).weights[0], together[k], atol=1e-4)


def test_the_order_is_drawn_from_the_seed():
    X, y = blobs(30, 4, 3, seed=8)
    fits = [crammer_singer(X, y, C=1.0, tol=1e-2, max_iter=100, seed=s).weights for s in (0, 0, 1)]
    assert np.array_equal(fits[0], fits[1]) and not np.array_equal(fits[0], fits[2])
    a, b = (LinearSVC(tol=1e-2, random_state=s).fit(X, y).coef_ for s in (0, 1))
    assert not np.array_equal(a, b)


# -- the class ---------------------------------------------------------------------------------------------------------


def test_labels_of_any_kind_and_tensors():
    X, y = blobs(60, 4, 3, seed=9, spread=0.2)
    names = np.array(["bee", "ant", "wasp"])[y]
    svm = LinearSVC().fit(minidl.tensor(X), names)
    assert svm.classes_.tolist() == ["ant", "bee", "wasp"]
    assert (svm.predict(X) == names).mean() == 1.0 == svm.score(minidl.tensor(X), names)
    numbers = LinearSVC().fit(X.astype(np.float32), minidl.tensor(y + 5))
    assert numbers.classes_.tolist() == [5, 6, 7] and numbers.score(X, minidl.tensor(y + 5)) == 1.0
    assert np.array_equal(numbers.decision_function(X).argmax(1) + 5, numbers.predict(X))
    half = names.copy()
    half[:30] = "none"
    assert svm.score(X, half) == 0.5


def test_two_classes_have_one_row_and_positive_scores_mean_the_second():
    X, y = blobs(40, 3, 2, seed=10, spread=0.3)
    for kind in KINDS.values():
        svm = LinearSVC(**kind).fit(X, y)
        scores = svm.decision_function(X)
        assert scores.shape == (40,) and np.array_equal(svm.predict(X), (scores > 0).astype(int))
        assert svm.score(X, y) > 0.9


def test_the_intercept_lets_the_boundary_lie_off_the_origin():
    X, y = np.array([[10.0], [10.5], [11.5], [12.0]]), [0, 0, 1, 1]
    assert LinearSVC(C=100.0, intercept_scaling=10.0).fit(X, y).score(X, y) == 1.0
    assert LinearSVC(C=100.0, fit_intercept=False).fit(X, y).score(X, y) == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "log"}, "loss should be 'hinge' or 'squared_hinge', got 'log'"),
        ({"multi_class": "ovo"}, "multi_class"),
        ({"engine": "libsvm"}, "engine"),
        ({"C": 0}, "C should be above 0, got 0"),
        ({"C": float("inf")}, "C should"),
        ({"tol": -1.0}, "tol"),
        ({"intercept_scaling": 0.0}, "intercept_scaling"),
        ({"max_iter": 0}, "max_iter"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LinearSVC(**arguments)


def test_wrong_data():
    X, y = blobs(6, 2, 2, seed=0)
    with pytest.raises(ValueError, match=r"6 labels for features \(6, 2\), got shape \(5,\)"):
        LinearSVC().fit(X, y[:5])
    with pytest.raises(ValueError, match=r"flatten\(1\)"):
        LinearSVC().fit(X[:, :, None], y)
    with pytest.raises(ValueError, match="NaN"):
        LinearSVC().fit(np.vstack([X[:5], [[np.nan, 0.0]]]), y)
    with pytest.raises(ValueError, match=r"two classes, all labels are \[7\]"):
        LinearSVC().fit(X, np.full(6, 7))
    with pytest.raises(RuntimeError, match="not fitted"):
        LinearSVC().predict(X)
    with pytest.raises(ValueError, match="fitted to 2 features, got 3"):
        LinearSVC().fit(X, y).predict(np.zeros((1, 3)))


# -- scikit-learn ------------------------------------------------------------------------------------------------------


def test_without_scikit_learn_a_message_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(ImportError, match=r"minidl\[sklearn\]"):
        LinearSVC(engine="sklearn").fit(*blobs(6, 2, 2, seed=0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("n", "d", "classes", "C"), [(60, 5, 2, 1.0), (60, 5, 4, 0.1), (40, 80, 3, 1.0), (120, 10, 5, 0.02)]
)
def test_scikit_learn_reaches_the_same(kind, n, d, classes, C):
    """Both within 1e-5 of each other's objective; predictions on other data are the same but for ties."""
    pytest.importorskip("sklearn")
    X, y = blobs(n, d, classes, seed=11)
    for options in ({}, {"fit_intercept": False}, {"intercept_scaling": 5.0}):
        ours = LinearSVC(C=C, tol=1e-7, **KINDS[kind], **options).fit(X, y)
        theirs = LinearSVC(C=C, tol=1e-8, max_iter=1_000_000, engine="sklearn", **KINDS[kind], **options).fit(X, y)
        assert theirs.coef_.shape == ours.coef_.shape and theirs.intercept_.shape == ours.intercept_.shape
        assert objective(ours, X, y) == pytest.approx(objective(theirs, X, y), rel=1e-5)
        other, _ = blobs(500, d, classes, seed=12)
        a, b = ours.decision_function(other), theirs.decision_function(other)
        assert np.abs(a - b).max() < 2e-2 * np.abs(b).max()
        best = np.sort(b, axis=-1) if b.ndim == 2 else None
        lead = np.abs(b) if best is None else best[:, -1] - best[:, -2]
        clear = lead > 4e-2 * np.abs(b).max()
        assert clear.mean() > 0.5 and np.array_equal(ours.predict(other)[clear], theirs.predict(other)[clear])
