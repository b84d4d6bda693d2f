"""Module: registration, walks, state dicts, modes, hooks, printing, the place of a running module, and the summary."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import nn, place
from minidl.nn.utils import parameters_to_vector


class Block(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.fc = nn.Linear(width, width)
        self.bn = nn.BatchNorm1d(width)

    def forward(self, x: Any) -> Any:
        return self.bn(self.fc(x)).relu() + x


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), Block())
        self.dropout = nn.Dropout()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        return self.fc(self.dropout(self.features(x)))


PARAMETERS = [
    "features.0.weight",
    "features.0.bias",
    "features.2.fc.weight",
    "features.2.fc.bias",
    "features.2.bn.weight",
    "features.2.bn.bias",
    "fc.weight",
    "fc.bias",
]


# -- registration ------------------------------------------------------------------------------------------------------


def test_names_of_parameters_buffers_and_modules() -> None:
    net = Net()
    assert [name for name, _ in net.named_parameters()] == PARAMETERS
    assert [name for name, _ in net.named_parameters(recurse=False)] == []
    assert [name for name, _ in net.fc.named_parameters(prefix="head")] == ["head.weight", "head.bias"]
    assert [name for name, _ in net.named_buffers()] == [
        "features.2.bn.running_mean",
        "features.2.bn.running_var",
        "features.2.bn.num_batches_tracked",
    ]
    assert [name for name, _ in net.named_modules()] == [
        "", "features", "features.0", "features.1", "features.2", "features.2.fc", "features.2.bn", "dropout", "fc",
    ]  # fmt: skip
    assert [name for name, _ in net.named_children()] == ["features", "dropout", "fc"]
    assert list(net.children()) == [net.features, net.dropout, net.fc]


def test_shared_modules_and_parameters_are_given_once_but_saved_under_each_path() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    net[2].weight = net[0].weight
    net.append(net[0])
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias", "2.bias"]
    assert [name for name, _ in net.named_parameters(remove_duplicate=False)] == [
        "0.weight", "0.bias", "2.weight", "2.bias", "3.weight", "3.bias",
    ]  # fmt: skip
    assert len(list(net.modules())) == 4
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias", "3.weight", "3.bias"]
    again = copy.deepcopy(net)
    assert again[2].weight is again[0].weight and again[3] is again[0]
    assert again[0].weight is not net[0].weight


def test_an_attribute_has_one_home() -> None:
    m = nn.Module()
    m.x = 1
    m.x = nn.Parameter(minidl.zeros(2))
    assert "x" not in m.__dict__ and list(m._parameters) == ["x"]
    m.x = nn.Linear(1, 1)
    assert list(m._modules) == ["x"] and not m._parameters
    m.x = None
    assert m.x is None and list(m._modules) == ["x"] and not list(m.children())
    del m.x
    assert not hasattr(m, "x")
    m.register_buffer("b", minidl.zeros(2), persistent=False)
    m.b = nn.Parameter(minidl.ones(2))
    assert list(m.state_dict()) == ["b"]


def test_registration_errors() -> None:
    class Early(nn.Module):
        def __init__(self) -> None:
            self.fc = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"cannot assign modules? before Module\.__init__\(\) call"):
        Early()
    m = nn.Linear(2, 2)
    with pytest.raises(TypeError, match="cannot assign 'Tensor' as parameter 'weight'"):
        m.weight = minidl.zeros(2, 2)
    with pytest.raises(TypeError, match="cannot assign 'int' as child module 'child'"):
        m.child = nn.ReLU()
        m.child = 3
    with pytest.raises(TypeError, match="cannot assign 'Tensor' object to parameter 'p'"):
        m.register_parameter("p", minidl.zeros(1))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cannot assign 'ndarray' object to buffer 'b'"):
        m.register_buffer("b", np.zeros(1))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="int is not a Module subclass"):
        m.add_module("m", 3)  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="attribute 'forward' already exists"):
        m.add_module("forward", nn.ReLU())
    with pytest.raises(KeyError, match=r"name can.*contain"):
        m.register_buffer("a.b", None)
    with pytest.raises(KeyError, match="be empty string"):
        m.register_parameter("", None)
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'wieght'"):
        _ = m.wieght
    with pytest.raises(NotImplementedError, match=r'Module \[Module\] is missing the required "forward" function'):
        nn.Module()(1)


def test_get_submodule_parameter_and_buffer() -> None:
    net = Net()
    assert net.get_submodule("") is net
    assert net.get_submodule("features.2.bn") is net.features[2].bn
    assert net.get_parameter("features.0.weight") is net.features[0].weight
    assert net.get_buffer("features.2.bn.running_var") is net.features[2].bn.running_var
    with pytest.raises(AttributeError, match="Block has no attribute `conv`"):
        net.get_submodule("features.2.conv")
    with pytest.raises(AttributeError, match=r"is not an nn\.Module"):
        net.get_submodule("fc.weight")
    with pytest.raises(AttributeError, match=r"is not an nn\.Parameter"):
        net.get_parameter("features.2.bn.running_var")
    with pytest.raises(AttributeError, match="is not a buffer"):
        net.get_buffer("fc.weight")


def test_parameter() -> None:
    t = minidl.tensor([1.0, 2.0])
    p = nn.Parameter(t)
    assert isinstance(p, minidl.Tensor) and p.requires_grad and p.is_leaf and p.array is t.array
    assert type(p * 2) is minidl.Tensor
    assert not nn.Parameter(t, requires_grad=False).requires_grad
    assert repr(p) == "Parameter containing:\ntensor([1., 2.], requires_grad=True)"
    for other in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert type(other) is nn.Parameter and other.requires_grad
        assert other.tolist() == [1.0, 2.0] and not np.shares_memory(other.array, p.array)


# -- state dicts -------------------------------------------------------------------------------------------------------


def test_state_dict_shares_memory_and_is_detached() -> None:
    net = Net()
    state = net.state_dict()
    assert list(state)[4:7] == ["features.2.bn.weight", "features.2.bn.bias", "features.2.bn.running_mean"]
    assert state["fc.bias"].array is net.fc.bias.array
    assert not state["fc.bias"].requires_grad and type(state["fc.bias"]) is minidl.Tensor
    assert list(net.fc.state_dict(prefix="head.")) == ["head.weight", "head.bias"]
    assert net.state_dict(keep_vars=True)["fc.bias"] is net.fc.bias


def test_non_persistent_buffers_are_not_saved() -> None:
    m = nn.Module()
    m.register_buffer("kept", minidl.zeros(2))
    m.register_buffer("passing", minidl.zeros(2), persistent=False)
    assert list(m.state_dict()) == ["kept"]
    assert [name for name, _ in m.named_buffers()] == ["kept", "passing"]


@pytest.mark.parametrize("as_numpy", [False, True])
def test_load_state_dict_copies_and_keeps_identity(as_numpy: bool) -> None:
    source, target = Net(), Net()
    state: dict[str, Any] = source.state_dict()
    if as_numpy:
        state = {name: t.numpy().astype(np.float64) for name, t in state.items()}
    before = dict(target.named_parameters())
    result = target.load_state_dict(state)
    assert str(result) == "<All keys matched successfully>" and result == ([], [])
    for name, p in target.named_parameters():
        assert p is before[name] and p.requires_grad and p.dtype == np.float32
        assert not np.shares_memory(p.array, source.get_parameter(name).array)
        np.testing.assert_array_equal(p.array, source.get_parameter(name).array)


def test_load_state_dict_tells_everything_that_is_wrong_and_changes_nothing() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 3)
            self.out = nn.Linear(3, 1)

    net = Net()
    before = parameters_to_vector(net.parameters()).tolist()
    state = {name: minidl.full(t.shape, 7.0) for name, t in net.state_dict().items()}
    del state["fc.weight"], state["out.bias"]
    state["fc.bias"] = minidl.zeros(5)
    state["fc.extra"] = minidl.zeros(1)
    with pytest.raises(RuntimeError) as error:
        net.load_state_dict(state)
    assert str(error.value) == (
        "Error(s) in loading state_dict for Net:\n"
        '\tMissing key(s) in state_dict: "fc.weight", "out.bias". \n'
        '\tUnexpected key(s) in state_dict: "fc.extra". \n'
        "\tsize mismatch for fc.bias: copying a param with shape (5,) from checkpoint, "
        "the shape in current model is (3,)."
    )
    with pytest.raises(RuntimeError, match=r"size mismatch for fc\.bias"):
        net.load_state_dict(state, strict=False)
    assert parameters_to_vector(net.parameters()).tolist() == before

    del state["fc.bias"]
    result = net.load_state_dict(state, strict=False)
    assert result.missing_keys == ["fc.weight", "fc.bias", "out.bias"]
    assert result.unexpected_keys == ["fc.extra"]
    assert net.out.weight.tolist() == [[7.0, 7.0, 7.0]]
    with pytest.raises(TypeError, match="Expected state_dict to be dict-like"):
        net.load_state_dict([1])  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match=r'parameter named "fc\.bias", expected a Tensor or a NumPy array'):
        net.load_state_dict({"fc.bias": [1.0, 2.0, 3.0]}, strict=False)


def test_a_layer_without_bias_does_not_expect_one() -> None:
    m = nn.Linear(2, 2, bias=False)
    assert list(m.state_dict()) == ["weight"] and m.bias is None
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "bias"'):
        m.load_state_dict(nn.Linear(2, 2).state_dict())


def test_old_files_without_the_batch_counter_load() -> None:
    m = nn.BatchNorm1d(2)
    m(minidl.randn(4, 2))
    state = nn.BatchNorm1d(2).state_dict()
    del state["num_batches_tracked"]
    assert m.load_state_dict(state) == ([], [])
    assert m.num_batches_tracked.item() == 1 and m.running_mean.tolist() == [0.0, 0.0]


def test_load_state_dict_assign_takes_the_given_tensors() -> None:
    m = nn.Linear(2, 2).requires_grad_(False)
    m.register_buffer("b", minidl.zeros(2))
    state = {name: t.double() for name, t in m.state_dict().items()}
    m.load_state_dict(state, assign=True)
    assert m.weight.dtype == np.float64 and m.weight.array is state["weight"].array
    assert isinstance(m.weight, nn.Parameter) and not m.weight.requires_grad
    assert m.b.array is state["b"].array and list(m._buffers) == ["b"]


# -- modes and conversion ----------------------------------------------------------------------------------------------


def test_train_eval_apply_requires_grad_zero_grad() -> None:
    net = Net()
    assert net.eval() is net and not any(m.training for m in net.modules())
    assert net.train() is net and all(m.training for m in net.modules())
    with pytest.raises(ValueError, match="training mode is expected to be boolean"):
        net.train("yes")  # type: ignore[arg-type]
    order: list[str] = []
    assert net.apply(lambda m: order.append(type(m).__name__)) is net
    assert order == ["Linear", "ReLU", "Linear", "BatchNorm1d", "Block", "Sequential", "Dropout", "Linear", "Net"]

    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    net.fc.requires_grad_(True)
    net(minidl.randn(5, 3)).sum().backward()
    assert net.fc.weight.grad is not None and net.features[0].weight.grad is None
    net.zero_grad(set_to_none=False)
    assert net.fc.bias.grad.tolist() == [0.0, 0.0]
    net.zero_grad()
    assert net.fc.bias.grad is None


def test_to_converts_floats_in_place() -> None:
    net = Block()
    weight, counter = net.fc.weight, net.bn.num_batches_tracked
    net(minidl.randn(3, 4)).sum().backward()
    assert net.double() is net
    assert net.fc.weight is weight and weight.dtype == np.float64 and weight.requires_grad
    assert weight.grad.dtype == np.float64
    assert net.bn.running_mean.dtype == np.float64
    assert net.bn.num_batches_tracked.dtype == np.int64 and counter.dtype == np.int64
    assert net(minidl.randn(3, 4, dtype=minidl.float64)).dtype == np.float64
    assert net.float().fc.weight.dtype == np.float32
    assert net.to(minidl.float64).fc.bias.dtype == np.float64
    assert net.to(minidl.zeros(1)).fc.bias.dtype == np.float32
    assert net.to("cpu", dtype=minidl.float64).cpu().fc.bias.dtype == np.float64
    with pytest.raises(TypeError, match=r"only accepts floating point dtypes, but got desired dtype=int64"):
        net.to(minidl.int64)
    with pytest.raises(TypeError, match="unexpected keyword argument 'devcie'"):
        net.to(devcie="cpu")


def test_deepcopy_and_pickle_are_independent() -> None:
    net = Net().eval()
    x = minidl.randn(2, 3)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(other(x).detach().numpy(), net(x).detach().numpy())
        other.fc.bias.detach().fill_(9.0)
        assert net.fc.bias.tolist() != other.fc.bias.tolist()
        assert not other.training


# -- hooks -------------------------------------------------------------------------------------------------------------


def test_forward_hooks_see_change_and_go() -> None:
    m = nn.Linear(2, 2)
    x = minidl.ones(1, 2)
    plain = m(x).tolist()
    seen: list[Any] = []
    pre = m.register_forward_pre_hook(lambda module, args: seen.append(("pre", module, args)))
    post = m.register_forward_hook(lambda module, args, output: seen.append(("post", module, args, output)))
    y = m(x)
    assert [entry[0] for entry in seen] == ["pre", "post"]
    assert seen[0][1] is m and seen[0][2][0] is x and seen[1][3] is y
    pre.remove()
    post.remove()
    post.remove()
    m(x)
    assert len(seen) == 2

    with m.register_forward_pre_hook(lambda module, args: args[0] * 0):
        assert m(x).tolist() == [m.bias.tolist()]
    with m.register_forward_hook(lambda module, args, output: output + 1):
        np.testing.assert_array_equal(m(x).tolist(), (np.float32(plain) + 1).tolist())
    assert m(x).tolist() == plain


def test_full_backward_hook_sees_this_module_only() -> None:
    m = nn.Linear(2, 3)
    x = minidl.randn(4, 2, requires_grad=True)
    seen: list[Any] = []
    m.register_full_backward_hook(lambda module, gi, go: seen.append((module, gi, go)))
    (m(x).sum() + (x * 100).sum()).backward()
    (module, grad_input, grad_output) = seen[0]
    assert len(seen) == 1 and module is m
    assert grad_output[0].tolist() == [[1.0] * 3] * 4
    expected = np.ones((4, 3), np.float32) @ m.weight.detach().numpy()
    np.testing.assert_allclose(grad_input[0].numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(x.grad.numpy(), expected + 100, rtol=1e-6)


def test_full_backward_hook_replaces_gradients_of_several_inputs() -> None:
    class Product(nn.Module):
        def forward(self, a: Any, b: Any, c: float) -> Any:
            return a * b * c

    m = Product()
    m.register_full_backward_hook(lambda module, gi, go: (gi[0] * 2, gi[1] * 3, gi[2]))
    a, b = minidl.tensor([2.0], requires_grad=True), minidl.tensor([5.0], requires_grad=True)
    m(a, b, 10.0).backward()
    assert a.grad.tolist() == [100.0] and b.grad.tolist() == [60.0]


def test_full_backward_hook_of_a_first_layer_is_called_without_input_gradient() -> None:
    m = nn.Linear(2, 1)
    seen: list[Any] = []
    m.register_full_backward_hook(lambda module, gi, go: seen.append((gi, go)))
    m(minidl.ones(1, 2)).sum().backward()
    assert [(gi, go[0].tolist()) for gi, go in seen] == [((None,), [[1.0]])]
    assert m.weight.grad.tolist() == [[1.0, 1.0]]
    with minidl.no_grad():
        m(minidl.ones(1, 2))
    assert len(seen) == 1


# -- printing ----------------------------------------------------------------------------------------------------------


def test_repr_nests() -> None:
    assert repr(Net()) == (
        "Net(\n"
        "  (features): Sequential(\n"
        "    (0): Linear(in_features=3, out_features=4, bias=True)\n"
        "    (1): ReLU()\n"
        "    (2): Block(\n"
        "      (fc): Linear(in_features=4, out_features=4, bias=True)\n"
        "      (bn): BatchNorm1d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)\n"
        "    )\n"
        "  )\n"
        "  (dropout): Dropout(p=0.5, inplace=False)\n"
        "  (fc): Linear(in_features=4, out_features=2, bias=True)\n"
        ")"
    )


# -- containers --------------------------------------------------------------------------------------------------------


def test_sequential_indexing_slicing_and_surgery() -> None:
    a, b, c = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
    net = nn.Sequential(a, b, c)
    assert len(net) == 3 and net[0] is a and net[-1] is c and list(net) == [a, b, c]
    assert isinstance(net[1:], nn.Sequential) and list(net[1:].state_dict()) == ["2.weight", "2.bias"]
    assert net(minidl.ones(5, 2)).shape == (5, 1)
    with pytest.raises(IndexError, match="index 3 is out of range"):
        net[3]
    net[2] = nn.Identity()
    assert net(minidl.ones(5, 2)).shape == (5, 3)
    del net[1]
    assert [name for name, _ in net.named_children()] == ["0", "1"]
    net.insert(1, b).append(c).extend([nn.Flatten()])
    assert [type(m).__name__ for m in net] == ["Linear", "ReLU", "Identity", "Linear", "Flatten"]
    assert isinstance(net.pop(), nn.Flatten) and len(net) == 4
    with pytest.raises(TypeError, match="is not a Module subclass"):
        nn.Sequential(3)


def test_sequential_of_names() -> None:
    net = nn.Sequential(OrderedDict(first=nn.Linear(2, 2), act=nn.ReLU(), last=nn.Linear(2, 1)))
    assert [name for name, _ in net.named_parameters()] == ["first.weight", "first.bias", "last.weight", "last.bias"]
    assert net.last is net[2]
    del net[1]
    assert [name for name, _ in net.named_children()] == ["first", "last"]


def test_module_list_and_dict_register() -> None:
    layers = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
    layers.append(nn.ReLU())
    assert [name for name, _ in layers.named_parameters()][:2] == ["0.weight", "0.bias"]
    assert repr(layers) == (
        "ModuleList(\n  (0-2): 3 x Linear(in_features=2, out_features=2, bias=True)\n  (3): ReLU()\n)"
    )
    assert [name for name, _ in layers[1:3].named_children()] == ["0", "1"] and layers[1:3][0] is layers[1]

    named = nn.ModuleDict({"a": nn.Linear(1, 1)})
    named["b"] = nn.ReLU()
    named.update([("c", nn.Tanh())])
    assert list(named) == list(named.keys()) == ["a", "b", "c"] and "b" in named and len(named) == 3
    assert isinstance(named.pop("c"), nn.Tanh) and list(dict(named.items())) == ["a", "b"]
    assert list(named.state_dict()) == ["a.weight", "a.bias"]
    del named["a"]
    named.clear()
    assert not list(named.values())


def test_parameter_list() -> None:
    row = nn.ParameterList([minidl.zeros(2), nn.Parameter(minidl.ones(3))])
    row.append(minidl.ones(()))
    assert list(row.state_dict()) == ["0", "1", "2"] and all(isinstance(p, nn.Parameter) for p in row)
    row[-1] = minidl.zeros(4)
    assert row[2].shape == (4,) and len(row) == 3
    with pytest.raises(IndexError):
        row[3]
    assert isinstance(row[1:], nn.ParameterList) and row[1:][0] is row[1]


# -- the place of a running module -------------------------------------------------------------------------------------


class Where(nn.Module):
    """Notes where it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = ""

    def forward(self, x: Any) -> Any:
        self.seen = place.current_place()
        return x


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.ReLU(), Where())
        self.blocks = nn.ModuleList([Where(), nn.Sequential(Where())])
        self.plain = [Where()]

    def forward(self, x: Any) -> Any:
        x = self.blocks[1][0](self.blocks[0](self.features(x)))
        return self.plain[0](x)


