"""What users get wrong, and that the error says what was given, what was needed, and where.

Types and the quoted phrases are PyTorch's, except where a comment says otherwise.
"""

import importlib.util
import re

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.data import DataLoader, TensorDataset
from minidl.nn import functional as F
from tests.strict.backend import strict_backend

z, T, F64 = minidl.zeros, minidl.tensor, minidl.float64
OTHER = strict_backend.name  # a device like a GPU, on any machine


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


def cases(*table):
    """Rows of (name, what to call, error, phrases that the message must have)."""
    return pytest.mark.parametrize(("call", "error", "phrases"), [row[1:] for row in table], ids=[row[0] for row in table])


def check(call, error, phrases):
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error  # not merely a subclass
    for phrase in phrases:
        assert phrase in str(caught.value)


@cases(
    (
        "add",
        lambda: z(2, 3) + z(4),
        RuntimeError,
        ["add", "The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1", "(2, 3) and (4,)"],
    ),
    ("mul", lambda: z(2, 3) * z(3, 2), RuntimeError, ["mul", "must match", "at non-singleton dimension 1", "(2, 3) and (3, 2)"]),
    ("matmul", lambda: z(2, 3) @ z(4, 5), RuntimeError, ["mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"]),
    ("matmul of vectors", lambda: z(3) @ z(4), RuntimeError, ["(3 and 4)"]),
    ("matmul of a number", lambda: T(1.0) @ z(4), RuntimeError, ["both arguments to matmul need to be at least 1D, but they are 0D and 1D"]),
    ("matmul of stacks", lambda: z(2, 2, 3) @ z(3, 3, 4), RuntimeError, ["matmul", "must match", "(2, 2, 3)", "(3, 3, 4)"]),
    ("bmm", lambda: minidl.bmm(z(2, 2, 3), z(4, 3, 2)), RuntimeError, ["bmm", "(2, 2, 3)", "(4, 3, 2)"]),
    ("linear", lambda: F.linear(z(2, 3), z(5, 4)), RuntimeError, ["cannot be multiplied (2x3 and 4x5)", "expects 4 input features", "(2, 3)"]),
    ("linear, higher", lambda: F.linear(z(2, 7, 3), z(5, 4)), RuntimeError, ["(2, 7, 3)", "expects 4"]),
    ("mse_loss", lambda: F.mse_loss(z(2, 3), z(4)), RuntimeError, ["must match", "(2, 3)", "(4,)"]),
    ("bce", lambda: F.binary_cross_entropy(z(2, 3), z(2)), ValueError, ["binary_cross_entropy", "(2,)", "(2, 3)", "same"]),
    (
        "bce with logits",
        lambda: F.binary_cross_entropy_with_logits(z(2, 3), z(2)),
        ValueError,
        ["Target size ((2,)) must be the same as input size ((2, 3))"],
    ),
    ("reshape", lambda: z(6).reshape(4, 2), RuntimeError, ["shape '[4, 2]' is invalid for input of size 6"]),
    ("cat", lambda: minidl.cat([z(2, 3), z(2, 4)]), RuntimeError, ["Sizes of tensors must match except in dimension 0", "tensor number 1"]),
    ("stack", lambda: minidl.stack([z(2), z(3)]), RuntimeError, ["stack expects each tensor to be equal size", "[2] at entry 0 and [3] at entry 1"]),
    ("expand", lambda: z(2, 3).expand(4, 3), RuntimeError, ["The expanded size of the tensor (4) must match the existing size (2)"]),
    ("layer_norm", lambda: nn.LayerNorm(3)(z(2, 4)), RuntimeError, ["Given normalized_shape=[3]", "[2, 4]", "in LayerNorm"]),
)
def test_shapes(call, error, phrases):
    check(call, error, phrases)


