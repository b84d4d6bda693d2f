"""Linear support vector machines: the losses, and classifiers fitted to features."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from minidl.nn import functional as F
from minidl.ops.loss import reduce
from minidl.ops.selection import clamp
from minidl.tensor import Tensor
from minidl.transfer.coordinate import crammer_singer, one_vs_rest


def one_vs_rest_loss(input: Tensor, target: Tensor, squared: bool = True, reduction: str = "mean") -> Tensor:
    """The hinge losses of K two-class machines, each "this class or another", summed: Σₖ max(0, 1 − sₖ xₖ)ᵖ, where sₖ is 1 for
    the right class and −1 for the others, and p = 2 if ``squared``, else 1.

    With ``weight_decay`` (the L2 penalty), any optimizer trains a support vector machine on it, or a network that ends with one.

    Args:
        input: scores (N, K).
        target: class labels (N).
        reduction: "mean", "sum" or "none", over the samples.

    Example:
        >>> one_vs_rest_loss(minidl.tensor([[2.0, 0.5]]), minidl.tensor([0]), squared=False)
        tensor(1.5000)
    """
    right = F.one_hot(target, input.shape[1])
    excess = clamp(1 - input * (2 * right - 1).to(input.dtype), min=0.0)
    return reduce((excess * excess if squared else excess).sum(1), reduction)


def crammer_singer_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The multi-class hinge loss: by how much the best wrong class comes nearer than 1 to the right one,
    max(0, 1 + max_{k ≠ y} xₖ − x_y).

    (``F.multi_margin_loss`` sums over the wrong classes where this takes the worst one.)

    Args:
        input: scores (N, K).
        target: class labels y (N).
        reduction: "mean", "sum" or "none", over the samples.

    Source: Crammer and Singer, "On the algorithmic implementation of multiclass kernel-based vector machines", JMLR 2001,
    section 3.

    Example:
        >>> crammer_singer_loss(minidl.tensor([[2.0, 1.5, 0.0]]), minidl.tensor([0]))
        tensor(0.5000)
    """
    right = F.one_hot(target, input.shape[1]).to(input.dtype)
    margins = input + 1 - right - (input * right).sum(1, keepdim=True)  # of the right class: 0
    return reduce(margins.amax(1), reduction)


