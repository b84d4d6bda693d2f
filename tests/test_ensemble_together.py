"""Members evaluated together give what they give one after another, and notice what is done to them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl
from minidl import models, nn
from minidl.ensemble import MembersTogether, stack_module_state
from minidl.ensemble.joint import JOINT, MembersLinear, OneByOne
from minidl.models.googlenet import Inception
from minidl.models.resnet import BasicBlock, Bottleneck
from minidl.nn import functional as F
from minidl.ops.samples import Draw
from tests.drawing import Random
from tests.gradient_checks import check_derivatives, check_manners

quick = settings(max_examples=25, deadline=None)


def shaken(model, seed):
    """The model with other parameters and statistics, none of them 0 or 1."""
    rng = np.random.default_rng(seed)
    with minidl.no_grad():
        for p in model.parameters():
            p.copy_(p + minidl.from_numpy(rng.normal(0, 0.1, p.shape).astype(np.float32)))
        for name, b in model.named_buffers():
            if b.dtype.kind == "f":
                low, high = (0.5, 2.0) if name.endswith("running_var") else (-0.5, 0.5)
                b.copy_(minidl.from_numpy(rng.uniform(low, high, b.shape).astype(np.float32)))
    return model


def make(builder, count=3):
    members = []
    for m in range(count):
        minidl.manual_seed(m)
        members.append(shaken(builder(), m).eval())
    return members


def batch(*shape, seed=0):
    return minidl.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def assert_same(members, x, tolerance=1e-4):
    together = MembersTogether(members)
    with minidl.no_grad():
        expected = np.stack([member(x).numpy() for member in members])
        found = together(x).numpy()
    assert found.shape == expected.shape and found.dtype == expected.dtype
    assert not np.allclose(expected[0], expected[1], atol=1e-3)  # or else the test could not fail
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max(), rtol=0)
    return together


class Tied(nn.Module):
    """A layer that is used twice, one in a list, a plain attribute, and a shortcut from the input."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.again = self.first
        self.rest = nn.ModuleList([nn.LayerNorm(6), nn.PReLU(), nn.Linear(6, 4, bias=False)])
        self.scale = 2.0

    def forward(self, x):
        y = self.scale * x + self.first(F.relu(self.again(x)))
        for layer in self.rest:
            y = layer(y)
        return y


