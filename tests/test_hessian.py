"""The Hessian of a two-layer network by double backward, against the one derived by hand.

For one hidden layer, H = tanh(X W₁ᵀ + b₁), and one output, p = H w₂ + b₂, with L = 1/N Σₙ (pₙ − tₙ)²:

    ∂²L/∂θ∂φ = 2/N Σₙ [ ∂pₙ/∂θ · ∂pₙ/∂φ + (pₙ − tₙ) · ∂²pₙ/∂θ∂φ ]

With xₙ the n-th input, hₙᵢ = tanh(aₙᵢ), tanh′ = 1 − h² and tanh″ = −2h(1 − h²), the derivatives of pₙ are

    ∂p/∂W₁ᵢⱼ = w₂ᵢ (1 − hᵢ²) xⱼ      ∂p/∂b₁ᵢ = w₂ᵢ (1 − hᵢ²)      ∂p/∂w₂ᵢ = hᵢ      ∂p/∂b₂ = 1
    ∂²p/∂W₁ᵢⱼ∂W₁ᵢₖ = −2 w₂ᵢ hᵢ (1 − hᵢ²) xⱼ xₖ      (and with x replaced by 1 for b₁; 0 between different units i)
    ∂²p/∂W₁ᵢⱼ∂w₂ᵢ = (1 − hᵢ²) xⱼ      (and with x replaced by 1 for b₁)

and all others are 0. Below, x̃ = (x, 1) treats b₁ as the last column of W₁.
"""

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.autograd import grad

N, INPUTS, HIDDEN = 7, 3, 4


def analytic_hessian(w1, b1, w2, b2, x, t):
    """In the order (W₁ with b₁ as its last column, row by row; w₂; b₂)."""
    x1 = np.concatenate([x, np.ones((N, 1))], axis=1)
    h = np.tanh(x @ w1.T + b1)
    slope, curvature = 1 - h**2, -2 * h * (1 - h**2)
    error = h @ w2 + b2 - t
    first = HIDDEN * (INPUTS + 1)
    size = first + HIDDEN + 1
    hessian = np.zeros((size, size))
    for n in range(N):
        jacobian = np.concatenate([np.outer(w2 * slope[n], x1[n]).reshape(-1), h[n], [1.0]])
        second = np.zeros((size, size))
        for i in range(HIDDEN):
            rows = slice(i * (INPUTS + 1), (i + 1) * (INPUTS + 1))
            second[rows, rows] = w2[i] * curvature[n, i] * np.outer(x1[n], x1[n])
            second[rows, first + i] = second[first + i, rows] = slope[n, i] * x1[n]
        hessian += 2 / N * (np.outer(jacobian, jacobian) + error[n] * second)
    return hessian


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    shapes = {"w1": (HIDDEN, INPUTS), "b1": (HIDDEN,), "w2": (HIDDEN,), "b2": (), "x": (N, INPUTS), "t": (N,)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def rows_of_hessian(loss, parameters):
    """Every row of the Hessian: the gradient of each component of the gradient."""
    gradient = minidl.cat([g.reshape(-1) for g in grad(loss, parameters, create_graph=True)])
    for component in gradient:
        row = grad(component, parameters, retain_graph=True, materialize_grads=True)
        yield np.concatenate([g.numpy().reshape(-1) for g in row])


def with_bias_as_column(hessian):
    """From the order (W₁, b₁, w₂, b₂) to that of ``analytic_hessian``."""
    order = []
    for i in range(HIDDEN):
        order += [i * INPUTS + j for j in range(INPUTS)] + [HIDDEN * INPUTS + i]
    order += range(HIDDEN * (INPUTS + 1), len(hessian))
    return hessian[np.ix_(order, order)]


def test_hessian_of_plain_tensors(problem):
    t = {name: minidl.tensor(value) for name, value in problem.items()}
    parameters = [t[name].requires_grad_() for name in ("w1", "b1", "w2", "b2")]
    w1, b1, w2, b2 = parameters
    prediction = (t["x"] @ w1.T + b1).tanh() @ w2 + b2
    loss = ((prediction - t["t"]) ** 2).mean()
    hessian = with_bias_as_column(np.stack(list(rows_of_hessian(loss, parameters))))
    expected = analytic_hessian(**problem)
    assert np.abs(expected).max() > 1
    assert np.abs(hessian - expected).max() < 1e-10


def test_hessian_of_a_module(problem):
    model = nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1)).double()
    model.load_state_dict(
        {
            "0.weight": problem["w1"],
            "0.bias": problem["b1"],
            "2.weight": problem["w2"].reshape(1, -1),
            "2.bias": problem["b2"].reshape(1),
        }
    )
    loss = nn.MSELoss()(model(minidl.tensor(problem["x"])), minidl.tensor(problem["t"].reshape(-1, 1)))
    hessian = with_bias_as_column(np.stack(list(rows_of_hessian(loss, list(model.parameters())))))
    assert np.abs(hessian - analytic_hessian(**problem)).max() < 1e-10


def test_hessian_vector_product_by_backward(problem):
    """∇(∇L · v) accumulates H v into ``grad``."""
    t = {name: minidl.tensor(value) for name, value in problem.items()}
    parameters = [t[name].requires_grad_() for name in ("w1", "b1", "w2", "b2")]
    w1, b1, w2, b2 = parameters
    loss = nn.functional.mse_loss((t["x"] @ w1.T + b1).tanh() @ w2 + b2, t["t"])
    v1, v2 = np.random.default_rng(1).normal(size=(HIDDEN, INPUTS + 1)), np.arange(HIDDEN + 1.0)
    directions = [v1[:, :INPUTS], v1[:, INPUTS], v2[:HIDDEN], v2[HIDDEN]]
    gradients = grad(loss, parameters, create_graph=True)
    products = [(g * minidl.tensor(v)).sum() for g, v in zip(gradients, directions, strict=True)]
    (products[0] + products[1] + products[2] + products[3]).backward()
    g1 = np.concatenate([w1.grad.numpy(), b1.grad.numpy().reshape(-1, 1)], axis=1)
    found = np.concatenate([g1.reshape(-1), w2.grad.numpy(), b2.grad.numpy().reshape(1)])
    expected = analytic_hessian(**problem) @ np.concatenate([v1.reshape(-1), v2])
    assert np.abs(found - expected).max() < 1e-10
