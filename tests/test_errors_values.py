"""What users get wrong with values, labels, indices and state; see ``test_errors.py``."""

import importlib.util

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.data import DataLoader, TensorDataset
from minidl.nn import functional as F
from tests.error_cases import cases, check

z, T = minidl.zeros, minidl.tensor


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed")
@pytest.mark.parametrize(
    "call",
    [
        lambda: z(2, device="cuda"),
        lambda: z(2).to("cuda:0"),
        lambda: z(2).cuda(),
        lambda: nn.Linear(2, 2).to("cuda"),
        lambda: nn.Linear(2, 2).cuda(),
    ],
)
def test_cuda_without_cupy(call):
    check(call, RuntimeError, ["'cuda'", "CuPy is not installed", "pip install 'minidl[cuda13]'", "minidl[cuda12]"])
    assert not minidl.cuda.is_available()
    assert minidl.cuda.device_count() == 0


@cases(
    (
        "unknown device",
        lambda: z(2, device="gpu"),
        RuntimeError,
        ["Expected one of cpu, cuda", "device type at start of device string: gpu"],
    ),
    ("bad device number", lambda: minidl.device("cuda:x"), RuntimeError, ["Invalid device string: 'cuda:x'"]),
    (
        "requires_grad of integers",
        lambda: T([1, 2], requires_grad=True),
        RuntimeError,
        ["Tensors of floating point", "can require gradients", "int64"],
    ),
    (
        "requires_grad_ of integers",
        lambda: T([1, 2]).requires_grad_(),
        RuntimeError,
        ["only Tensors of floating point dtype can require gradients"],
    ),
    (
        "zeros of integers",
        lambda: z(2, dtype=minidl.int64, requires_grad=True),
        RuntimeError,
        ["can require gradients"],
    ),
    ("parameter of integers", lambda: nn.Parameter(T([1, 2])), RuntimeError, ["can require gradients"]),
    ("ragged", lambda: T([[1, 2], [3]]), ValueError, ["expected", "sequence", "length"]),
    ("text", lambda: T("a"), TypeError, ["str"]),
    ("plus text", lambda: z(2) + "a", TypeError, ["add", "Tensor", "str"]),
    ("plus None", lambda: z(2) + None, TypeError, ["add", "None"]),
    ("plus list", lambda: z(2) * [1, 2], TypeError, ["mul", "list"]),
    (
        "linear of None",
        lambda: nn.Linear(2, 2)(None),
        TypeError,
        ["linear(): argument 'input' (position 1) must be Tensor, not NoneType", "in Linear"],
    ),
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
    (
        "twice",
        twice,
        RuntimeError,
        ["Trying to backward through the graph a second time", "MulBackward", "retain_graph=True"],
    ),
    (
        "of many",
        lambda: minidl.ones(2, 3, requires_grad=True).exp().backward(),
        RuntimeError,
        ["grad can be implicitly created only for scalar outputs", "(2, 3)"],
    ),
    (
        "without graph",
        lambda: z(2).sum().backward(),
        RuntimeError,
        ["element 0 of tensors does not require grad and does not have a grad_fn"],
    ),
    ("of an integer", lambda: T(3).backward(), RuntimeError, ["does not require grad", "int64"]),
)
def test_backward(call, error, phrases):
    check(call, error, phrases)


