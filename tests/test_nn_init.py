"""Initialisers: distributions (within bounds that a correct one passes but for one run in 10⁹), exact properties,
errors.

The mean of n draws has the standard error σ/√n, their variance σ²·√((κ − 1)/n) with κ the fourth standardised moment; a
bound of SIX of these is what "one in 10⁹" means. Seeds are fixed, so a test that passes keeps passing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.nn import init

SIX = 6.0
UNIFORM_KURTOSIS, NORMAL_KURTOSIS = 1.8, 3.0
SHAPE = (200, 50, 3, 3)  # fan_in 450, fan_out 1800
FAN_IN, FAN_OUT = 450, 1800


@pytest.fixture(autouse=True)
def _seed() -> None:
    minidl.manual_seed(2024)


def drawn(fill: Callable[..., Any], shape: tuple[int, ...] = SHAPE, **kwargs: Any) -> np.ndarray:
    tensor = minidl.empty(*shape)
    assert fill(tensor, **kwargs) is tensor
    return tensor.numpy().astype(np.float64)


def assert_moments(values: np.ndarray, mean: float, std: float, kurtosis: float) -> None:
    n = values.size
    assert abs(values.mean() - mean) < SIX * std / math.sqrt(n)
    assert abs(values.var() - std**2) < SIX * std**2 * math.sqrt((kurtosis - 1) / n)


def assert_distribution(values: np.ndarray, cdf: Callable[[np.ndarray], np.ndarray]) -> None:
    """Kolmogorov-Smirnov: P(√n · D > 3.3) < 2·exp(−2 · 3.3²) < 10⁻⁹."""
    x = np.sort(values.ravel())
    n = x.size
    expected = cdf(x)
    gap = max(np.abs(expected - np.arange(n) / n).max(), np.abs(expected - np.arange(1, n + 1) / n).max())
    assert math.sqrt(n) * gap < 3.3


def normal_cdf(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2)))


@pytest.mark.parametrize(
    ("fill", "kwargs", "bound"),
    [
        (init.uniform_, {"a": -0.3, "b": 0.3}, 0.3),
        (init.xavier_uniform_, {}, math.sqrt(6 / (FAN_IN + FAN_OUT))),
        (init.xavier_uniform_, {"gain": 5 / 3}, 5 / 3 * math.sqrt(6 / (FAN_IN + FAN_OUT))),
        (init.kaiming_uniform_, {}, math.sqrt(6 / FAN_IN)),
        (init.kaiming_uniform_, {"a": math.sqrt(5)}, 1 / math.sqrt(FAN_IN)),
        (init.kaiming_uniform_, {"mode": "fan_out", "nonlinearity": "relu"}, math.sqrt(6 / FAN_OUT)),
        (init.kaiming_uniform_, {"nonlinearity": "linear"}, math.sqrt(3 / FAN_IN)),
    ],
)
def test_uniform_families(fill: Callable[..., Any], kwargs: dict[str, Any], bound: float) -> None:
    values = drawn(fill, **kwargs)
    assert np.abs(values).max() <= bound * (1 + 1e-6)
    assert_moments(values, 0, bound / math.sqrt(3), UNIFORM_KURTOSIS)
    assert_distribution(values, lambda x: (x + bound) / (2 * bound))


@pytest.mark.parametrize(
    ("fill", "kwargs", "mean", "std"),
    [
        (init.normal_, {"mean": 3.0, "std": 0.5}, 3.0, 0.5),
        (init.xavier_normal_, {}, 0.0, math.sqrt(2 / (FAN_IN + FAN_OUT))),
        (init.kaiming_normal_, {"a": 0.2}, 0.0, math.sqrt(2 / 1.04 / FAN_IN)),
        (init.kaiming_normal_, {"nonlinearity": "relu"}, 0.0, math.sqrt(2 / FAN_IN)),
        (init.kaiming_normal_, {"mode": "fan_out", "nonlinearity": "selu"}, 0.0, 0.75 / math.sqrt(FAN_OUT)),
    ],
)
def test_normal_families(fill: Callable[..., Any], kwargs: dict[str, Any], mean: float, std: float) -> None:
    values = drawn(fill, **kwargs)
    assert_moments(values, mean, std, NORMAL_KURTOSIS)
    assert_distribution(values, lambda x: normal_cdf((x - mean) / std))


@pytest.mark.parametrize(("a", "b"), [(-2.0, 2.0), (-0.5, 3.0), (1.0, 1.5), (-4.0, -1.5)])
def test_truncated_normal(a: float, b: float) -> None:
    """The last two have little mass within the bounds and are drawn by the other kind of rejection."""
    values = drawn(init.trunc_normal_, shape=(300, 300), a=a, b=b)
    assert values.min() >= a and values.max() <= b
    low, high = normal_cdf(np.array([a, b]))
    assert_distribution(values, lambda x: (normal_cdf(x) - low) / (high - low))


def test_truncated_normal_warns_far_outside() -> None:
    with pytest.warns(UserWarning, match="mean is more than 2 std from"):
        init.trunc_normal_(minidl.empty(4), mean=0.0, std=1.0, a=3.0, b=4.0)


@pytest.mark.parametrize("shape", [(20, 20), (30, 12), (12, 30), (8, 3, 3, 3), (40, 3, 2, 2)])
@pytest.mark.parametrize("gain", [1.0, 1.7])
def test_orthogonal(shape: tuple[int, ...], gain: float) -> None:
    w = drawn(init.orthogonal_, shape=shape, gain=gain).reshape(shape[0], -1)
    rows, cols = w.shape
    gram = w @ w.T if rows <= cols else w.T @ w
    np.testing.assert_allclose(gram, gain**2 * np.eye(min(rows, cols)), atol=2e-6 * gain**2)


def test_orthogonal_is_uniform_over_rotations() -> None:
    """Without the sign correction the diagonal of Q would have one sign only; its mean here is 0 with variance 1/n."""
    first = [drawn(init.orthogonal_, shape=(3, 3))[0, 0] for _ in range(400)]
    assert abs(np.mean(first)) < SIX * math.sqrt(1 / 3 / 400)


def test_constants_eye_dirac() -> None:
    assert (drawn(init.ones_, shape=(2, 3)) == 1).all()
    assert (drawn(init.zeros_, shape=(2, 3)) == 0).all()
    assert (drawn(init.constant_, shape=(2, 3), val=2.5) == 2.5).all()
    assert (drawn(init.eye_, shape=(2, 3)) == np.eye(2, 3)).all()

    x = minidl.randn(1, 4, 5, 5)
    conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
    init.dirac_(conv.weight)
    np.testing.assert_array_equal(conv(x).detach().numpy(), x.numpy())
    grouped = nn.Conv2d(4, 4, 3, padding=1, bias=False, groups=2)
    init.dirac_(grouped.weight, groups=2)
    np.testing.assert_array_equal(grouped(x).detach().numpy(), x.numpy())
    assert np.argwhere(drawn(init.dirac_, shape=(2, 3, 5))).tolist() == [[0, 0, 2], [1, 1, 2]]


def test_sparse() -> None:
    values = drawn(init.sparse_, shape=(100, 200), sparsity=0.35, std=0.5)
    assert ((values == 0).sum(axis=0) == 35).all()
    assert_moments(values[values != 0], 0, 0.5, NORMAL_KURTOSIS)


def test_gains() -> None:
    assert init.calculate_gain("linear") == init.calculate_gain("conv2d") == init.calculate_gain("sigmoid") == 1
    assert init.calculate_gain("conv_transpose2d") == 1
    assert init.calculate_gain("tanh") == 5 / 3
    assert init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("leaky_relu") == math.sqrt(2 / (1 + 0.01**2))
    assert init.calculate_gain("leaky_relu", 0.2) == math.sqrt(2 / 1.04)
    assert init.calculate_gain("selu") == 0.75


def test_seed_and_generator() -> None:
    first = drawn(init.kaiming_normal_, shape=(4, 4))
    minidl.manual_seed(2024)
    np.testing.assert_array_equal(drawn(init.kaiming_normal_, shape=(4, 4)), first)
    state = minidl.get_rng_state().tolist()
    for fill, kwargs in [
        (init.uniform_, {}),
        (init.trunc_normal_, {}),
        (init.orthogonal_, {}),
        (init.sparse_, {"sparsity": 0.5}),
        (init.xavier_uniform_, {}),
    ]:
        one, two = (drawn(fill, (4, 4), generator=minidl.Generator().manual_seed(5), **kwargs) for _ in range(2))
        np.testing.assert_array_equal(one, two)
    assert minidl.get_rng_state().tolist() == state  # the default generator was left alone


@pytest.mark.parametrize("dtype", [minidl.float16, minidl.float32, minidl.float64])
def test_dtype_layout_and_version(dtype: Any) -> None:
    """Values land in the Tensor's own memory, whatever its layout, and autograd is told that it changed."""
    tensor = minidl.empty(6, 5, dtype=dtype).t()
    array = tensor.array
    for fill in (init.normal_, init.uniform_, init.trunc_normal_, init.orthogonal_, init.eye_, init.ones_):
        before = tensor.version.count
        fill(tensor)
        assert tensor.array is array and tensor.dtype == dtype and tensor.version.count == before + 1
        assert np.isfinite(array.astype(np.float64)).all()