class Own(nn.Module):
    """A layer with a parameter of its own kind, inside a model."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(minidl.ones(5))
        self.inner = nn.Linear(5, 5)

    def forward(self, x):
        return self.inner(x) * self.gain


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(300, 8)
        self.mix = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.norm(self.mix(self.table(x))).mean(1))


ARCHITECTURES = {
    "lenet": (models.LeNet, (1, 28, 28)),
    "mlp": (lambda: models.MLP(12, [300, 16]), (12,)),
    "mlp with everything": (lambda: models.MLP(12, [16, 16], batch_norm=True, dropout=0.5), (12,)),
    "small_vgg": (models.SmallVGG, (3, 8, 8)),
    "small_vgg plain": (lambda: models.SmallVGG(batch_norm=False), (3, 8, 8)),
    "cifar_resnet8": (lambda: models.CifarResNet(8), (3, 16, 16)),
    "cifar plain 8": (lambda: models.CifarResNet(8, residual=False), (3, 16, 16)),
    "resnet": (lambda: models.ResNet(BasicBlock, [1, 1, 1, 1], 4), (3, 32, 32)),
    "bottleneck": (lambda: models.ResNet(Bottleneck, [1, 1, 1, 1], 4), (3, 32, 32)),
    "mobilenet_v2": (
        lambda: models.mobilenet_v2(num_classes=4, inverted_residual_setting=[[1, 8, 1, 1], [6, 8, 2, 2]]),
        (3, 32, 32),
    ),
    "inception modules": (
        lambda: nn.Sequential(Inception(4, 3, 4, 5, 2, 3, 2), nn.Flatten(), nn.Linear(13 * 36, 3)),
        (4, 6, 6),
    ),
    "tied": (Tied, (6,)),
    "own parameters": (lambda: nn.Sequential(nn.Linear(4, 5), Own(), nn.ReLU()), (4,)),
    "one linear": (lambda: nn.Linear(3, 2), (3,)),
    "sequence": (lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm([5, 4]), nn.Linear(4, 2)), (5, 3)),
    "normalisations": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 6, 3), nn.BatchNorm1d(6), nn.PReLU(6), nn.GroupNorm(2, 6), nn.BatchNorm1d(6, affine=False)
        ),
        (2, 7),
    ),
    "no bias, no estimates": (
        lambda: nn.Sequential(
            nn.Conv1d(3, 4, 1),
            nn.BatchNorm1d(4, bias=False),
            nn.BatchNorm1d(4, track_running_stats=False),
            nn.LayerNorm(6, bias=False),
        ),
        (3, 6),
    ),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose2d(2, 3, 2, stride=2), nn.LocalResponseNorm(2)), (2, 4, 4)),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_together_is_one_after_another(name):
    builder, shape = ARCHITECTURES[name]
    members = make(builder)
    together = assert_same(members, batch(4, *shape))
    for samples in (1, 17):
        x = batch(samples, *shape)
        with minidl.no_grad():
            expected = np.stack([member(x).numpy() for member in members])
            np.testing.assert_allclose(together(x).numpy(), expected, atol=1e-4 * np.abs(expected).max(), rtol=0)


def test_models_of_the_package_are_all_thought_of():
    """Those left out are as above, only larger (or tested by their modules: the Inception networks, AlexNet's layers)."""
    families = {"alexnet", "googlenet", "inception_v3", "lenet", "mlp", "mobilenet_v2", "small_vgg"}
    for name in models.list_models():
        assert name in families or name.startswith(("vgg", "resnet", "cifar_resnet")), name


def test_indices_go_through_too():
    members = make(Words)
    x = minidl.from_numpy(np.random.default_rng(0).integers(0, 300, (4, 7)))
    assert_same(members, x)


@quick
@given(
    st.integers(1, 5),
    st.integers(0, 20),
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.booleans(),
    st.data(),
)
def test_dense_networks_of_any_shape(count, samples, widths, norm, data):
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))

    def build():
        layers = []
        for i, o in zip([3, *widths], widths, strict=False):
            layers += [nn.Linear(i, o), *([nn.BatchNorm1d(o)] if norm else []), nn.Tanh()]
        return nn.Sequential(*layers).to(minidl.zeros(1).numpy().astype(dtype).dtype)

    members = make(build, count)
    together = MembersTogether(members)
    x = minidl.from_numpy(np.random.default_rng(samples).normal(size=(samples, 3)).astype(dtype))
    with minidl.no_grad():
        found = together(x).numpy()
    assert found.shape == (count, samples, widths[-1]) and found.dtype == dtype
    with minidl.no_grad():
        for m, member in enumerate(members):
            np.testing.assert_allclose(found[m], member(x).numpy(), atol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("rows", [2, 15, 16, 40])
@pytest.mark.parametrize(("inputs", "outputs"), [(5, 3), (700, 300)])  # a stack of products, or each by itself
def test_the_product_is_each_members_own(rows, inputs, outputs):
    rng = np.random.default_rng(0)
    x, w, b = (rng.normal(size=s) for s in ((3 * rows, inputs), (3, outputs, inputs), (3, outputs)))
    for bias in (None, b):
        found = MembersLinear()(*(t if t is None else minidl.from_numpy(t) for t in (x, w, bias))).numpy()
        for m in range(3):
            expected = x[m * rows : (m + 1) * rows] @ w[m].T + (0 if bias is None else b[m])
            np.testing.assert_allclose(found[m * rows : (m + 1) * rows], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(15))
def test_the_products_gradient(seed):
    check_derivatives(MembersLinear, Draw(Random(seed)))
    check_manners(MembersLinear, Draw(Random(seed)))


# -- gradients -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tied", "mlp with everything", "normalisations", "cifar_resnet8", "own parameters"])
def test_gradients_reach_every_member_and_the_input(name):
    builder, shape = ARCHITECTURES[name]
    members = make(builder)
    together = MembersTogether(members)
    kept = {}
    for way in ("one by one", "together"):
        x = batch(3, *shape).requires_grad_()
        y = together(x) if way == "together" else minidl.stack([member(x) for member in members])
        (y * batch(*y.shape, seed=1)).sum().backward()
        kept[way] = [x.grad.numpy(), *(p.grad.numpy().copy() for m in members for p in m.parameters())]
        for member in members:
            member.zero_grad()
    for a, b in zip(*kept.values(), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-4 * max(1.0, np.abs(a).max()))
    assert all(np.abs(a).max() > 0 for a in kept["together"][1:])


def test_what_is_kept_is_made_anew_when_a_member_changes():
    members = make(lambda: models.MLP(4, [5], batch_norm=True))
    together = assert_same(members, batch(2, 4))
    x = batch(6, 4)

    def same():
        with minidl.no_grad():
            return np.allclose(together(x).numpy(), np.stack([m(x).numpy() for m in members]), atol=1e-5)

    assert same()
    joint = [m for m in together._network[0].modules() if type(m) in JOINT.values()]
    with minidl.no_grad():
        assert all(layer.prepared() is layer.prepared() for layer in joint) and len(joint) == 3
    optimizer = minidl.optim.SGD(members[1].parameters(), lr=0.5)
    members[1](x).square().sum().backward()
    optimizer.step()
    assert same()
    members[2].load_state_dict(shaken(models.MLP(4, [5], batch_norm=True), 9).state_dict())
    assert same()
    for value in (1.0, 2.0):  # both are at the same version
        members[0].layers[1].weight = nn.Parameter(minidl.full((5, 4), value))
        assert same()
    members[1].train()
    members[1](batch(8, 4, seed=3))  # moves the running estimates alone
    members[1].eval()
    assert same()
    for member in members:
        member.double()
    x = x.double()
    assert same()


def test_layers_that_are_replaced_are_noticed():
    members = make(lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)))
    together = assert_same(members, batch(2, 4))
    x = batch(3, 4)
    for m in (0, 2):
        members[m][2] = shaken(nn.Linear(5, 2), 50 + m).eval()
        with minidl.no_grad():
            np.testing.assert_allclose(
                together(x).numpy(), np.stack([member(x).numpy() for member in members]), atol=1e-5
            )
    together.members.append(make(lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)), 1)[0])
    with minidl.no_grad():
        expected = np.stack([member(x).numpy() for member in together.members])
        np.testing.assert_allclose(together(x).numpy(), expected, atol=1e-5)
    assert len(expected) == 4
    members[1][2] = nn.Linear(5, 3).eval()
    with pytest.raises(
        ValueError, match=r"members 0 and 1 differ in structure: module '2' \(Linear\): parameter 'weight'"
    ):
        together(x)