class LinearSVC:
    """Linear support vector classification, with scikit-learn's names and meanings.

    With a column of ``intercept_scaling`` behind the features and wₖ the weights of class k (so, as in scikit-learn, the
    intercept is penalised too, the less the larger the scaling), "ovr" (one versus rest) minimises for each class

        ½ |wₖ|² + C Σᵢ max(0, 1 − sᵢₖ wₖ·xᵢ)ᵖ,    sᵢₖ = ±1, p = 1 for "hinge", 2 for "squared_hinge",

    and "crammer_singer" all classes together:

        ½ Σₖ |wₖ|² + C Σᵢ max(0, 1 + max_{k ≠ yᵢ} wₖ·xᵢ − w_{yᵢ}·xᵢ).

    With two classes, "ovr" is one machine. "crammer_singer" is then the machine of loss "hinge" for 2 C.

    The solver (see ``minidl.transfer.coordinate``) computes, after each pass over the samples, how far its objective can be above
    the smallest one at most: the duality gap. It stops when this is at most ``tol`` of the objective.

    Args:
        loss: "hinge" or "squared_hinge"; for "ovr" only.
        C: weight of the losses against the penalty, above 0. It is a sum over samples, so more samples weigh more.
        multi_class: "ovr" or "crammer_singer".
        tol: the relative duality gap to stop at, above 0. (scikit-learn's ``tol`` is another measure.)
        fit_intercept: False leaves the intercept out.
        intercept_scaling: see above; above 0.
        max_iter: passes over the samples, at most.
        random_state: seed of the order in which samples are visited.
        engine: "minidl", or "sklearn": scikit-learn's LinearSVC with the same parameters (the extra ``sklearn``).

    Attributes, after ``fit``, NumPy arrays:
        classes_: the labels, sorted, of K classes.
        coef_: weights (K, D), or (1, D) for two classes: positive scores mean the second one.
        intercept_: (K,) or (1,).
        n_iter_: passes that were made.
        objective_, dual_gap_: what was reached, and the gap: the smallest objective is between ``objective_ - dual_gap_`` and
            ``objective_``. For "ovr" one number for each machine. (engine "sklearn" does not tell.)

    Raises:
        ValueError: for an argument that is none of these.
        ImportError: in ``fit``, if the engine is "sklearn" and scikit-learn is missing.

    Features are best scaled beforehand, to about unit length or variance: C and the intercept's penalty depend on the scale.

    Example:
        >>> svm = LinearSVC(C=0.1, multi_class="crammer_singer")
        >>> svm.fit(minidl.tensor([[0.0], [1.0], [3.0]]), ["low", "low", "high"]).predict([[-1.0], [4.0]])
        array(['low', 'high'], dtype='<U4')
    """

    coef_: np.ndarray
    intercept_: np.ndarray
    classes_: np.ndarray
    n_iter_: int
    objective_: np.ndarray
    dual_gap_: np.ndarray

    def __init__(
        self,
        *,
        loss: str = "squared_hinge",
        C: float = 1.0,
        multi_class: str = "ovr",
        tol: float = 1e-4,
        fit_intercept: bool = True,
        intercept_scaling: float = 1.0,
        max_iter: int = 1000,
        random_state: int = 0,
        engine: str = "minidl",
    ) -> None:
        for name, value, allowed in (
            ("loss", loss, ("hinge", "squared_hinge")),
            ("multi_class", multi_class, ("ovr", "crammer_singer")),
            ("engine", engine, ("minidl", "sklearn")),
        ):
            if value not in allowed:
                raise ValueError(f"LinearSVC: {name} should be {' or '.join(map(repr, allowed))}, got {value!r}")
        for name, number in (("C", C), ("tol", tol), ("intercept_scaling", intercept_scaling), ("max_iter", max_iter)):
            if not (number > 0 and math.isfinite(number)):
                raise ValueError(f"LinearSVC: {name} should be above 0, got {number}")
        self.loss = loss
        self.C = C
        self.multi_class = multi_class
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.intercept_scaling = intercept_scaling
        self.max_iter = max_iter
        self.random_state = random_state
        self.engine = engine

    def fit(self, X: Any, y: Any) -> LinearSVC:
        """Learn from features X (N, D) and labels y (N), Tensors or arrays; labels may be numbers or text. Returns self.

        Raises:
            ValueError: if shapes do not fit, a feature is NaN or infinite, or all labels are the same.

        If ``max_iter`` passes do not reach ``tol``, a RuntimeWarning says what was reached.
        """
        X, y = _features("fit", X), _array(y)
        if y.shape != (len(X),):
            raise ValueError(f"LinearSVC.fit: expected {len(X)} labels for features {X.shape}, got shape {y.shape}")
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"LinearSVC.fit: expected at least two classes, all labels are {y[:1].tolist()}")
        if self.engine == "sklearn":
            return self._fit_sklearn(X, y)
        if self.fit_intercept:
            X = np.column_stack([X, np.full(len(X), float(self.intercept_scaling))])
        two = len(self.classes_) == 2
        options: dict[str, Any] = {"C": self.C, "tol": self.tol, "max_iter": self.max_iter, "seed": self.random_state}
        if self.multi_class == "ovr":
            signs = np.where(labels[:, None] == np.arange(len(self.classes_)), 1.0, -1.0)
            solution = one_vs_rest(X, signs[:, 1:] if two else signs, squared=self.loss == "squared_hinge", **options)
            weights = solution.weights
        else:
            solution = crammer_singer(X, labels, **options)
            weights = solution.weights[1:] - solution.weights[:1] if two else solution.weights
        self.n_iter_, self.objective_, self.dual_gap_ = solution.passes, solution.objective, solution.gap
        if not solution.converged:
            share = float(np.max(solution.gap / solution.objective))
            warnings.warn(
                f"LinearSVC: after {self.max_iter} passes the objective may be {share:.2g} of itself above the smallest one, "
                f"tol={self.tol:g} was asked for. Scale the features, lower C, or raise max_iter.",
                RuntimeWarning,
                stacklevel=2,
            )
        d = X.shape[1] - self.fit_intercept
        self.coef_ = weights[:, :d]
        self.intercept_ = weights[:, d] * self.intercept_scaling if self.fit_intercept else np.zeros(len(weights))
        return self

    def _fit_sklearn(self, X: np.ndarray, y: np.ndarray) -> LinearSVC:
        try:
            from sklearn.svm import LinearSVC as Theirs
        except ImportError as error:
            raise ImportError(
                "LinearSVC(engine='sklearn') needs scikit-learn: pip install 'minidl[sklearn]', or use engine='minidl'"
            ) from error
        names = ("loss", "C", "multi_class", "tol", "fit_intercept", "intercept_scaling", "max_iter", "random_state")
        fitted = Theirs(dual=True, **{name: getattr(self, name) for name in names}).fit(X, y)
        self.coef_, self.n_iter_ = fitted.coef_, fitted.n_iter_
        self.intercept_ = np.atleast_1d(fitted.intercept_) * np.ones(len(fitted.coef_))  # it is the number 0.0 without
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the scores: (N, K), or (N,) for two classes."""
        if not hasattr(self, "coef_"):
            raise RuntimeError("this LinearSVC is not fitted yet: call fit(X, y) first")
        X = _features("decision_function", X)
        if X.shape[1] != self.coef_.shape[1]:
            raise ValueError(f"LinearSVC: fitted to {self.coef_.shape[1]} features, got {X.shape[1]} (shape {X.shape})")
        scores = X @ self.coef_.T + self.intercept_
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Return the label of the highest score for each row of X, an array (N)."""
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)]

    def score(self, X: Any, y: Any) -> float:
        """Return the share of the rows of X whose label in y is predicted."""
        return float((self.predict(X) == _array(y)).mean())


def _array(x: Any) -> np.ndarray:
    return x.backend.to_numpy(x.array) if isinstance(x, Tensor) else np.asarray(x)


def _features(where: str, X: Any) -> np.ndarray:
    X = _array(X)
    if X.ndim != 2 or X.dtype.kind not in "biuf":
        raise ValueError(
            f"LinearSVC.{where}: expected features of shape (samples, features), got {X.dtype} of shape {X.shape}; "
            "features.flatten(1) makes rows"
        )
    X = X.astype(np.float64)
    if not np.isfinite(X).all():
        raise ValueError(f"LinearSVC.{where}: the features hold NaN or infinity")
    return X