def test_a_parameter_stays_a_leaf_and_scalars_work() -> None:
    p = nn.Parameter(minidl.zeros(3, 3))
    init.normal_(p)
    assert p.is_leaf and p.requires_grad
    scalar = nn.Parameter(minidl.zeros(()))
    init.uniform_(scalar, 2.0, 3.0)
    assert 2.0 <= scalar.item() <= 3.0


def test_errors() -> None:
    vector = minidl.empty(3)
    for fill in (init.xavier_uniform_, init.kaiming_normal_, init.orthogonal_, init.eye_, init.dirac_):
        with pytest.raises(ValueError, match=r"2 dimensions|2 or more dimensions|3, 4, or 5 dimensions"):
            fill(vector)
    with pytest.raises(ValueError, match="Only tensors with 2 dimensions are supported"):
        init.sparse_(vector, 0.5)
    with pytest.raises(ValueError, match="Mode fan_up not supported"):
        init.kaiming_normal_(minidl.empty(2, 2), mode="fan_up")
    with pytest.raises(ValueError, match="Unsupported nonlinearity gelu"):
        init.calculate_gain("gelu")
    with pytest.raises(ValueError, match="not a valid number"):
        init.calculate_gain("leaky_relu", True)
    with pytest.raises(ValueError, match="dim 0 must be divisible by groups"):
        init.dirac_(minidl.empty(3, 1, 3, 3), groups=2)
    with pytest.warns(UserWarning, match="zero-element tensors is a no-op"):
        init.kaiming_uniform_(minidl.empty(0, 3))


# -- what layers start with --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (lambda: nn.Linear(300, 400), 300),
        (lambda: nn.Conv2d(32, 64, (3, 5), groups=4), 8 * 15),
        (lambda: nn.ConvTranspose2d(64, 32, 3), 32 * 9),
    ],
)
def test_linear_and_convolution_start_uniform(layer: Callable[[], Any], fan_in: int) -> None:
    m = layer()
    bound = 1 / math.sqrt(fan_in)
    weight, bias = (p.detach().numpy().astype(np.float64) for p in (m.weight, m.bias))
    assert_distribution(weight, lambda x: np.clip((x + bound) / (2 * bound), 0, 1))
    assert_distribution(bias, lambda x: np.clip((x + bound) / (2 * bound), 0, 1))
    assert np.abs(weight).max() <= bound * (1 + 1e-6) and np.abs(bias).max() <= bound * (1 + 1e-6)


def test_embedding_starts_normal_with_a_zero_padding_row() -> None:
    m = nn.Embedding(500, 40, padding_idx=-1)
    assert m.padding_idx == 499
    values = m.weight.detach().numpy().astype(np.float64)
    assert (values[499] == 0).all()
    assert_moments(values[:499], 0, 1, NORMAL_KURTOSIS)