@cases(
    (
        "numpy",
        lambda: z(2, requires_grad=True).numpy(),
        RuntimeError,
        ["Can't call numpy() on Tensor that requires grad", "tensor.detach().numpy()"],
    ),
    (
        "asarray",
        lambda: np.asarray(z(2, requires_grad=True) * 2),
        RuntimeError,
        ["Can't call numpy() on Tensor that requires grad"],
    ),
    ("item", lambda: z(2).item(), RuntimeError, ["a Tensor with 2 elements cannot be converted to Scalar"]),
    ("item of nothing", lambda: z(0).item(), RuntimeError, ["a Tensor with 0 elements cannot be converted to Scalar"]),
    ("float", lambda: float(z(2)), ValueError, ["only one element tensors can be converted to Python scalars", "(2,)"]),
    ("int", lambda: int(z(2)), ValueError, ["only one element tensors can be converted to Python scalars"]),
    (
        "index",
        lambda: range(T(2.0)),
        TypeError,
        ["only integer tensors of a single element can be converted to an index"],
    ),
    (
        "bool",
        lambda: bool(z(2)),
        RuntimeError,
        ["Boolean value of Tensor with more than one value is ambiguous", "(2,)"],
    ),
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
    (
        "index in a Tensor",
        lambda: z(3)[T([0, 3])],
        IndexError,
        ["index 3 is out of bounds for dimension 0 with size 3"],
    ),
    ("too many", lambda: z(3)[0, 0], IndexError, ["too many indices for tensor", "(3,)"]),
    ("mask", lambda: z(3)[T([True, False])], IndexError, ["dimension 0", "3", "2"]),
    (
        "assignment",
        lambda: z(3).__setitem__(5, 1.0),
        IndexError,
        ["index 5 is out of bounds for dimension 0 with size 3"],
    ),
    (
        "gather",
        lambda: z(2, 3).gather(1, T([[5]])),
        RuntimeError,
        ["index 5 is out of bounds for dimension 1 with size 3"],
    ),
    ("topk", lambda: z(3).topk(4), RuntimeError, ["selected index k out of range"]),
    ("embedding", lambda: nn.Embedding(3, 2)(T([3])), IndexError, ["index out of range", "3"]),
    (
        "max of nothing",
        lambda: z(0).max(),
        RuntimeError,
        ["Expected reduction dim to be specified for input.numel() == 0"],
    ),
)
def test_dimensions_and_indices(call, error, phrases):
    check(call, error, phrases)


@cases(
    ("too large", lambda: F.cross_entropy(z(2, 3), T([0, 3])), IndexError, ["Target 3 is out of bounds", "3 classes"]),
    ("negative", lambda: F.cross_entropy(z(2, 3), T([0, -1])), IndexError, ["Target -1 is out of bounds"]),
    (
        "with smoothing",
        lambda: F.cross_entropy(z(2, 3), T([0, 3]), label_smoothing=0.1),
        IndexError,
        ["Target 3 is out of bounds"],
    ),
    ("of nll_loss", lambda: F.nll_loss(z(2, 3), T([0, 3])), IndexError, ["Target 3 is out of bounds"]),
    (
        "too many",
        lambda: F.cross_entropy(z(2, 3), T([0, 1, 2])),
        ValueError,
        ["Expected input batch_size (2) to match target batch_size (3)"],
    ),
    ("floats, labels' shape", lambda: F.cross_entropy(z(2, 3), z(2)), RuntimeError, ["float32", "(2,)", "(2, 3)"]),
    ("floats, another shape", lambda: F.cross_entropy(z(2, 3), z(2, 4)), RuntimeError, ["float32", "(2, 4)", "(2, 3)"]),
    (
        "integers, shape of probabilities",
        lambda: F.cross_entropy(z(2, 3), z(2, 3, dtype=minidl.int64)),
        RuntimeError,
        ["Expected floating point type for target with class probabilities, got int64"],
    ),
    ("one column", lambda: F.cross_entropy(z(2, 3), T([[0], [1]])), RuntimeError, ["(2,)", "(2, 1)"]),
    (
        "reduction",
        lambda: F.mse_loss(z(2), z(2), reduction="avg"),
        ValueError,
        ["avg is not a valid value for reduction"],
    ),
    (
        "probability",
        lambda: F.binary_cross_entropy(z(2) + 2, z(2)),
        RuntimeError,
        ["all elements of input should be between 0 and 1"],
    ),
    (
        "dropout",
        lambda: F.dropout(z(3), 1.5),
        ValueError,
        ["dropout probability has to be between 0 and 1, but got 1.5"],
    ),
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
            ["size mismatch for bias: copying a param with shape (4,) from", "the shape in current model is (3,)"],
        ),
        (
            {"wieght": minidl.ones(3, 2), "bias": z(4)},
            ['Missing key(s) in state_dict: "weight"', '"wieght"', "size mismatch for bias"],
        ),
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
    (
        "shuffled empty dataset",
        lambda: DataLoader(TensorDataset(z(0, 2)), shuffle=True),
        ValueError,
        ["num_samples should be a positive integer value, but got num_samples=0"],
    ),
    ("shuffled empty list", lambda: DataLoader([], shuffle=True), ValueError, ["num_samples=0"]),
    (
        "batch size",
        lambda: DataLoader(TensorDataset(z(3, 2)), batch_size=0),
        ValueError,
        ["batch_size should be a positive integer value, but got batch_size=0"],
    ),
    ("no parameters", lambda: minidl.optim.SGD([], lr=0.1), ValueError, ["optimizer got an empty parameter list"]),
    (
        "not a leaf",
        lambda: minidl.optim.SGD([z(2, requires_grad=True) * 2], lr=0.1),
        ValueError,
        ["can't optimize a non-leaf Tensor"],
    ),
    (
        "learning rate",
        lambda: minidl.optim.SGD([z(2, requires_grad=True)], lr=-1),
        ValueError,
        ["Invalid learning rate: -1"],
    ),
)
def test_data_and_optimizers(call, error, phrases):
    check(call, error, phrases)