def test_current_place() -> None:
    net = Outer()
    net(minidl.zeros(1))
    assert net.features[1].seen == "Outer.features.1"
    assert net.blocks[0].seen == "Outer.blocks.0"
    assert net.blocks[1][0].seen == "Outer.blocks.1.0"  # reached through containers that were not called
    assert net.plain[0].seen == "Outer.Where"
    assert place.current_place() == ""


def test_errors_name_the_module_and_leave_no_trace() -> None:
    net = Net()
    with pytest.raises(Exception, match=r"in Net\.features\.0"):
        net(minidl.zeros(2, 5))
    assert place.current_place() == ""


# -- summary -----------------------------------------------------------------------------------------------------------


def test_summary_counts_and_shapes() -> None:
    net = Net()
    net.fc.requires_grad_(False)
    report = nn.summary(net, (7, 3))
    rows = {row.path: row for row in report.layers}
    assert list(rows) == [name or "Net" for name, _ in net.named_modules()]
    assert rows["features.0"].output_shape == (7, 4) and rows["features.0"].parameters == 16
    assert rows["features.2.bn"].type == "BatchNorm1d" and rows["features.2.bn"].parameters == 8
    assert rows["Net"].output_shape == (7, 2) and rows["Net"].parameters == 0
    assert report.total_parameters == 16 + 20 + 8 + 10 == sum(row.parameters for row in report.layers)
    assert report.trainable_parameters == 44
    assert report.parameter_bytes == 4 * 54 + 4 * 8 + 8
    assert report.activation_bytes == 4 * 7 * (4 + 4 + 4 + 4 + 4 + 2)
    lines = str(report).splitlines()
    assert lines[0].split() == ["Layer", "Type", "Output", "shape", "Parameters"]
    assert lines[4].split() == ["features.0", "Linear", "7×4", "16"]
    assert lines[-2] == "Parameters: 54 (trainable 44, frozen 10)"


