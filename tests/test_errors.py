"""What users get wrong, and that the error says what was given, what was needed, and where.

Types and the quoted phrases are PyTorch's, except where a comment says otherwise.
"""

import re

import pytest

import minidl
from minidl import nn
from minidl.nn import functional as F
from tests.error_cases import OTHER, cases, check

z, T, F64 = minidl.zeros, minidl.tensor, minidl.float64


class Net(nn.Module):
    """A model with a mistake of its own: ``features.2`` expects 3 channels and gets 16."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(3, 8, 3))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(7, 2))

    def forward(self, x):
        return self.head(self.features(x))


class Reshapes(nn.Module):
    def forward(self, x):
        return x.view(-1, 7)


class Chain(nn.Module):
    """``layer``, as ``Chain.inner.layer``."""

    def __init__(self, layer):
        super().__init__()
        self.inner = nn.Module()
        self.inner.layer = layer

    def forward(self, *x):
        return self.inner.layer(*x)


@cases(
    (
        "add",
        lambda: z(2, 3) + z(4),
        RuntimeError,
        [
            "add",
            "The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1",
            "(2, 3) and (4,)",
        ],
    ),
    (
        "mul",
        lambda: z(2, 3) * z(3, 2),
        RuntimeError,
        ["mul", "must match", "at non-singleton dimension 1", "(2, 3) and (3, 2)"],
    ),
    ("matmul", lambda: z(2, 3) @ z(4, 5), RuntimeError, ["mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"]),
    ("matmul of vectors", lambda: z(3) @ z(4), RuntimeError, ["(3 and 4)"]),
    (
        "matmul of a number",
        lambda: T(1.0) @ z(4),
        RuntimeError,
        ["both arguments to matmul need to be at least 1D, but they are 0D and 1D"],
    ),
    (
        "matmul of stacks",
        lambda: z(2, 2, 3) @ z(3, 3, 4),
        RuntimeError,
        ["matmul", "must match", "(2, 2, 3)", "(3, 3, 4)"],
    ),
    ("bmm", lambda: minidl.bmm(z(2, 2, 3), z(4, 3, 2)), RuntimeError, ["bmm", "(2, 2, 3)", "(4, 3, 2)"]),
    (
        "linear",
        lambda: F.linear(z(2, 3), z(5, 4)),
        RuntimeError,
        ["cannot be multiplied (2x3 and 4x5)", "expects 4 input features", "(2, 3)"],
    ),
    ("linear, higher", lambda: F.linear(z(2, 7, 3), z(5, 4)), RuntimeError, ["(2, 7, 3)", "expects 4"]),
    ("mse_loss", lambda: F.mse_loss(z(2, 3), z(4)), RuntimeError, ["must match", "(2, 3)", "(4,)"]),
    (
        "bce",
        lambda: F.binary_cross_entropy(z(2, 3), z(2)),
        ValueError,
        ["binary_cross_entropy", "(2,)", "(2, 3)", "same"],
    ),
    (
        "bce with logits",
        lambda: F.binary_cross_entropy_with_logits(z(2, 3), z(2)),
        ValueError,
        ["Target size ((2,)) must be the same as input size ((2, 3))"],
    ),
    ("reshape", lambda: z(6).reshape(4, 2), RuntimeError, ["shape '[4, 2]' is invalid for input of size 6"]),
    (
        "cat",
        lambda: minidl.cat([z(2, 3), z(2, 4)]),
        RuntimeError,
        ["Sizes of tensors must match except in dimension 0", "tensor number 1"],
    ),
    (
        "stack",
        lambda: minidl.stack([z(2), z(3)]),
        RuntimeError,
        ["stack expects each tensor to be equal size", "[2] at entry 0 and [3] at entry 1"],
    ),
    (
        "expand",
        lambda: z(2, 3).expand(4, 3),
        RuntimeError,
        ["The expanded size of the tensor (4) must match the existing size (2)"],
    ),
    (
        "layer_norm",
        lambda: nn.LayerNorm(3)(z(2, 4)),
        RuntimeError,
        ["Given normalized_shape=[3]", "[2, 4]", "in LayerNorm"],
    ),
)
def test_shapes(call, error, phrases):
    check(call, error, phrases)


@cases(
    (
        "channels",
        lambda: nn.Conv2d(3, 4, 3)(z(1, 2, 8, 8)),
        RuntimeError,
        ["2 channels", "expects 3", "4×3×3×3", "(1, 2, 8, 8)", "in Conv2d"],
    ),
    (
        "kernel larger than input",
        lambda: nn.Conv2d(3, 4, 5)(z(1, 3, 3, 3)),
        RuntimeError,
        [
            "Calculated padded input size per channel",
            "Kernel size can't be greater than actual input size",
            "(1, 3, 3, 3)",
            "4×3×5×5",
        ],
    ),
    (
        "kernel larger than padded input",
        lambda: nn.Conv2d(1, 1, 5, padding=1)(z(1, 1, 9, 2)),
        RuntimeError,
        ["(4)", "(5)", "can't be greater", "(1, 1, 9, 2)"],
    ),
    (
        "dimensions",
        lambda: nn.Conv2d(3, 4, 5)(z(3, 3)),
        RuntimeError,
        ["Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [3, 3]"],
    ),
    ("bias", lambda: F.conv2d(z(1, 1, 3, 3), z(2, 1, 1, 1), z(3)), RuntimeError, ["bias", "(2,)", "(3,)"]),
    ("groups", lambda: nn.Conv2d(3, 4, 1, groups=2), ValueError, ["in_channels must be divisible by groups"]),
    (
        "pool larger than input",
        lambda: F.max_pool2d(z(1, 1, 2, 2), 3),
        RuntimeError,
        ["Output size is too small", "(1, 1, 2, 2)"],
    ),
    (
        "one value per channel",
        lambda: nn.BatchNorm1d(3)(z(1, 3)),
        ValueError,
        ["Expected more than 1 value per channel when training, got input size", "[1, 3]", "in BatchNorm1d"],
    ),
    (
        "one pixel per channel",
        lambda: nn.BatchNorm2d(3)(z(1, 3, 1, 1)),
        ValueError,
        ["more than 1 value per channel", "[1, 3, 1, 1]"],
    ),
    (
        "channels of batch norm",
        lambda: nn.BatchNorm2d(3)(z(2, 4, 2, 2)),
        RuntimeError,
        ["running_mean should contain 4 elements not 3", "(2, 4, 2, 2)"],
    ),
    ("dimensions of batch norm", lambda: nn.BatchNorm2d(3)(z(2, 3)), ValueError, ["expected 4D input (got 2D input)"]),
)
def test_layers(call, error, phrases):
    check(call, error, phrases)


def test_batch_norm_of_one_sample_works_in_evaluation():
    assert nn.BatchNorm1d(3).eval()(z(1, 3)).shape == (1, 3)


@cases(
    ("conv", lambda: Net()(z(1, 3, 8, 8)), RuntimeError, ["16 channels", "expects 3", "in Net.features.2"]),
    ("linear", lambda: Net().head(z(4, 3)), RuntimeError, ["(4x3 and 7x2)", "in Sequential.1"]),
    ("nested linear", lambda: Chain(nn.Linear(4, 5))(z(2, 3)), RuntimeError, ["(2x3 and 4x5)", "in Chain.inner.layer"]),
    (
        "batch norm",
        lambda: Chain(nn.BatchNorm1d(3))(z(1, 3)),
        ValueError,
        ["more than 1 value", "in Chain.inner.layer"],
    ),
    ("elementwise", lambda: Chain(nn.MSELoss())(z(2), z(3)), RuntimeError, ["must match", "in Chain.inner.layer"]),
    (
        "label",
        lambda: Chain(nn.CrossEntropyLoss())(z(1, 2), T([2])),
        IndexError,
        ["Target 2 is out of bounds", "in Chain.inner.layer"],
    ),
    (
        "device",
        lambda: Chain(nn.Linear(2, 2))(z(1, 2, device=OTHER)),
        RuntimeError,
        ["same device", "in Chain.inner.layer"],
    ),
    (
        "dtype",
        lambda: Chain(nn.Linear(2, 2))(z(1, 2, dtype=F64)),
        RuntimeError,
        ["dtype", "float64", "float32", "in Chain.inner.layer"],
    ),
)
def test_the_message_names_the_module(call, error, phrases):
    check(call, error, phrases)


def test_any_other_error_names_the_module_in_a_note():
    with pytest.raises(RuntimeError, match=re.escape("shape '[-1, 7]' is invalid for input of size 10")) as caught:
        Chain(Reshapes())(z(2, 5))
    assert caught.value.__notes__ == ["in module Chain.inner.layer"]

    class Raises(nn.Module):
        def forward(self):
            raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        Chain(Raises())()
    assert caught.value.args == ("mine",)
    assert caught.value.__notes__ == ["in module Chain.inner.layer"]


@cases(
    ("matmul", lambda: z(2, 2) @ z(2, 2, dtype=F64), RuntimeError, ["matmul", "dtype", "float32 and float64"]),
    ("matmul with integers", lambda: z(2, 2) @ z(2, 2, dtype=minidl.int64), RuntimeError, ["float32 and int64"]),
    ("bmm", lambda: minidl.bmm(z(2, 2, 2), z(2, 2, 2, dtype=F64)), RuntimeError, ["float32 and float64"]),
    ("linear", lambda: nn.Linear(2, 2)(z(1, 2, dtype=F64)), RuntimeError, ["linear", "float64 and float32"]),
    ("linear of integers", lambda: nn.Linear(2, 2)(z(1, 2, dtype=minidl.int64)), RuntimeError, ["int64 and float32"]),
    (
        "conv2d",
        lambda: nn.Conv2d(1, 1, 1)(z(1, 1, 2, 2, dtype=F64)),
        RuntimeError,
        ["Input type (float64)", "should be the same"],
    ),
    (
        "batch_norm",
        lambda: nn.BatchNorm2d(1)(z(2, 1, 2, 2, dtype=F64)),
        RuntimeError,
        ["batch_norm", "float64 and float32"],
    ),
    ("layer_norm", lambda: nn.LayerNorm(2)(z(2, 2, dtype=F64)), RuntimeError, ["layer_norm", "float64 and float32"]),
    ("mean of integers", lambda: T([1, 2]).mean(), RuntimeError, ["could not infer output dtype", "int64"]),
    (
        "where",
        lambda: minidl.where(z(2), z(2), z(2)),
        RuntimeError,
        ["expected condition to be a boolean tensor", "float32"],
    ),
    ("index", lambda: z(3)[T([1.0])], IndexError, ["tensors used as indices must be long, int, byte or bool tensors"]),
    (
        "in place",
        lambda: T([1]).add_(0.5),
        RuntimeError,
        ["result type float32 can't be cast to the desired output type int64"],
    ),
)
def test_dtypes(call, error, phrases):
    check(call, error, phrases)


def test_elementwise_operations_promote_instead():
    assert (z(2) + z(2, dtype=F64)).dtype == F64
    assert F.mse_loss(z(2), z(2, dtype=F64)).dtype == F64


@pytest.mark.parametrize(
    "call",
    [
        lambda: z(2) + z(2, device=OTHER),
        lambda: z(2, 2, device=OTHER) @ z(2, 2),
        lambda: nn.Linear(2, 2)(z(2, 2, device=OTHER)),
        lambda: nn.Conv2d(1, 1, 1)(z(1, 1, 2, 2, device=OTHER)),
        lambda: nn.BatchNorm1d(2)(z(2, 2, device=OTHER)),
        lambda: minidl.cat([z(2), z(2, device=OTHER)]),
        lambda: minidl.where(z(2) > 0, z(2, device=OTHER), z(2, device=OTHER)),
        lambda: minidl.where(z(2, device=OTHER) > 0, z(2), 0.0),
        lambda: F.mse_loss(z(2, device=OTHER), z(2)),
        lambda: F.cross_entropy(z(2, 3, device=OTHER), T([0, 1])),
        lambda: F.cross_entropy(z(2, 3), T([0, 1]).to(OTHER)),
        lambda: nn.Embedding(3, 2)(T([0, 1]).to(OTHER)),
        lambda: z(2)[T([0]).to(OTHER)],
        lambda: z(2, device=OTHER).__setitem__(slice(None), z(2)),
        lambda: z(2, device=OTHER).add_(z(2)),
    ],
)
def test_devices(call):
    check(call, RuntimeError, ["on the same device, but found at least two devices", "cpu", OTHER])


def test_numpy_of_another_device():
    check(
        z(2, device=OTHER).numpy,
        TypeError,
        [f"can't convert {z(2, device=OTHER).device} device type tensor to numpy", "Use Tensor.cpu()"],
    )