def test_an_empty_dataset_gives_no_batches():
    loader = DataLoader(TensorDataset(z(0, 2)), batch_size=4)
    assert len(loader) == 0
    assert list(loader) == []


@pytest.mark.parametrize(
    ("call", "kind", "parts"),
    [
        (lambda: z(2.5), TypeError, ["whole numbers", "2.5"]),
        (lambda: minidl.ones("3"), TypeError, ["whole numbers"]),
        (lambda: minidl.rand(2, 1.5), TypeError, ["rand", "whole numbers", "1.5"]),
        (lambda: z(4).reshape(2.0, 2.0), TypeError, ["whole numbers"]),
        (lambda: nn.Linear(2.5, 1), TypeError, ["whole numbers"]),
        (lambda: z(3).sum((0.5,)), TypeError, ["integer"]),
        (lambda: z(3).index_select(0, T([-1])), IndexError, ["index_select", "-1"]),
        (lambda: z(3).index_add(0, T([-1]), minidl.ones(1)), IndexError, ["index_add", "-1"]),
        (lambda: z(3).index_add(0, T([0]), T([1])), RuntimeError, ["float32", "int64"]),
        (lambda: z(3).masked_select(T([1, 0, 1])), RuntimeError, ["BoolTensor", "int64"]),
        (lambda: T([2.0]) - T([True]), RuntimeError, ["Subtraction", "bool"]),
        (lambda: 1 - T([True]), RuntimeError, ["Subtraction", "bool"]),
        (lambda: nn.BatchNorm1d(2, eps=0)(z(3, 2)), ValueError, ["eps", "0"]),
        (lambda: nn.init.normal_(z(2), 0, -1), RuntimeError, ["std", "-1"]),
        (lambda: nn.init.uniform_(z(2), 5, 1), RuntimeError, ["from=5", "to=1"]),
    ],
)
def test_values_that_would_be_taken_for_others(call, kind, parts):
    check(call, kind, parts)


def test_a_gradient_of_another_shape():
    p = nn.Parameter(minidl.ones(2))
    p.grad = minidl.ones(1)
    check(lambda: minidl.optim.SGD([p], lr=1.0).step(), RuntimeError, ["(2,)", "(1,)"])
    check(lambda: (p * 2).sum().backward(), RuntimeError, ["(2,)", "(1,)"])
    assert p.tolist() == [1, 1]