def test_in_training_mode_members_run_one_after_another():
    members = make(lambda: models.MLP(4, [5], batch_norm=True), 2)
    together = MembersTogether(members)
    twins = copy.deepcopy(members)
    x = batch(8, 4)
    members[1].layers[2].train()  # one layer of one member is enough
    twins[1].layers[2].train()
    with minidl.no_grad():
        np.testing.assert_array_equal(together(x).numpy(), np.stack([m(x).numpy() for m in twins]))
    ours, theirs = (m[1].state_dict() for m in (members, twins))
    assert int(ours["layers.2.num_batches_tracked"].item()) == 1
    np.testing.assert_array_equal(ours["layers.2.running_mean"].numpy(), theirs["layers.2.running_mean"].numpy())
    together.train()
    assert all(m.training for member in members for m in member.modules())


@pytest.mark.parametrize(
    "path", ["0.0", "0.1", "0", "1", ""]
)  # a layer with parameters, one without, what holds others
def test_hooks_see_one_members_samples(path):
    members = make(lambda: nn.Sequential(nn.Sequential(nn.Linear(4, 5), nn.ReLU()), nn.Linear(5, 2)))
    together = assert_same(members, batch(2, 4))
    seen = []
    module = members[1].get_submodule(path)
    handle = module.register_forward_hook(lambda module, args, output: seen.append((module, len(args[0]), len(output))))
    x = batch(3, 4)
    with minidl.no_grad():
        expected = np.stack([member(x).numpy() for member in members])
        seen.clear()
        np.testing.assert_allclose(together(x).numpy(), expected, atol=1e-5)
    assert seen == [(module, 3, 3)]
    handle.remove()
    together(x)
    assert len(seen) == 1
    assert together.pays(x) is False  # gradients would be recorded
    with minidl.no_grad():
        assert together.pays(x) is True