def test_summary_leaves_the_model_as_it_was() -> None:
    class Rude(nn.Module):
        """Draws numbers and changes a buffer whatever the mode."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", minidl.zeros(()))
            self.unused = nn.Linear(1, 1)

        def forward(self, x: Any, y: Any) -> Any:
            self.calls.add_(1)
            return {"sum": x + y + minidl.rand(1), "y": y}

    net = Rude()
    net.unused.eval()
    state = minidl.get_rng_state().tolist()
    report = nn.summary(net, [(2, 3), (3,)])
    assert minidl.get_rng_state().tolist() == state
    assert net.calls.item() == 0 and net.training and not net.unused.training
    assert not net._forward_hooks and not net.unused._forward_hooks
    assert report.layers[0].output_shape == [(2, 3), (3,)] and report.layers[1].output_shape is None
    assert "not called" in str(report)

    norm = Block()
    nn.summary(norm, (2, 4))
    assert norm.bn.num_batches_tracked.item() == 0 and norm.bn.running_mean.tolist() == [0.0] * 4

    with pytest.raises(Exception, match=r"in Block\.fc"):
        nn.summary(norm, (2, 5))
    assert not norm._forward_hooks and norm.training


def test_summary_of_an_integer_input() -> None:
    report = nn.summary(nn.Embedding(10, 3), (2, 5), dtype=minidl.int64)
    assert report.layers[0].output_shape == (2, 5, 3)


def test_a_layer_finds_what_its_class_computes_before_its_own_parameters() -> None:
    class Unbiased(nn.Linear):
        @property
        def bias(self) -> Any:
            return None

    layer = nn.Linear(2, 3)
    unbiased = Unbiased.__new__(Unbiased)
    unbiased.__dict__.update(layer.__dict__)
    x = minidl.ones(1, 2)
    assert minidl.equal(unbiased(x), nn.functional.linear(x, layer.weight))
    assert minidl.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
    del layer.bias
    layer.bias = minidl.ones(3)  # an attribute like any other, as there is no such parameter any more
    assert minidl.equal(layer(x), nn.functional.linear(x, layer.weight, minidl.ones(3)))