@cases(
    ("channels", lambda: nn.Conv2d(3, 4, 3)(z(1, 2, 8, 8)), RuntimeError, ["2 channels", "expects 3", "4×3×3×3", "(1, 2, 8, 8)", "in Conv2d"]),
    (
        "kernel larger than input",
        lambda: nn.Conv2d(3, 4, 5)(z(1, 3, 3, 3)),
        RuntimeError,
        ["Calculated padded input size per channel", "Kernel size can't be greater than actual input size", "(1, 3, 3, 3)", "4×3×5×5"],
    ),
    (
        "kernel larger than padded input",
        lambda: nn.Conv2d(1, 1, 5, padding=1)(z(1, 1, 9, 2)),
        RuntimeError,
        ["(4)", "(5)", "can't be greater", "(1, 1, 9, 2)"],
    ),
    ("dimensions", lambda: nn.Conv2d(3, 4, 5)(z(3, 3)), RuntimeError, ["Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [3, 3]"]),
    ("bias", lambda: F.conv2d(z(1, 1, 3, 3), z(2, 1, 1, 1), z(3)), RuntimeError, ["bias", "(2,)", "(3,)"]),
    ("groups", lambda: nn.Conv2d(3, 4, 1, groups=2), ValueError, ["in_channels must be divisible by groups"]),
    ("pool larger than input", lambda: F.max_pool2d(z(1, 1, 2, 2), 3), RuntimeError, ["Output size is too small", "(1, 1, 2, 2)"]),
    (
        "one value per channel",
        lambda: nn.BatchNorm1d(3)(z(1, 3)),
        ValueError,
        ["Expected more than 1 value per channel when training, got input size", "[1, 3]", "in BatchNorm1d"],
    ),
    ("one pixel per channel", lambda: nn.BatchNorm2d(3)(z(1, 3, 1, 1)), ValueError, ["more than 1 value per channel", "[1, 3, 1, 1]"]),
    ("channels of batch norm", lambda: nn.BatchNorm2d(3)(z(2, 4, 2, 2)), RuntimeError, ["running_mean should contain 4 elements not 3", "(2, 4, 2, 2)"]),
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
    ("batch norm", lambda: Chain(nn.BatchNorm1d(3))(z(1, 3)), ValueError, ["more than 1 value", "in Chain.inner.layer"]),
    ("elementwise", lambda: Chain(nn.MSELoss())(z(2), z(3)), RuntimeError, ["must match", "in Chain.inner.layer"]),
    ("label", lambda: Chain(nn.CrossEntropyLoss())(z(1, 2), T([2])), IndexError, ["Target 2 is out of bounds", "in Chain.inner.layer"]),
    ("device", lambda: Chain(nn.Linear(2, 2))(z(1, 2, device=OTHER)), RuntimeError, ["same device", "in Chain.inner.layer"]),
    ("dtype", lambda: Chain(nn.Linear(2, 2))(z(1, 2, dtype=F64)), RuntimeError, ["dtype", "float64", "float32", "in Chain.inner.layer"]),
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
    ("conv2d", lambda: nn.Conv2d(1, 1, 1)(z(1, 1, 2, 2, dtype=F64)), RuntimeError, ["Input type (float64)", "should be the same"]),
    ("batch_norm", lambda: nn.BatchNorm2d(1)(z(2, 1, 2, 2, dtype=F64)), RuntimeError, ["batch_norm", "float64 and float32"]),
    ("layer_norm", lambda: nn.LayerNorm(2)(z(2, 2, dtype=F64)), RuntimeError, ["layer_norm", "float64 and float32"]),
    ("mean of integers", lambda: T([1, 2]).mean(), RuntimeError, ["could not infer output dtype", "int64"]),
    ("where", lambda: minidl.where(z(2), z(2), z(2)), RuntimeError, ["expected condition to be a boolean tensor", "float32"]),
    ("index", lambda: z(3)[T([1.0])], IndexError, ["tensors used as indices must be long, int, byte or bool tensors"]),
    ("in place", lambda: T([1]).add_(0.5), RuntimeError, ["result type float32 can't be cast to the desired output type int64"]),
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
    check(z(2, device=OTHER).numpy, TypeError, [f"can't convert {OTHER} device type tensor to numpy", "Use Tensor.cpu()"])


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed")
@pytest.mark.parametrize(
    "call",
    [lambda: z(2, device="cuda"), lambda: z(2).to("cuda:0"), lambda: z(2).cuda(), lambda: nn.Linear(2, 2).to("cuda"), lambda: nn.Linear(2, 2).cuda()],
)
def test_cuda_without_cupy(call):
    check(call, RuntimeError, ["'cuda'", "CuPy is not installed", "pip install 'minidl[cuda13]'", "minidl[cuda12]"])
    assert not minidl.cuda.is_available()
    assert minidl.cuda.device_count() == 0


@cases(
    ("unknown device", lambda: z(2, device="gpu"), RuntimeError, ["Expected one of cpu, cuda", "device type at start of device string: gpu"]),
    ("bad device number", lambda: minidl.device("cuda:x"), RuntimeError, ["Invalid device string: 'cuda:x'"]),
    ("requires_grad of integers", lambda: T([1, 2], requires_grad=True), RuntimeError, ["Tensors of floating point", "can require gradients", "int64"]),
    ("requires_grad_ of integers", lambda: T([1, 2]).requires_grad_(), RuntimeError, ["only Tensors of floating point dtype can require gradients"]),
    ("zeros of integers", lambda: z(2, dtype=minidl.int64, requires_grad=True), RuntimeError, ["can require gradients"]),
    ("parameter of integers", lambda: nn.Parameter(T([1, 2])), RuntimeError, ["can require gradients"]),
    ("ragged", lambda: T([[1, 2], [3]]), ValueError, ["expected", "sequence", "length"]),
    ("text", lambda: T("a"), TypeError, ["str"]),
    ("plus text", lambda: z(2) + "a", TypeError, ["add", "Tensor", "str"]),
    ("plus None", lambda: z(2) + None, TypeError, ["add", "None"]),
    ("plus list", lambda: z(2) * [1, 2], TypeError, ["mul", "list"]),
    ("linear of None", lambda: nn.Linear(2, 2)(None), TypeError, ["linear(): argument 'input' (position 1) must be Tensor, not NoneType", "in Linear"]),
    ("negative size", lambda: z(-1), RuntimeError, ["Dimension size must be non-negative"]),
)
def test_making_tensors(call, error, phrases):
    check(call, error, phrases)


def twice():
    x = minidl.ones(2, requires_grad=True)
    y = (x * x).sum()
    y.backward()
    y.backward()


@cases(
    ("twice", twice, RuntimeError, ["Trying to backward through the graph a second time", "MulBackward", "retain_graph=True"]),
    (
        "of many",
        lambda: minidl.ones(2, 3, requires_grad=True).exp().backward(),
        RuntimeError,
        ["grad can be implicitly created only for scalar outputs", "(2, 3)"],
    ),
    ("without graph", lambda: z(2).sum().backward(), RuntimeError, ["element 0 of tensors does not require grad and does not have a grad_fn"]),
    ("of an integer", lambda: T(3).backward(), RuntimeError, ["does not require grad", "int64"]),
)
def test_backward(call, error, phrases):
    check(call, error, phrases)


@cases(
    ("numpy", lambda: z(2, requires_grad=True).numpy(), RuntimeError, ["Can't call numpy() on Tensor that requires grad", "tensor.detach().numpy()"]),
    ("asarray", lambda: np.asarray(z(2, requires_grad=True) * 2), RuntimeError, ["Can't call numpy() on Tensor that requires grad"]),
    ("item", lambda: z(2).item(), RuntimeError, ["a Tensor with 2 elements cannot be converted to Scalar"]),
    ("item of nothing", lambda: z(0).item(), RuntimeError, ["a Tensor with 0 elements cannot be converted to Scalar"]),
    ("float", lambda: float(z(2)), ValueError, ["only one element tensors can be converted to Python scalars", "(2,)"]),
    ("int", lambda: int(z(2)), ValueError, ["only one element tensors can be converted to Python scalars"]),
    ("index", lambda: range(T(2.0)), TypeError, ["only integer tensors of a single element can be converted to an index"]),
    ("bool", lambda: bool(z(2)), RuntimeError, ["Boolean value of Tensor with more than one value is ambiguous", "(2,)"]),
    ("bool of nothing", lambda: bool(z(0)), RuntimeError, ["Boolean value of Tensor with no values is ambiguous"]),
    ("len", lambda: len(T(2.0)), TypeError, ["len() of a 0-d tensor"]),
    ("iteration", lambda: list(T(2.0)), TypeError, ["iteration over a 0-d tensor"]),
)
def test_leaving_tensors(call, error, phrases):
    check(call, error, phrases)


RANGE = "Dimension out of range (expected to be in range of [-2, 1], but got "


@cases(
    ("sum", lambda: z(2, 3).sum(dim=2), IndexError, [RANGE + "2)"]),
    ("sum, negative", lambda: z(2, 3).sum(dim=-3), IndexError, [RANGE + "-3)"]),
    ("softmax", lambda: z(2, 3).softmax(5), IndexError, [RANGE + "5)"]),
    ("transpose", lambda: z(2, 3).transpose(0, 2), IndexError, [RANGE + "2)"]),
    ("squeeze", lambda: z(2, 3).squeeze(3), IndexError, [RANGE + "3)"]),
    ("argmax", lambda: z(2, 3).argmax(dim=2), IndexError, [RANGE + "2)"]),
    ("max", lambda: z(2, 3).max(dim=2), IndexError, [RANGE + "2)"]),
    ("cat", lambda: minidl.cat([z(2, 3), z(2, 3)], dim=2), IndexError, [RANGE + "2)"]),
    ("flatten", lambda: nn.Flatten(3)(z(2, 3)), IndexError, [RANGE + "3)"]),
    ("twice", lambda: z(2, 3).sum(dim=(0, 0)), RuntimeError, ["appears multiple times in the list of dims"]),
    ("permute", lambda: z(2, 3).permute(0, 0), RuntimeError, ["permute", "(0, 0)", "(2, 3)"]),
    ("index", lambda: z(3)[3], IndexError, ["index 3 is out of bounds for dimension 0 with size 3"]),
    ("second index", lambda: z(3, 2)[0, -3], IndexError, ["index -3 is out of bounds for dimension 1 with size 2"]),
    ("index in a list", lambda: z(3)[[0, 3]], IndexError, ["index 3 is out of bounds for dimension 0 with size 3"]),
    ("index in a Tensor", lambda: z(3)[T([0, 3])], IndexError, ["index 3 is out of bounds for dimension 0 with size 3"]),
    ("too many", lambda: z(3)[0, 0], IndexError, ["too many indices for tensor", "(3,)"]),
    ("mask", lambda: z(3)[T([True, False])], IndexError, ["dimension 0", "3", "2"]),
    ("assignment", lambda: z(3).__setitem__(5, 1.0), IndexError, ["index 5 is out of bounds for dimension 0 with size 3"]),
    ("gather", lambda: z(2, 3).gather(1, T([[5]])), RuntimeError, ["index 5 is out of bounds for dimension 1 with size 3"]),
    ("topk", lambda: z(3).topk(4), RuntimeError, ["selected index k out of range"]),
    ("embedding", lambda: nn.Embedding(3, 2)(T([3])), IndexError, ["index out of range", "3"]),
    ("max of nothing", lambda: z(0).max(), RuntimeError, ["Expected reduction dim to be specified for input.numel() == 0"]),
)
def test_dimensions_and_indices(call, error, phrases):
    check(call, error, phrases)


@cases(
    ("too large", lambda: F.cross_entropy(z(2, 3), T([0, 3])), IndexError, ["Target 3 is out of bounds", "3 classes"]),
    ("negative", lambda: F.cross_entropy(z(2, 3), T([0, -1])), IndexError, ["Target -1 is out of bounds"]),
    ("with smoothing", lambda: F.cross_entropy(z(2, 3), T([0, 3]), label_smoothing=0.1), IndexError, ["Target 3 is out of bounds"]),
    ("of nll_loss", lambda: F.nll_loss(z(2, 3), T([0, 3])), IndexError, ["Target 3 is out of bounds"]),
    ("too many", lambda: F.cross_entropy(z(2, 3), T([0, 1, 2])), ValueError, ["Expected input batch_size (2) to match target batch_size (3)"]),
    ("floats, labels' shape", lambda: F.cross_entropy(z(2, 3), z(2)), RuntimeError, ["float32", "(2,)", "(2, 3)"]),
    ("floats, another shape", lambda: F.cross_entropy(z(2, 3), z(2, 4)), RuntimeError, ["float32", "(2, 4)", "(2, 3)"]),
    (
        "integers, shape of probabilities",
        lambda: F.cross_entropy(z(2, 3), z(2, 3, dtype=minidl.int64)),
        RuntimeError,
        ["Expected floating point type for target with class probabilities, got int64"],
    ),
    ("one column", lambda: F.cross_entropy(z(2, 3), T([[0], [1]])), RuntimeError, ["(2,)", "(2, 1)"]),
    ("reduction", lambda: F.mse_loss(z(2), z(2), reduction="avg"), ValueError, ["avg is not a valid value for reduction"]),
    ("probability", lambda: F.binary_cross_entropy(z(2) + 2, z(2)), RuntimeError, ["all elements of input should be between 0 and 1"]),
    ("dropout", lambda: F.dropout(z(3), 1.5), ValueError, ["dropout probability has to be between 0 and 1, but got 1.5"]),
)
def test_losses(call, error, phrases):
    check(call, error, phrases)


def test_an_ignored_label_is_not_out_of_bounds():
    assert F.cross_entropy(z(2, 3), T([0, -100])).item() == pytest.approx(np.log(3), rel=1e-6)
    assert F.cross_entropy(z(2, 3), T([0, 7]), ignore_index=7).item() == pytest.approx(np.log(3), rel=1e-6)


@pytest.mark.parametrize(
    ("state", "phrases"),
    [
        ({"weight": minidl.ones(3, 2)}, ['Missing key(s) in state_dict: "bias"']),
        ({"weight": minidl.ones(3, 2), "bias": z(3), "scale": z(1)}, ['Unexpected key(s) in state_dict: "scale"']),
        (
            {"weight": minidl.ones(3, 2), "bias": z(4)},
            ["size mismatch for bias: copying a param with shape (4,) from checkpoint, the shape in current model is (3,)"],
        ),
        ({"wieght": minidl.ones(3, 2), "bias": z(4)}, ['Missing key(s) in state_dict: "weight"', '"wieght"', "size mismatch for bias"]),
    ],
    ids=["missing", "unexpected", "mismatched", "all"],
)
def test_a_state_dict_that_does_not_fit_loads_nothing(state, phrases):
    model = nn.Linear(2, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    check(lambda: model.load_state_dict(state), RuntimeError, ["Error(s) in loading state_dict for Linear", *phrases])
    for name, value in model.state_dict().items():
        assert value.tolist() == before[name].tolist()


@cases(
    ("shuffled empty dataset", lambda: DataLoader(TensorDataset(z(0, 2)), shuffle=True), ValueError, ["num_samples should be a positive integer value, but got num_samples=0"]),
    ("shuffled empty list", lambda: DataLoader([], shuffle=True), ValueError, ["num_samples=0"]),
    ("batch size", lambda: DataLoader(TensorDataset(z(3, 2)), batch_size=0), ValueError, ["batch_size should be a positive integer value, but got batch_size=0"]),
    ("no parameters", lambda: minidl.optim.SGD([], lr=0.1), ValueError, ["optimizer got an empty parameter list"]),
    ("not a leaf", lambda: minidl.optim.SGD([z(2, requires_grad=True) * 2], lr=0.1), ValueError, ["can't optimize a non-leaf Tensor"]),
    ("learning rate", lambda: minidl.optim.SGD([z(2, requires_grad=True)], lr=-1), ValueError, ["Invalid learning rate: -1"]),
)
def test_data_and_optimizers(call, error, phrases):
    check(call, error, phrases)


def test_an_empty_dataset_gives_no_batches():
    loader = DataLoader(TensorDataset(z(0, 2)), batch_size=4)
    assert len(loader) == 0
    assert list(loader) == []