def test_the_members_stay_who_they_are():
    members = make(lambda: models.MLP(4, [5], batch_norm=True))
    before = [{name: id(p) for name, p in m.named_parameters()} for m in members]
    together = MembersTogether(members)
    together(batch(2, 4))
    assert [{name: id(p) for name, p in m.named_parameters()} for m in members] == before
    assert len(list(together.parameters())) == 3 * len(list(members[0].parameters()))
    assert {name.split(".")[0] for name in together.state_dict()} == {"members"}
    other = copy.deepcopy(together)
    with minidl.no_grad():
        np.testing.assert_array_equal(other(batch(2, 4)).numpy(), together(batch(2, 4)).numpy())
        other.members[0].layers[1].weight.zero_()
        assert not np.allclose(other(batch(2, 4)).numpy(), together(batch(2, 4)).numpy())


def test_when_it_pays():
    dense, conv = make(lambda: models.MLP(784, [512, 512]), 2), make(models.LeNet, 2)
    with minidl.no_grad():
        assert MembersTogether(dense).pays(batch(15, 784))
        assert not MembersTogether(dense).pays(batch(16, 784))
        assert MembersTogether(make(lambda: models.MLP(20, [30]), 2)).pays(batch(500, 20))
        assert not MembersTogether(dense[:1]).pays(batch(1, 784))
        assert not MembersTogether(conv).pays(batch(1, 1, 28, 28))


# -- structure -----------------------------------------------------------------------------------------------------


