"""Layers: that each does what it says (against NumPy), passes its settings on, prints them, and checks what it is
given.

The gradients and the numerics of the functions behind the layers have tests of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.nn import functional as F
from tests.elsewhere import elsewhere

Array = np.ndarray


def rand(*shape: int, seed: int = 0) -> minidl.Tensor:
    return minidl.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def close(actual: minidl.Tensor, expected: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=rtol, atol=atol)


# -- printing ----------------------------------------------------------------------------------------------------------

REPRS: list[tuple[nn.Module, str]] = [
    (nn.Linear(3, 4, bias=False), "Linear(in_features=3, out_features=4, bias=False)"),
    (nn.Identity(54, unused=True), "Identity()"),
    (nn.Flatten(2), "Flatten(start_dim=2, end_dim=-1)"),
    (nn.Unflatten(1, (2, 3)), "Unflatten(dim=1, unflattened_size=(2, 3))"),
    (nn.Conv1d(2, 4, 3), "Conv1d(2, 4, kernel_size=(3,), stride=(1,))"),
    (nn.Conv2d(2, 4, (3, 5)), "Conv2d(2, 4, kernel_size=(3, 5), stride=(1, 1))"),
    (
        nn.Conv2d(2, 4, 3, 2, 1, 2, 2, False, "reflect"),
        "Conv2d(2, 4, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(2, 2), groups=2, bias=False, "
        "padding_mode=reflect)",
    ),
    (nn.Conv2d(2, 4, 3, padding="same"), "Conv2d(2, 4, kernel_size=(3, 3), stride=(1, 1), padding=same)"),
    (
        nn.ConvTranspose2d(2, 4, 3, 2, 1, 1),
        "ConvTranspose2d(2, 4, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), output_padding=(1, 1))",
    ),
    (nn.MaxPool2d(3, 2), "MaxPool2d(kernel_size=3, stride=2, padding=0, dilation=1, ceil_mode=False)"),
    (nn.AvgPool2d((2, 3)), "AvgPool2d(kernel_size=(2, 3), stride=(2, 3), padding=0)"),
    (nn.AdaptiveAvgPool2d((1, None)), "AdaptiveAvgPool2d(output_size=(1, None))"),
    (nn.AdaptiveMaxPool2d(2), "AdaptiveMaxPool2d(output_size=2)"),
    (
        nn.BatchNorm2d(4, momentum=None, affine=False, track_running_stats=False),
        "BatchNorm2d(4, eps=1e-05, momentum=None, affine=False, bias=False, track_running_stats=False)",
    ),
    (nn.LayerNorm([2, 3]), "LayerNorm((2, 3), eps=1e-05, elementwise_affine=True, bias=True)"),
    (nn.GroupNorm(2, 4), "GroupNorm(2, 4, eps=1e-05, affine=True, bias=True)"),
    (nn.LocalResponseNorm(5), "LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=1.0)"),
    (nn.Dropout2d(0.2, True), "Dropout2d(p=0.2, inplace=True)"),
    (nn.ReLU(inplace=True), "ReLU(inplace=True)"),
    (nn.LeakyReLU(0.2, True), "LeakyReLU(negative_slope=0.2, inplace=True)"),
    (nn.ELU(), "ELU(alpha=1.0)"),
    (nn.Hardtanh(), "Hardtanh(min_val=-1.0, max_val=1.0)"),
    (nn.GELU("tanh"), "GELU(approximate='tanh')"),
    (nn.Softplus(), "Softplus(beta=1.0, threshold=20.0)"),
    (nn.PReLU(3), "PReLU(num_parameters=3)"),
    (nn.LogSoftmax(1), "LogSoftmax(dim=1)"),
    (nn.Embedding(10, 3, padding_idx=-1), "Embedding(10, 3, padding_idx=9)"),
    (nn.CrossEntropyLoss(label_smoothing=0.1), "CrossEntropyLoss()"),
]


@pytest.mark.parametrize(("layer", "text"), REPRS, ids=[type(m).__name__ for m, _ in REPRS])
def test_repr(layer: nn.Module, text: str) -> None:
    assert repr(layer) == text


@pytest.mark.parametrize(
    "make",
    [
        lambda **kw: nn.Linear(2, 3, **kw),
        lambda **kw: nn.Conv1d(2, 3, 3, **kw),
        lambda **kw: nn.Conv2d(2, 3, 3, **kw),
        lambda **kw: nn.ConvTranspose2d(2, 3, 3, **kw),
        lambda **kw: nn.BatchNorm1d(2, **kw),
        lambda **kw: nn.BatchNorm2d(2, **kw),
        lambda **kw: nn.LayerNorm(2, **kw),
        lambda **kw: nn.GroupNorm(1, 2, **kw),
        lambda **kw: nn.Embedding(2, 3, **kw),
        lambda **kw: nn.PReLU(2, **kw),
    ],
)
def test_dtype_keyword(make: Callable[..., nn.Module]) -> None:
    layer = make(device="cpu", dtype=minidl.float64)
    assert {p.dtype for p in layer.parameters()} == {np.dtype("float64")}
    assert {b.dtype for b in layer.buffers()} <= {np.dtype("float64"), np.dtype("int64")}
    assert {p.dtype for p in make().parameters()} == {np.dtype("float32")}


# -- linear and shapes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [2, 32])
@pytest.mark.parametrize("shape", [(), (1,), (1, 200)])
def test_a_bias_is_broadcast(rows: int, shape: tuple[int, ...]) -> None:
    x, w, b = rand(rows, 60), rand(200, 60), rand(*shape).requires_grad_()
    y = nn.functional.linear(x, w, b)
    close(y, x.numpy() @ w.numpy().T + b.detach().numpy(), atol=1e-4)
    y.sum().backward()
    assert b.grad is not None and b.grad.shape == shape
    close(b.grad, np.full(shape, rows * 200 / max(b.numel(), 1), np.float32))


def test_a_derived_linear_layer_may_compute_its_weight() -> None:
    class Doubled(nn.Linear):
        @property
        def weight(self) -> Any:  # type: ignore[override]
            return 2 * self._parameters["weight"]  # type: ignore[operator]

    layer, x = nn.Linear(3, 2), rand(4, 3)
    layer.__class__ = Doubled  # as parametrizations do
    close(layer(x), 2 * x.numpy() @ layer._parameters["weight"].detach().numpy().T + layer.bias.detach().numpy())
    plain = nn.Linear(3, 2)
    del plain.weight
    plain.weight = minidl.ones(2, 3)  # not a Parameter any more
    close(plain(x), x.numpy().sum(1, keepdims=True) + plain.bias.detach().numpy(), atol=1e-5)


def test_linear() -> None:
    layer, x = nn.Linear(5, 3), rand(2, 4, 5)
    close(layer(x), x.numpy() @ layer.weight.detach().numpy().T + layer.bias.detach().numpy())
    assert [name for name, _ in nn.Linear(5, 3, bias=False).named_parameters()] == ["weight"]


def test_flatten_unflatten_identity() -> None:
    x = rand(2, 3, 4, 5)
    np.testing.assert_array_equal(nn.Flatten()(x).numpy(), x.numpy().reshape(2, 60))
    assert nn.Flatten(0, 2)(x).shape == (24, 5)
    np.testing.assert_array_equal(nn.Unflatten(1, (3, -1, 5))(nn.Flatten()(x)).numpy(), x.numpy())
    assert nn.Unflatten(-1, [5, 1])(x).shape == (2, 3, 4, 5, 1)
    assert nn.Identity()(x) is x
    with pytest.raises(IndexError, match=r"expected to be in range of \[-4, 3\], but got 4"):
        nn.Unflatten(4, (1, 1))(x)
    with pytest.raises(TypeError, match="found float at pos 1"):
        nn.Unflatten(1, (2, 2.0))  # type: ignore[arg-type]


# -- convolution -------------------------------------------------------------------------------------------------------


def conv2d(x: Array, w: Array, stride: tuple[int, int], dilation: tuple[int, int]) -> Array:
    """The definition, one output pixel at a time; x is already padded."""
    n, _, h, wd = x.shape
    out, _, kh, kw = w.shape
    rows = (h - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    cols = (wd - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.empty((n, out, rows, cols))
    for i in range(rows):
        for j in range(cols):
            top, left = i * stride[0], j * stride[1]
            patch = x[:, :, top : top + dilation[0] * (kh - 1) + 1 : dilation[0]]
            patch = patch[..., left : left + dilation[1] * (kw - 1) + 1 : dilation[1]]
            y[:, :, i, j] = np.einsum("nchw,ochw->no", patch, w)
    return y


NUMPY_MODE = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@pytest.mark.parametrize("mode", list(NUMPY_MODE))
@pytest.mark.parametrize("padding", [(2, 1), "same", "valid"])
def test_conv2d_padding(mode: str, padding: Any) -> None:
    layer = nn.Conv2d(2, 3, (3, 4), padding=padding, dilation=(2, 1), padding_mode=mode)
    x = rand(2, 2, 7, 8)
    sides = {"same": [(2, 2), (1, 2)], "valid": [(0, 0), (0, 0)]}.get(padding, [(2, 2), (1, 1)])
    padded = np.pad(x.numpy(), [(0, 0), (0, 0), *sides], mode=NUMPY_MODE[mode])  # type: ignore[call-overload]
    expected = conv2d(padded, layer.weight.detach().numpy(), (1, 1), (2, 1))
    close(layer(x), expected + layer.bias.detach().numpy()[:, None, None])
    if padding == "same":
        assert layer(x).shape[2:] == (7, 8)


def test_conv2d_stride_and_groups() -> None:
    layer, x = nn.Conv2d(4, 6, 3, stride=(2, 1), groups=2, bias=False), rand(2, 4, 7, 6)
    w = layer.weight.detach().numpy()
    assert w.shape == (6, 2, 3, 3)
    halves = [conv2d(x.numpy()[:, 2 * g : 2 * g + 2], w[3 * g : 3 * g + 3], (2, 1), (1, 1)) for g in range(2)]
    close(layer(x), np.concatenate(halves, axis=1))


@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_conv1d_is_conv2d_without_height(mode: str) -> None:
    one = nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, padding_mode=mode)
    x = rand(2, 4, 11)
    padded = np.pad(x.numpy(), [(0, 0), (0, 0), (1, 1)], mode=NUMPY_MODE[mode])  # type: ignore[call-overload]
    w = one.weight.detach().numpy()
    halves = [
        conv2d(padded[:, 2 * g : 2 * g + 2, None], w[3 * g : 3 * g + 3, :, None], (1, 2), (1, 2)) for g in range(2)
    ]
    close(one(x), np.concatenate(halves, axis=1)[:, :, 0] + one.bias.detach().numpy()[:, None])


@pytest.mark.parametrize("device", ["cpu", elsewhere.name])
@pytest.mark.parametrize("channels", [3, 16])
def test_conv_transpose2d_with_more_room_than_its_pixels_fill(channels: int, device: str) -> None:
    """With 1×1 kernels every pixel is its own window, but not all of the larger image is one."""
    minidl.manual_seed(0)
    x, w, b = minidl.randn(2, channels, 4, 5), minidl.randn(channels, 16, 1, 1), minidl.randn(16)
    x, w, b = (t.to(device).requires_grad_() for t in (x, w, b))
    y = F.conv_transpose2d(x, w, b, dilation=2, output_padding=1)
    g = minidl.randn(*y.shape).to(device)
    y.backward(g)
    xs, ws, gs = (t.detach().cpu().numpy().astype(float) for t in (x, w, g))
    expected = np.zeros((2, 16, 5, 6))
    expected[:, :, :4, :5] = np.einsum("nchw,cok->nohw", xs, ws[..., 0])
    inside = gs[:, :, :4, :5]
    pairs = [
        (y, expected + b.detach().cpu().numpy().reshape(-1, 1, 1)),
        (x.grad, np.einsum("nohw,cok->nchw", inside, ws[..., 0])),
        (w.grad, np.einsum("nchw,nohw->co", xs, inside)[..., None, None]),
    ]
    for found, wanted in pairs:
        np.testing.assert_allclose(found.detach().cpu().numpy(), wanted, rtol=1e-4, atol=1e-4)


def test_conv2d_takes_its_numbers_in_any_form() -> None:
    """And what it remembers of one form does not reach another."""
    x, w = minidl.randn(2, 3, 7, 7).requires_grad_(), minidl.randn(16, 3, 3, 3)
    with pytest.raises(TypeError, match=r"groups must be a whole number, got 1\.0"):
        F.conv2d(x, w, groups=1.0)
    stride = minidl.tensor([2, 2])
    for form in 2, [2, 2], (2, 2), np.array([2, 2]), (np.array(2), 2), stride:
        y = F.conv2d(x, w, stride=form, groups=np.int8(1))
        assert y.shape == (2, 16, 3, 3)
        y.sum().backward()
    stride.fill_(1)
    assert F.conv2d(x, w, stride=stride).shape == F.conv2d(x, w, stride=True).shape == (2, 16, 5, 5)


@pytest.mark.parametrize(("groups", "dilation", "output_padding"), [(1, 1, 0), (2, 1, 1), (1, 2, (1, 0))])
def test_conv_transpose2d_is_the_adjoint_of_conv2d(groups: int, dilation: int, output_padding: Any) -> None:
    """⟨conv(x), y⟩ = ⟨x, convᵀ(y)⟩ for all x and y, with the same weight."""
    up = nn.ConvTranspose2d(4, 2, 3, 2, 1, output_padding, groups, False, dilation)
    down = nn.Conv2d(2, 4, 3, 2, 1, dilation, groups, False)
    assert up.weight.shape == (4, 2 // groups, 3, 3)
    down.load_state_dict(up.state_dict())
    y = rand(3, 4, 5, 6)
    back = up(y)
    x = rand(*back.shape, seed=1)
    left = (down(x) * y).sum().item()
    assert left == pytest.approx((x * back).sum().item(), rel=1e-4)


def test_conv_transpose2d_output_size() -> None:
    layer, x = nn.ConvTranspose2d(1, 1, 3, stride=2, padding=1), rand(1, 1, 5, 5)
    assert layer(x).shape == (1, 1, 9, 9)
    assert layer(x, output_size=(9, 10)).shape == layer(x, output_size=(1, 1, 9, 10)).shape == (1, 1, 9, 10)
    with pytest.raises(
        ValueError, match=r"requested an output size of \(9, 11\), but valid sizes range from \(9, 9\) to"
    ):
        layer(x, output_size=(9, 11))


def test_convolution_constructor_errors() -> None:
    with pytest.raises(ValueError, match="groups must be a positive integer"):
        nn.Conv2d(2, 2, 3, groups=0)
    with pytest.raises(ValueError, match="in_channels must be divisible by groups"):
        nn.Conv2d(3, 4, 3, groups=2)
    with pytest.raises(ValueError, match="out_channels must be divisible by groups"):
        nn.Conv2d(4, 3, 3, groups=2)
    with pytest.raises(ValueError, match="Invalid padding string 'full'"):
        nn.Conv2d(4, 3, 3, padding="full")
    with pytest.raises(ValueError, match="padding='same' is not supported for strided convolutions"):
        nn.Conv2d(4, 3, 3, padding="same", stride=2)
    with pytest.raises(ValueError, match=r"padding_mode must be one of .* but got padding_mode='mirror'"):
        nn.Conv2d(4, 3, 3, padding_mode="mirror")
    with pytest.raises(ValueError, match='Only "zeros" padding mode is supported for ConvTranspose2d'):
        nn.ConvTranspose2d(4, 3, 3, padding_mode="reflect")


# -- pooling -----------------------------------------------------------------------------------------------------------


def test_pooling() -> None:
    x = rand(2, 3, 6, 8)
    windows = x.numpy().reshape(2, 3, 3, 2, 4, 2)
    np.testing.assert_array_equal(nn.MaxPool2d(2)(x).numpy(), windows.max(axis=(3, 5)))
    close(nn.AvgPool2d(2)(x), windows.mean(axis=(3, 5)))
    close(nn.AvgPool2d(2, divisor_override=1)(x), windows.sum(axis=(3, 5)))
    close(nn.AdaptiveAvgPool2d((3, 4))(x), windows.mean(axis=(3, 5)))
    close(nn.AdaptiveAvgPool2d(1)(x), x.numpy().mean(axis=(2, 3), keepdims=True))
    assert nn.AdaptiveAvgPool2d((None, 2))(x).shape == (2, 3, 6, 2)
    y, where = nn.MaxPool2d(2, return_indices=True)(x)
    np.testing.assert_array_equal(np.take_along_axis(x.numpy().reshape(2, 3, 48), where.numpy().reshape(2, 3, 12), 2),
                                  y.numpy().reshape(2, 3, 12))  # fmt: skip
    z, where = nn.AdaptiveMaxPool2d((3, 4), return_indices=True)(x)
    np.testing.assert_array_equal(z.numpy(), y.numpy())
    assert where.shape == z.shape


def test_pooling_settings_arrive() -> None:
    x = minidl.ones(1, 1, 5, 5)
    assert nn.MaxPool2d(2, stride=2)(x).shape == (1, 1, 2, 2)
    assert nn.MaxPool2d(2, stride=2, ceil_mode=True)(x).shape == (1, 1, 3, 3)
    assert nn.MaxPool2d(3, stride=1, padding=1)(x).shape == (1, 1, 5, 5)
    assert nn.MaxPool2d(2, stride=1, dilation=3)(x).shape == (1, 1, 2, 2)
    assert nn.AvgPool2d(2, stride=2, ceil_mode=True)(x).shape == (1, 1, 3, 3)
    assert nn.AvgPool2d(3, padding=1)(x)[0, 0, 0, 0].item() == pytest.approx(4 / 9)
    assert nn.AvgPool2d(3, padding=1, count_include_pad=False)(x)[0, 0, 0, 0].item() == 1


# -- normalisation -----------------------------------------------------------------------------------------------------


def normalised(x: Array, axes: tuple[int, ...], eps: float = 1e-5) -> Array:
    x = x.astype(np.float64)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.BatchNorm1d, (8, 3)), (nn.BatchNorm1d, (4, 3, 5)), (nn.BatchNorm2d, (4, 3, 2, 5))],
)
def test_batch_norm_in_training_and_evaluation(layer: type, shape: tuple[int, ...]) -> None:
    m = layer(3, momentum=0.3)
    with minidl.no_grad():
        m.weight.copy_(minidl.tensor([1.0, 2.0, 3.0]))
        m.bias.copy_(minidl.tensor([-1.0, 0.0, 1.0]))
    axes = tuple(i for i in range(len(shape)) if i != 1)
    per_channel = (3,) + (1,) * (len(shape) - 2)
    weight, bias = np.array([1.0, 2, 3]).reshape(per_channel), np.array([-1.0, 0, 1]).reshape(per_channel)
    mean, var = np.zeros(3), np.ones(3)
    for step in range(3):
        x = rand(*shape, seed=step) * 2 + 1
        close(m(x), normalised(x.numpy(), axes) * weight + bias, rtol=1e-4, atol=1e-5)
        mean = 0.7 * mean + 0.3 * x.numpy().mean(axes)
        var = 0.7 * var + 0.3 * x.numpy().var(axes, ddof=1)
        close(m.running_mean, mean)
        close(m.running_var, var)
    assert m.num_batches_tracked.item() == 3 and m.num_batches_tracked.dtype == np.int64
    m.eval()
    x = rand(*shape, seed=9)
    scaled = (x.numpy() - mean.reshape(per_channel)) / np.sqrt(var.reshape(per_channel) + 1e-5)
    close(m(x), scaled * weight + bias, rtol=1e-4, atol=1e-5)
    assert m.num_batches_tracked.item() == 3
    m.reset_running_stats()
    assert (m.running_mean.tolist(), m.running_var.tolist(), m.num_batches_tracked.item()) == ([0.0] * 3, [1.0] * 3, 0)


def test_batch_norm_in_evaluation_keeps_the_mean_that_it_used() -> None:
    layer, x = nn.BatchNorm1d(3), rand(5, 3) + 2
    grads = []
    for train_between in (False, True):
        layer.eval()
        layer.running_mean.fill_(0.5)
        layer.zero_grad()
        y = layer(x)
        if train_between:
            layer.train()(x)
        y.sum().backward()
        grads.append(layer.weight.grad.numpy())
    np.testing.assert_array_equal(*grads)


def test_batch_norm_cumulative_average() -> None:
    m = nn.BatchNorm1d(2, momentum=None)
    batches = [rand(5, 2, seed=i) for i in range(4)]
    for x in batches:
        m(x)
    close(m.running_mean, np.mean([x.numpy().mean(0) for x in batches], axis=0))
    close(m.running_var, np.mean([x.numpy().var(0, ddof=1) for x in batches], axis=0))


def test_batch_norm_without_running_stats_uses_the_batch_always() -> None:
    m = nn.BatchNorm1d(2, affine=False, track_running_stats=False)
    assert not m.state_dict()
    x = rand(6, 2)
    for mode in (True, False):
        close(m.train(mode)(x), normalised(x.numpy(), (0,)), rtol=1e-4, atol=1e-5)
    assert list(nn.BatchNorm1d(2, bias=False).state_dict()) == [
        "weight", "running_mean", "running_var", "num_batches_tracked",
    ]  # fmt: skip


def test_batch_norm_errors() -> None:
    with pytest.raises(ValueError, match=r"expected 4D input \(got 2D input\), in BatchNorm2d"):
        nn.BatchNorm2d(3)(rand(4, 3))
    with pytest.raises(ValueError, match=r"expected 2D or 3D input \(got 4D input\)"):
        nn.BatchNorm1d(3)(rand(4, 3, 2, 2))
    m = nn.BatchNorm1d(3)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training, got input size"):
        m(rand(1, 3))
    assert m.eval()(rand(1, 3)).shape == (1, 3)


def test_layer_and_group_norm() -> None:
    x = rand(4, 6, 2, 5)
    close(nn.LayerNorm(5)(x), normalised(x.numpy(), (3,)), rtol=1e-4, atol=1e-5)
    m = nn.LayerNorm((2, 5), eps=0.1)
    with minidl.no_grad():
        m.weight.copy_(rand(2, 5, seed=1))
        m.bias.copy_(rand(2, 5, seed=2))
    expected = normalised(x.numpy(), (2, 3), 0.1) * rand(2, 5, seed=1).numpy() + rand(2, 5, seed=2).numpy()
    close(m(x), expected, rtol=1e-4, atol=1e-5)
    assert not nn.LayerNorm(5, elementwise_affine=False).state_dict()
    assert list(nn.LayerNorm(5, bias=False).state_dict()) == ["weight"]

    grouped = x.numpy().reshape(4, 3, -1)
    close(nn.GroupNorm(3, 6)(x), normalised(grouped, (2,)).reshape(x.shape), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"num_channels \(6\) must be divisible by num_groups \(4\)"):
        nn.GroupNorm(4, 6)


def test_local_response_norm() -> None:
    x = rand(2, 7, 3, 3)
    squares = np.pad(x.numpy() ** 2, [(0, 0), (1, 1), (0, 0), (0, 0)])
    mean = (squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:]) / 3
    close(nn.LocalResponseNorm(3, alpha=0.5, beta=0.6, k=2.0)(x), x.numpy() / (2 + 0.5 * mean) ** 0.6)


# -- dropout -----------------------------------------------------------------------------------------------------------


def test_dropout_drops_the_right_share_and_scales() -> None:
    minidl.manual_seed(3)
    n, p = 100_000, 0.3
    y = nn.Dropout(p)(minidl.ones(n)).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / (1 - p))}
    assert abs((y == 0).sum() - n * p) < 6 * math.sqrt(n * p * (1 - p))


def test_dropout_draws_alike_and_keeps_the_layout() -> None:
    """Which elements are dropped does not depend on how they lie in memory; the result lies there as its input does."""
    last = minidl.Tensor.wrap(np.ones((2, 5, 6, 3), np.float32).transpose(0, 3, 1, 2))
    results = []
    for x in (minidl.ones(2, 3, 5, 6), last):
        minidl.manual_seed(5)
        y = nn.Dropout(0.4)(x)
        assert y.array.strides == x.array.strides
        results.append(y.numpy())
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(("layer", "shape"), [(nn.Dropout1d, (50, 40, 6)), (nn.Dropout2d, (50, 40, 3, 2))])
def test_channel_dropout_drops_whole_channels(layer: type, shape: tuple[int, ...]) -> None:
    minidl.manual_seed(4)
    y = layer(0.4)(minidl.ones(*shape)).numpy().reshape(50 * 40, 6)
    assert ((y == y[:, :1]).all(axis=1)).all()
    assert abs((y[:, 0] == 0).sum() - 800) < 6 * math.sqrt(2000 * 0.4 * 0.6)


def test_dropout_in_evaluation_and_errors() -> None:
    x = rand(3, 4, 5)
    for m in (nn.Dropout().eval(), nn.Dropout1d().eval(), nn.Dropout2d().eval(), nn.Dropout(0.0)):
        np.testing.assert_array_equal(m(x).numpy(), x.numpy())
    assert not nn.Dropout(1.0)(x).numpy().any()
    with pytest.raises(ValueError, match=r"between 0 and 1, but got 1\.5"):
        nn.Dropout(1.5)


# -- activations -------------------------------------------------------------------------------------------------------


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def phi(x: Array) -> Array:
    return 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


ACTIVATIONS: list[tuple[nn.Module, Callable[[Array], Array]]] = [
    (nn.ReLU(), lambda x: np.maximum(x, 0)),
    (nn.ReLU6(), lambda x: np.clip(x, 0, 6)),
    (nn.LeakyReLU(0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    (nn.ELU(1.5), lambda x: np.where(x > 0, x, 1.5 * np.expm1(x))),
    (nn.CELU(1.5), lambda x: np.where(x > 0, x, 1.5 * np.expm1(x / 1.5))),
    (nn.SELU(), lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x))),
    (nn.GELU(), lambda x: x * phi(x)),
    (nn.GELU("tanh"), lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
    (nn.SiLU(), lambda x: x * sigmoid(x)),
    (nn.Mish(), lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    (nn.Sigmoid(), sigmoid),
    (nn.LogSigmoid(), lambda x: np.log(sigmoid(x))),
    (nn.Tanh(), np.tanh),
    (nn.Softplus(2.0), lambda x: np.log1p(np.exp(2 * x)) / 2),
    (nn.Softsign(), lambda x: x / (1 + np.abs(x))),
    (nn.Hardtanh(-0.5, 2.0), lambda x: np.clip(x, -0.5, 2)),
    (nn.Hardswish(), lambda x: x * np.clip(x + 3, 0, 6) / 6),
    (nn.Hardsigmoid(), lambda x: np.clip(x + 3, 0, 6) / 6),
    (nn.PReLU(init=0.3), lambda x: np.where(x > 0, x, 0.3 * x)),
    (nn.Softmax(-1), lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
    (nn.LogSoftmax(0), lambda x: x - np.log(np.exp(x).sum(0, keepdims=True))),
]


@pytest.mark.parametrize(("layer", "formula"), ACTIVATIONS, ids=[repr(m) for m, _ in ACTIVATIONS])
def test_activation(layer: nn.Module, formula: Callable[[Array], Array]) -> None:
    x = rand(5, 40) * 4
    close(layer(x), formula(x.numpy().astype(np.float64)))


@pytest.mark.parametrize(
    "layer",
    [
        nn.ReLU,
        nn.ReLU6,
        nn.LeakyReLU,
        nn.ELU,
        nn.SELU,
        nn.CELU,
        nn.SiLU,
        nn.Mish,
        nn.Hardtanh,
        nn.Hardswish,
        nn.Hardsigmoid,
    ],
)
def test_inplace_is_accepted_and_gives_the_same_gradient(layer: Any) -> None:
    gradients = []
    for inplace in (False, True):
        x = (rand(3, 4) * 3).requires_grad_()
        (layer(inplace=inplace)(x * 1) * rand(3, 4, seed=1)).sum().backward()
        gradients.append(x.grad.numpy())
    np.testing.assert_array_equal(*gradients)


def test_prelu_per_channel_and_hardtanh_error() -> None:
    m = nn.PReLU(2)
    with minidl.no_grad():
        m.weight.copy_(minidl.tensor([0.5, 2.0]))
    assert m(minidl.full((1, 2, 1, 1), -1.0)).reshape(-1).tolist() == [-0.5, -2.0]
    with pytest.raises(ValueError, match="max_val must be larger than min_val"):
        nn.Hardtanh(1.0, 1.0)


# -- embedding ---------------------------------------------------------------------------------------------------------


def test_embedding() -> None:
    m = nn.Embedding(6, 3, padding_idx=2)
    index = minidl.tensor([[0, 2], [5, 0]])
    np.testing.assert_array_equal(m(index).detach().numpy(), m.weight.detach().numpy()[index.numpy()])
    m(index).sum().backward()
    np.testing.assert_array_equal(m.weight.grad.numpy()[:, 0], [2, 0, 0, 0, 0, 1])
    table = rand(4, 2)
    frozen = nn.Embedding.from_pretrained(table)
    assert frozen.weight.array is table.array and not frozen.weight.requires_grad
    assert nn.Embedding.from_pretrained(table, freeze=False, padding_idx=-1).padding_idx == 3
    with pytest.raises(ValueError, match="Padding_idx must be within num_embeddings"):
        nn.Embedding(3, 2, padding_idx=3)
    with pytest.raises(ValueError, match="expected to be 2-dimensional"):
        nn.Embedding.from_pretrained(rand(3))


# -- losses ------------------------------------------------------------------------------------------------------------

N, C = 6, 4
SCORES = rand(N, C)
LOGP = SCORES.numpy() - np.log(np.exp(SCORES.numpy().astype(np.float64)).sum(1, keepdims=True))
CLASSES = minidl.tensor([0, 3, 1, 1, 2, 3])
PICKED = LOGP[np.arange(N), CLASSES.numpy()]
WEIGHT = np.array([1.0, 2.0, 0.5, 3.0], dtype=np.float32)
A, B = rand(N, C, seed=1), rand(N, C, seed=2)
D = np.abs(A.numpy() - B.numpy())
P = sigmoid(A.numpy().astype(np.float64))
T = (B.numpy() > 0).astype(np.float32)
SIGN = np.where(B.numpy() > 0, 1, -1)


def margins(p: int) -> Array:
    s = SCORES.numpy().astype(np.float64)
    m = np.maximum(0, 0.7 - s[np.arange(N), CLASSES.numpy()][:, None] + s) ** p
    m[np.arange(N), CLASSES.numpy()] = 0
    return m.sum(1) / C


LOSSES: list[tuple[type, dict[str, Any], Any, Any, Array]] = [
    (nn.CrossEntropyLoss, {}, SCORES, CLASSES, -PICKED),
    (nn.CrossEntropyLoss, {"label_smoothing": 0.2}, SCORES, CLASSES, -0.8 * PICKED - 0.2 * LOGP.mean(1)),
    (nn.NLLLoss, {}, minidl.from_numpy(LOGP.astype(np.float32)), CLASSES, -PICKED),
    (nn.MSELoss, {}, A, B, D**2),
    (nn.L1Loss, {}, A, B, D),
    (nn.SmoothL1Loss, {"beta": 0.5}, A, B, np.where(D < 0.5, D**2, D - 0.25)),
    (nn.HuberLoss, {"delta": 0.5}, A, B, np.where(D <= 0.5, D**2 / 2, 0.5 * (D - 0.25))),
    (nn.BCELoss, {}, minidl.from_numpy(P.astype(np.float32)), minidl.from_numpy(T), -np.log(np.where(T, P, 1 - P))),
    (nn.BCEWithLogitsLoss, {}, A, minidl.from_numpy(T), -np.log(np.where(T, P, 1 - P))),
    (
        nn.BCEWithLogitsLoss,
        {"pos_weight": minidl.from_numpy(WEIGHT)},
        A,
        minidl.from_numpy(T),
        -np.log(np.where(T, P, 1 - P)) * np.where(T, WEIGHT, 1),
    ),
    (
        nn.HingeEmbeddingLoss,
        {"margin": 0.8},
        A,
        minidl.from_numpy(SIGN),
        np.where(SIGN == 1, A.numpy(), np.maximum(0, 0.8 - A.numpy())),
    ),
    (nn.MultiMarginLoss, {"margin": 0.7}, SCORES, CLASSES, margins(1)),
    (nn.MultiMarginLoss, {"margin": 0.7, "p": 2}, SCORES, CLASSES, margins(2)),
    (
        nn.KLDivLoss,
        {"log_target": True},
        minidl.from_numpy(LOGP.astype(np.float32)),
        minidl.from_numpy(LOGP[::-1].astype(np.float32)),
        np.exp(LOGP[::-1]) * (LOGP[::-1] - LOGP),
    ),
]


@pytest.mark.parametrize(("loss", "kwargs", "input", "target", "expected"), LOSSES, ids=[c[0].__name__ for c in LOSSES])
def test_loss(loss: type, kwargs: dict[str, Any], input: Any, target: Any, expected: Array) -> None:
    close(loss(**kwargs)(input, target), expected.mean())
    close(loss(**kwargs, reduction="sum")(input, target), expected.sum())
    close(loss(**kwargs, reduction="none")(input, target), expected)
    with pytest.raises(ValueError, match="avg is not a valid value for reduction"):
        loss(**kwargs, reduction="avg")


def test_class_weights_and_ignored_targets() -> None:
    weight = minidl.from_numpy(WEIGHT)
    m = nn.CrossEntropyLoss(weight, ignore_index=3)
    assert list(m.state_dict()) == ["weight"] and m.double().weight.dtype == np.float64
    w = WEIGHT[CLASSES.numpy()] * (CLASSES.numpy() != 3)
    close(m.float()(SCORES, CLASSES), -(PICKED * w).sum() / w.sum())
    close(nn.NLLLoss(weight, ignore_index=3)(minidl.log_softmax(SCORES, 1), CLASSES), -(PICKED * w).sum() / w.sum())
    close(
        nn.MultiMarginLoss(margin=0.7, weight=weight, reduction="none")(SCORES, CLASSES),
        margins(1) * WEIGHT[CLASSES.numpy()],
    )
    half = minidl.full((C,), 0.5)
    bce = nn.BCELoss(half)(minidl.from_numpy(P.astype(np.float32)), minidl.from_numpy(T))
    close(bce, -0.5 * np.log(np.where(T, P, 1 - P)).mean())
    close(
        nn.KLDivLoss(reduction="batchmean")(A, minidl.abs(B)),
        nn.KLDivLoss(reduction="sum")(A, minidl.abs(B)).item() / N,
    )
    with pytest.raises(ValueError, match="only p == 1 and p == 2 supported"):
        nn.MultiMarginLoss(p=3)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_dropout_keeps_the_stated_share_independently(p: float) -> None:
    minidl.manual_seed(0)
    kept = (nn.functional.dropout(minidl.ones(1000, 1000), p).numpy() != 0).astype(float)
    six_sigma = 6 * np.sqrt(p * (1 - p) / kept.size)
    assert abs(kept.mean() - (1 - p)) < six_sigma
    for other in (kept[:, 1:] * kept[:, :-1], kept[1:] * kept[:-1], kept[:, 2:] * kept[:, :-2]):
        assert abs(other.mean() - (1 - p) ** 2) < 12 * np.sqrt((1 - p) ** 2 / kept.size)  # neighbours share no bits


def test_a_whole_number_is_a_momentum_too(monkeypatch: Any) -> None:
    """The kernels take a float: those of the GPU would read another type's bits."""
    given = []
    x = minidl.randn(6, 4)
    kernel = x.backend.normalize_batch
    monkeypatch.setattr(x.backend, "normalize_batch", lambda *a: given.append(a[-1]) or kernel(*a))
    layer = nn.BatchNorm1d(4, momentum=1)
    layer(x)
    assert type(given[0][2]) is float
    np.testing.assert_allclose(layer.running_mean.numpy(), x.numpy().mean(0), rtol=1e-5, atol=1e-6)