class Setting(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        return self.layer(x)


DIFFERENT = {
    "class": (nn.Linear(2, 2), nn.Conv1d(2, 2, 1), "the model is a Linear in one and a Conv1d in the other"),
    "shape": (nn.Linear(2, 2), nn.Linear(2, 3), r"parameter 'weight' is \(\(2, 2\), 'float32', .*and \(\(3, 2\)"),
    "dtype": (nn.Linear(2, 2), nn.Linear(2, 2).double(), "'float32'.*'float64'"),
    "bias": (nn.Linear(2, 2), nn.Linear(2, 2, bias=False), "only one has a parameter 'bias'"),
    "buffers": (
        nn.BatchNorm1d(2),
        nn.BatchNorm1d(2, track_running_stats=False),
        "only one has a buffer 'running_mean'",
    ),
    "setting": (nn.BatchNorm1d(2), nn.BatchNorm1d(2, eps=0.1), "attribute 'eps' is 1e-05 in one and 0.1 in the other"),
    "more": (
        nn.Sequential(nn.ReLU()),
        nn.Sequential(nn.ReLU(), nn.Tanh()),
        r"only one of them has module '1' \(Tanh\)",
    ),
    "less": (
        nn.Sequential(nn.ReLU(), nn.Tanh()),
        nn.Sequential(nn.ReLU()),
        r"only one of them has module '1' \(Tanh\)",
    ),
    "activation": (nn.Sequential(nn.ReLU()), nn.Sequential(nn.Tanh()), "module '0' is a ReLU in one and a Tanh"),
    "flag": (
        models.CifarResNet(8),
        models.CifarResNet(8, residual=False),
        "attribute 'residual' is True in one and False",
    ),
    "kind": (Setting(1), Setting(True), "attribute 'value' is 1 in one and True in the other"),
    "list": (Setting([1, (2, 3)]), Setting([1, (2, 4)]), "attribute 'value'"),
    "longer list": (Setting([1, 2]), Setting([1, 2, 3]), "attribute 'value'"),
    "dict": (Setting({"a": 1}), Setting({"a": 2}), "attribute 'value'"),
    "array": (Setting(np.arange(3)), Setting(np.arange(4)), "attribute 'value'"),
    "tensor": (Setting(minidl.ones(2)), Setting(minidl.zeros(2)), "attribute 'value'"),
    "function": (Setting(F.relu), Setting(F.relu6), "attribute 'value'"),
    "lambda": (Setting(lambda x: x), Setting(lambda x: x), "attribute 'value'"),
    "hidden modules": (Setting([nn.ReLU()]), Setting([nn.ReLU()]), "attribute 'value'"),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_members_of_different_structure_are_refused(name):
    first, second, message = DIFFERENT[name]
    for function in (MembersTogether, stack_module_state):
        with pytest.raises(ValueError, match=f"members 0 and 1 differ in structure: .*{message}"):
            function([first, second])


@pytest.mark.parametrize(
    "value",
    [1000, 1.5, "abc", (1000, [2000.0]), {"a": (1000, np.arange(3))}, F.relu, None, np.arange(2000), minidl.ones(2)],
)
def test_equal_settings_are_equal_though_they_are_other_objects(value):
    other = copy.deepcopy(value)
    MembersTogether([Setting(value), Setting(other)])
    first, second = Setting(1), Setting(1)
    first.extra = value
    with pytest.raises(ValueError, match="attribute 'extra'"):
        MembersTogether([first, second])


def test_a_shared_layer_must_be_shared_in_all():
    one = nn.Linear(2, 2)
    shared, apart = nn.Sequential(one, one), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    for pair in ((shared, apart), (apart, shared)):
        with pytest.raises(ValueError, match="module '1' is the same as '0' in only one of them"):
            MembersTogether(pair)


def test_bad_members_are_refused():
    with pytest.raises(ValueError, match="at least one member"):
        MembersTogether([])
    with pytest.raises(TypeError, match="members should be nn.Modules, got int as number 1"):
        MembersTogether([nn.ReLU(), 3])

    class Two(nn.Module):
        def forward(self, x):
            return x, x

    class Summed(nn.Module):
        def forward(self, x):
            return x.sum(0)

    with pytest.raises(TypeError, match="a member should return one Tensor, got tuple"):
        MembersTogether([Two().eval()] * 2)(batch(2, 3))
    with pytest.raises(ValueError, match=r"for 2 members and 2 samples the network returned shape \(3,\)"):
        MembersTogether([Summed().eval()] * 2)(batch(2, 3))


def test_stacked_state():
    members = make(lambda: models.MLP(4, [5], batch_norm=True))
    members[0].layers[4].weight.requires_grad_(False)
    params, buffers = stack_module_state(members)
    assert list(params) == [name for name, _ in members[0].named_parameters()]
    assert list(buffers) == [name for name, _ in members[0].named_buffers()]
    for m, member in enumerate(members):
        for name, p in member.named_parameters():
            np.testing.assert_array_equal(
                params[name].numpy()[m] if not params[name].requires_grad else params[name].detach().numpy()[m],
                p.detach().numpy(),
            )
        for name, b in member.named_buffers():
            np.testing.assert_array_equal(buffers[name].numpy()[m], b.numpy())
    assert params["layers.1.weight"].requires_grad and params["layers.1.weight"].is_leaf
    assert not params["layers.4.weight"].requires_grad
    assert not np.shares_memory(params["layers.1.weight"].array, members[0].layers[1].weight.array)


def test_one_by_one_is_a_twin_for_every_joint_layer():
    layers = {nn.Linear: (4, 3), nn.BatchNorm1d: (4,), nn.BatchNorm2d: (4,), nn.LayerNorm: (4,), nn.PReLU: (4,)}
    assert layers.keys() == JOINT.keys()
    for kind, arguments in layers.items():
        members = make(lambda kind=kind, arguments=arguments: kind(*arguments))
        x = batch(6, 4, 5, 5) if kind is nn.BatchNorm2d else batch(6, 4)
        with minidl.no_grad():
            np.testing.assert_allclose(JOINT[kind](members)(x).numpy(), OneByOne(members)(x).numpy(), atol=1e-5)
    with pytest.raises(ValueError, match="expected 4D input"):
        JOINT[nn.BatchNorm2d](make(lambda: nn.BatchNorm2d(4)))(batch(6, 4))
