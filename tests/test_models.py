"""Networks with names: that they are the published ones (counts, names, shapes, numbers), and how weights get into them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import models, nn
from minidl.io.download import DownloadError
from minidl.io.weights import load_weights
from minidl.models import registry
from tests import torch_files

DRAWING = ("uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_")


@pytest.fixture
def undrawn(monkeypatch):
    """Models are built in no time: their numbers are not drawn (a VGG has 130 million)."""
    for name in DRAWING:
        monkeypatch.setattr(nn.init, name, lambda tensor, *_, **__: tensor)


@pytest.fixture
def quickly_drawn(monkeypatch):
    """The numbers of a layer are a few in turn, of about the size that He's initialisation has."""
    few = np.random.default_rng(0).standard_normal(9973).astype(np.float32)

    def fill(tensor, *_, **__):
        fan = math.prod(tensor.shape[1:]) if tensor.ndim > 1 else 100
        tensor.array[...] = np.resize(few * np.float32(math.sqrt(2 / fan)), tensor.shape)
        return tensor

    for name in DRAWING:
        monkeypatch.setattr(nn.init, name, fill)


def pictures(*shape: int, seed: int = 0) -> minidl.Tensor:
    return minidl.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def count(model: nn.Module) -> int:
    return sum(math.prod(p.shape) for p in model.parameters())


# -- counts, names and shapes ------------------------------------------------------------------------------------------

COUNTS = {
    "alexnet": 61_100_840, "vgg11": 132_863_336, "vgg11_bn": 132_868_840, "vgg13": 133_047_848, "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544, "vgg16_bn": 138_365_992, "vgg19": 143_667_240, "vgg19_bn": 143_678_248, "googlenet": 13_004_888,
    "inception_v3": 27_161_264, "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032,
    "resnet101": 44_549_160, "resnet152": 60_192_808, "mobilenet_v2": 3_504_872, "cifar_resnet20": 269_722,
    "cifar_resnet32": 464_154, "cifar_resnet44": 658_586, "cifar_resnet56": 853_018, "cifar_resnet110": 1_727_962,
    "lenet": 61_706, "mlp": 669_706, "small_vgg": 1_149_770,
}  # fmt: skip


def test_every_model_is_counted():
    assert sorted(COUNTS) == models.list_models()
    assert all(getattr(models, name) is registry._builders[name] for name in COUNTS)


@pytest.mark.parametrize("name", COUNTS)
def test_numbers_of_parameters(undrawn, name):
    assert count(models.get_model(name)) == COUNTS[name]


def test_without_heads(undrawn):
    assert count(models.googlenet(aux_logits=False)) == 6_624_904
    assert count(models.inception_v3(aux_logits=False)) == 23_834_568


SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "alexnet": {
        "features.0.weight": (64, 3, 11, 11), "features.3.weight": (192, 64, 5, 5), "features.10.bias": (256,),
        "classifier.1.weight": (4096, 9216), "classifier.4.weight": (4096, 4096), "classifier.6.bias": (1000,),
    },
    "vgg16": {
        "features.0.weight": (64, 3, 3, 3), "features.28.weight": (512, 512, 3, 3), "classifier.0.weight": (4096, 25088),
        "classifier.3.weight": (4096, 4096), "classifier.6.weight": (1000, 4096),
    },
    "vgg11_bn": {"features.1.running_mean": (64,), "features.25.weight": (512, 512, 3, 3), "features.26.running_var": (512,)},
    "resnet18": {
        "conv1.weight": (64, 3, 7, 7), "bn1.num_batches_tracked": (), "layer1.0.conv1.weight": (64, 64, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1), "layer2.0.downsample.1.running_var": (128,), "fc.weight": (1000, 512),
    },
    "resnet50": {
        "layer1.0.downsample.0.weight": (256, 64, 1, 1), "layer1.0.conv1.weight": (64, 64, 1, 1),
        "layer1.1.conv1.weight": (64, 256, 1, 1), "layer3.5.bn2.bias": (256,), "layer4.0.downsample.0.weight": (2048, 1024, 1, 1),
        "layer4.2.conv3.weight": (2048, 512, 1, 1), "layer4.2.bn3.weight": (2048,), "fc.weight": (1000, 2048),
    },
    "mobilenet_v2": {
        "features.0.0.weight": (32, 3, 3, 3), "features.0.1.bias": (32,), "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1), "features.1.conv.2.running_mean": (16,),
        "features.2.conv.0.0.weight": (96, 16, 1, 1), "features.2.conv.1.0.weight": (96, 1, 3, 3),
        "features.2.conv.2.weight": (24, 96, 1, 1), "features.17.conv.3.running_var": (320,),
        "features.18.0.weight": (1280, 320, 1, 1), "features.18.1.running_mean": (1280,), "classifier.1.weight": (1000, 1280),
    },
    "googlenet": {
        "conv1.conv.weight": (64, 3, 7, 7), "conv3.bn.running_mean": (192,), "inception3a.branch1.conv.weight": (64, 192, 1, 1),
        "inception3a.branch2.0.conv.weight": (96, 192, 1, 1), "inception3a.branch2.1.conv.weight": (128, 96, 3, 3),
        "inception3a.branch3.1.conv.weight": (32, 16, 3, 3), "inception3a.branch4.1.conv.weight": (32, 192, 1, 1),
        "inception5b.branch2.1.bn.weight": (384,), "aux1.conv.conv.weight": (128, 512, 1, 1), "aux1.fc1.weight": (1024, 2048),
        "aux2.conv.conv.weight": (128, 528, 1, 1), "aux2.fc2.weight": (1000, 1024), "fc.weight": (1000, 1024),
    },
    "inception_v3": {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3), "Conv2d_4a_3x3.bn.running_var": (192,),
        "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5), "Mixed_5b.branch_pool.conv.weight": (32, 192, 1, 1),
        "Mixed_6a.branch3x3dbl_3.conv.weight": (96, 96, 3, 3), "Mixed_6b.branch7x7_2.conv.weight": (128, 128, 1, 7),
        "Mixed_6b.branch7x7dbl_2.conv.weight": (128, 128, 7, 1), "Mixed_6b.branch7x7dbl_5.conv.weight": (192, 128, 1, 7),
        "AuxLogits.conv0.conv.weight": (128, 768, 1, 1), "AuxLogits.conv1.conv.weight": (768, 128, 5, 5),
        "AuxLogits.conv1.bn.weight": (768,), "AuxLogits.fc.weight": (1000, 768),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3), "Mixed_7b.branch3x3_2a.conv.weight": (384, 384, 1, 3),
        "Mixed_7c.branch3x3dbl_3b.conv.weight": (384, 384, 3, 1), "fc.bias": (1000,),
    },
    "cifar_resnet20": {
        "conv1.weight": (16, 3, 3, 3), "layer2.0.conv1.weight": (32, 16, 3, 3), "layer3.2.bn2.running_var": (64,),
        "linear.weight": (10, 64),
    },
}  # fmt: skip
LENGTHS = {"alexnet": 16, "vgg16": 32, "resnet18": 122, "resnet50": 320, "mobilenet_v2": 314, "cifar_resnet20": 116}


@pytest.mark.parametrize("name", SHAPES)
def test_names_and_shapes_are_torchvisions(undrawn, name):
    state = models.get_model(name).state_dict()
    assert {n: tuple(state[n].shape) for n in SHAPES[name] if n in state} == SHAPES[name]
    assert len(state) == LENGTHS.get(name, len(state))  # torchvision's state dict has as many entries


# -- what comes out, and what goes back --------------------------------------------------------------------------------

INPUTS = {
    "alexnet": (2, 3, 63, 63), "vgg11": (1, 3, 32, 32), "googlenet": (2, 3, 64, 64), "inception_v3": (1, 3, 75, 75),
    "resnet18": (2, 3, 40, 40), "resnet50": (2, 3, 33, 33), "mobilenet_v2": (2, 3, 32, 32), "cifar_resnet20": (2, 3, 32, 32),
    "lenet": (2, 1, 28, 28), "mlp": (2, 1, 28, 28), "small_vgg": (2, 3, 8, 8),
}  # fmt: skip


@pytest.mark.parametrize("name", INPUTS)
def test_logits_in_eval_mode(quickly_drawn, name):
    model = models.get_model(name, num_classes=7).eval()
    x = pictures(*INPUTS[name])
    with minidl.no_grad():
        out = model(x)
    assert type(out) is minidl.Tensor and tuple(out.shape) == (x.shape[0], 7)
    assert np.isfinite(out.numpy()).all() and np.ptp(out.numpy()) > 0
    if x.shape[0] == 2:
        assert not np.array_equal(out.numpy()[0], out.numpy()[1])  # they depend on the picture
        with minidl.no_grad():
            np.testing.assert_allclose(model(x[1:]).numpy(), out.numpy()[1:], rtol=1e-3, atol=1e-4)  # and on no other


@pytest.mark.parametrize("name", [n for n in INPUTS if n not in ("vgg11", "inception_v3", "googlenet", "resnet50")])
def test_gradients_reach_every_parameter(quickly_drawn, name):
    model = models.get_model(name, num_classes=7)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    (model(pictures(*INPUTS[name])) * pictures(2, 7, seed=1)).sum().backward()
    for parameter, p in model.named_parameters():
        assert p.grad is not None and np.isfinite(p.grad.numpy()).all() and p.grad.numpy().any(), parameter


def test_heads_of_googlenet(quickly_drawn):
    model = models.googlenet(num_classes=7)
    out = model(pictures(2, 3, 64, 64))
    assert isinstance(out, models.GoogLeNetOutputs) and out._fields == ("logits", "aux_logits2", "aux_logits1")
    assert [tuple(x.shape) for x in out] == [(2, 7)] * 3
    for head, (own, others) in {"aux_logits1": ("aux1.", ("aux2.", "inception4b", "fc.")),
                                "aux_logits2": ("aux2.", ("aux1.", "inception4e", "fc."))}.items():  # fmt: skip
        model.zero_grad()
        out = model(pictures(2, 3, 64, 64))
        getattr(out, head).sum().backward()
        reached = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.numpy().any()}
        assert any(n.startswith(own) for n in reached) and "conv1.conv.weight" in reached
        assert not any(n.startswith(others) for n in reached)
    model.zero_grad()
    sum(x.sum() for x in model(pictures(2, 3, 64, 64))).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert type(models.googlenet(num_classes=7, aux_logits=False)(pictures(2, 3, 32, 32))) is minidl.Tensor


def test_head_of_inception(quickly_drawn):
    model = models.inception_v3(num_classes=7)
    with minidl.no_grad():
        out = model(pictures(2, 3, 299, 299))  # the head wants 17 pixels, which is what 299 come to
    assert isinstance(out, models.InceptionOutputs) and out._fields == ("logits", "aux_logits")
    assert [tuple(x.shape) for x in out] == [(2, 7)] * 2
    model = models.inception_v3(num_classes=7, aux_logits=False)
    model.dropout.p = 0.0
    out = model(pictures(2, 3, 107, 107))
    assert type(out) is minidl.Tensor
    (out * pictures(2, 7, seed=1)).sum().backward()
    assert all(p.grad is not None and p.grad.numpy().any() for p in model.parameters())


def test_blocks_of_ones_own_and_where_they_stand(undrawn):
    from minidl.models.googlenet import BasicConv2d, Inception, InceptionAux
    from minidl.models.inception import InceptionA, InceptionB, InceptionC, InceptionD, InceptionE
    from minidl.models.inception import InceptionAux as Head

    def own(*kinds):
        return [type(f"Own{kind.__name__}", (kind,), {}) for kind in kinds]

    def used(net, kinds):
        return [sum(type(module) is kind for module in net.children()) for kind in kinds]

    blocks = own(BasicConv2d, Inception, InceptionAux)
    net = models.GoogLeNet(7, True, False, True, blocks, 0.1, 0.3)
    assert used(net, blocks) == [3, 9, 2] and (net.dropout.p, net.aux1.dropout.p) == (0.1, 0.3)
    blocks = own(BasicConv2d, InceptionA, InceptionB, InceptionC, InceptionD, InceptionE, Head)
    net = models.Inception3(7, True, False, blocks, False, 0.1)
    assert used(net, blocks) == [5, 3, 1, 4, 1, 2, 1] and net.dropout.p == 0.1
    with pytest.raises(ValueError, match="GoogLeNet: blocks should be 3, for BasicConv2d, .*; got 1"):
        models.GoogLeNet(blocks=[BasicConv2d])
    with pytest.raises(ValueError, match="Inception3: inception_blocks should be 7, .*; got 0"):
        models.Inception3(inception_blocks=[])


def test_deviation_of_inceptions_weights(monkeypatch):
    drawn = []
    monkeypatch.setattr(nn.init, "trunc_normal_", lambda tensor, *, std, **_: drawn.append((tensor.shape, std)))
    models.Inception3(7, init_weights=True)
    assert [shape for shape, std in drawn if std != 0.1] == [(7, 768)] and dict(drawn)[7, 768] == 0.001


def test_no_norm_layer_is_batch_normalisation(undrawn):
    for block in (models.resnet.BasicBlock, models.resnet.Bottleneck):
        assert isinstance(block(64, 64, norm_layer=None).bn1, nn.BatchNorm2d)
        assert isinstance(block(64, 64, norm_layer=lambda n: nn.GroupNorm(4, n)).bn2, nn.GroupNorm)


def test_cifar_networks_without_shortcuts(quickly_drawn):
    x = pictures(2, 3, 32, 32)
    plain, residual = models.CifarResNet(20, residual=False).eval(), models.CifarResNet(20).eval()
    assert count(plain) == count(residual) and not np.allclose(plain(x).detach().numpy(), residual(x).detach().numpy())
    for depth in (2, 21, 7):
        with pytest.raises(ValueError, match=f"6n \\+ 2.*got {depth}"):
            models.CifarResNet(depth)
    with pytest.raises(ValueError, match=r"LeNet: expected images of 28×28 or 32×32 pixels, got .*\(1, 1, 30, 30\)"):
        models.lenet()(pictures(1, 1, 30, 30))


def test_input_of_weights_that_want_it_between_minus_one_and_one(quickly_drawn):
    plain, changing = (
        models.googlenet(num_classes=7).eval(),
        models.googlenet(num_classes=7, transform_input=True).eval(),
    )
    changing.load_state_dict(plain.state_dict())
    picture = np.random.default_rng(0).random((1, 3, 64, 64)).astype(np.float32)  # 0 to 1
    mean, std = (np.array(x, np.float32).reshape(1, 3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    got = changing(minidl.from_numpy((picture - mean) / std)).detach().numpy()
    np.testing.assert_allclose(got, plain(minidl.from_numpy(picture * 2 - 1)).detach().numpy(), rtol=1e-3, atol=1e-4)


# -- the same numbers as PyTorch ---------------------------------------------------------------------------------------


def shaken(model: nn.Module) -> dict[str, np.ndarray]:
    """Give a model's normalisations numbers as after training, and return its state dict."""
    rng = np.random.default_rng(1)
    state = {}
    for name, value in model.state_dict().items():
        array = value.numpy().copy()
        if name.endswith(("running_var", "bn.weight", "bn1.weight", "bn2.weight")):
            array = rng.uniform(0.5, 1.5, array.shape).astype(array.dtype)
        elif name.endswith(("running_mean", "bias")):
            array = rng.normal(0, 0.2, array.shape).astype(array.dtype)
        state[name] = array
    model.load_state_dict({n: minidl.from_numpy(a) for n, a in state.items()})
    return state


def compare(torch: Any, twin: Any, model: nn.Module, x: minidl.Tensor) -> None:
    twin.load_state_dict({n: torch.from_numpy(np.array(a)) for n, a in shaken(model).items()})
    with torch.no_grad():
        wanted = twin.eval()(torch.from_numpy(x.numpy())).numpy()
    with minidl.no_grad():
        got = model.eval()(x).numpy()
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def test_resnet18_gives_pytorchs_logits():
    torch = pytest.importorskip("torch")
    tnn, relu = torch.nn, torch.nn.functional.relu

    class Block(tnn.Module):
        def __init__(self, inp, out, stride):
            super().__init__()
            self.conv1 = tnn.Conv2d(inp, out, 3, stride, 1, bias=False)
            self.bn1 = tnn.BatchNorm2d(out)
            self.conv2 = tnn.Conv2d(out, out, 3, 1, 1, bias=False)
            self.bn2 = tnn.BatchNorm2d(out)
            if stride != 1:
                self.downsample = tnn.Sequential(tnn.Conv2d(inp, out, 1, stride, bias=False), tnn.BatchNorm2d(out))

        def forward(self, x):
            y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
            return relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))

    class ResNet18(tnn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = tnn.Conv2d(3, 64, 7, 2, 3, bias=False)
            self.bn1 = tnn.BatchNorm2d(64)
            self.layer1 = tnn.Sequential(Block(64, 64, 1), Block(64, 64, 1))
            self.layer2 = tnn.Sequential(Block(64, 128, 2), Block(128, 128, 1))
            self.layer3 = tnn.Sequential(Block(128, 256, 2), Block(256, 256, 1))
            self.layer4 = tnn.Sequential(Block(256, 512, 2), Block(512, 512, 1))
            self.fc = tnn.Linear(512, 7)

        def forward(self, x):
            x = torch.nn.functional.max_pool2d(relu(self.bn1(self.conv1(x))), 3, 2, 1)
            return self.fc(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))

    compare(torch, ResNet18(), models.resnet18(num_classes=7), pictures(2, 3, 65, 50))


@pytest.mark.parametrize(("inp", "out", "stride", "expand"), [(8, 8, 1, 6), (8, 12, 1, 6), (8, 8, 2, 6), (8, 8, 1, 1)])
def test_inverted_residual_gives_pytorchs_numbers(inp, out, stride, expand):
    torch = pytest.importorskip("torch")
    from minidl.models.mobilenet import InvertedResidual

    tnn = torch.nn

    class Twin(tnn.Module):
        def __init__(self):
            super().__init__()
            wide = inp * expand

            def conv(a, b, *args, **kwargs):
                return tnn.Sequential(tnn.Conv2d(a, b, *args, bias=False, **kwargs), tnn.BatchNorm2d(b), tnn.ReLU6())

            first = [conv(inp, wide, 1)] if expand != 1 else []
            last = [tnn.Conv2d(wide, out, 1, bias=False), tnn.BatchNorm2d(out)]
            self.conv = tnn.Sequential(*first, conv(wide, wide, 3, stride, 1, groups=wide), *last)

        def forward(self, x):
            return self.conv(x) + x if stride == 1 and inp == out else self.conv(x)

    compare(
        torch, Twin(), InvertedResidual(inp, out, stride, expand), pictures(2, inp, 9, 8) * 4
    )  # 4: beyond ReLU6's 6


def basic_conv(torch: Any) -> Any:
    class Basic(torch.nn.Module):
        def __init__(self, a, b, *args):
            super().__init__()
            self.conv = torch.nn.Conv2d(a, b, *args, bias=False)
            self.bn = torch.nn.BatchNorm2d(b, eps=0.001)

        def forward(self, x):
            return torch.relu(self.bn(self.conv(x)))

    return Basic


def test_googlenets_inception_module_gives_pytorchs_numbers():
    torch = pytest.importorskip("torch")
    from minidl.models.googlenet import Inception

    basic, sequential = basic_conv(torch), torch.nn.Sequential

    class Twin(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.branch1 = basic(10, 4, 1)
            self.branch2 = sequential(basic(10, 5, 1), basic(5, 6, 3, 1, 1))
            self.branch3 = sequential(basic(10, 7, 1), basic(7, 8, 3, 1, 1))
            self.branch4 = sequential(torch.nn.MaxPool2d(3, 1, 1), basic(10, 9, 1))

        def forward(self, x):
            return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)

    compare(torch, Twin(), Inception(10, 4, 5, 6, 7, 8, 9), pictures(2, 10, 9, 8))


def test_inception_v3s_flat_modules_give_pytorchs_numbers():
    torch = pytest.importorskip("torch")
    from minidl.models.inception import InceptionC, InceptionE

    basic, avg = basic_conv(torch), torch.nn.functional.avg_pool2d
    flat, tall = ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0))

    class C(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.branch1x1, self.branch7x7_1 = basic(10, 192, 1), basic(10, 5, 1)
            self.branch7x7_2, self.branch7x7_3 = basic(5, 5, *flat), basic(5, 192, *tall)
            self.branch7x7dbl_1, self.branch7x7dbl_2 = basic(10, 5, 1), basic(5, 5, *tall)
            self.branch7x7dbl_3, self.branch7x7dbl_4 = basic(5, 5, *flat), basic(5, 5, *tall)
            self.branch7x7dbl_5, self.branch_pool = basic(5, 192, *flat), basic(10, 192, 1)

        def forward(self, x):
            a, b = self.branch7x7_1(x), self.branch7x7dbl_1(x)
            for name in ("branch7x7_2", "branch7x7_3"):
                a = getattr(self, name)(a)
            for number in (2, 3, 4, 5):
                b = getattr(self, f"branch7x7dbl_{number}")(b)
            return torch.cat([self.branch1x1(x), a, b, self.branch_pool(avg(x, 3, 1, 1))], 1)

    class E(torch.nn.Module):
        def __init__(self):
            super().__init__()
            flat, tall = ((1, 3), 1, (0, 1)), ((3, 1), 1, (1, 0))
            self.branch1x1, self.branch3x3_1 = basic(10, 320, 1), basic(10, 384, 1)
            self.branch3x3_2a, self.branch3x3_2b = basic(384, 384, *flat), basic(384, 384, *tall)
            self.branch3x3dbl_1, self.branch3x3dbl_2 = basic(10, 448, 1), basic(448, 384, 3, 1, 1)
            self.branch3x3dbl_3a, self.branch3x3dbl_3b = basic(384, 384, *flat), basic(384, 384, *tall)
            self.branch_pool = basic(10, 192, 1)

        def forward(self, x):
            a, b = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
            parts = [self.branch1x1(x), self.branch3x3_2a(a), self.branch3x3_2b(a), self.branch3x3dbl_3a(b),
                     self.branch3x3dbl_3b(b), self.branch_pool(avg(x, 3, 1, 1))]  # fmt: skip
            return torch.cat(parts, 1)

    compare(torch, C(), InceptionC(10, 5), pictures(1, 10, 9, 8))
    compare(torch, E(), InceptionE(10), pictures(1, 10, 5, 4))


# -- by name, with weights ---------------------------------------------------------------------------------------------


def arrays(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in model.state_dict().items()}


def saved(model: nn.Module, path: Any) -> Any:
    """Write a model's weights in the form that the path's ending says."""
    if path.suffix == ".safetensors":
        minidl.save(model.state_dict(), path)
    elif path.suffix == ".npz":
        np.savez_compressed(path, **arrays(model))
    else:
        torch_files.write(path, torch_files.of_arrays(arrays(model), legacy=path.suffix == ".th"))
    return path


def refused(error: Any, match: str, name: str = "cifar_resnet20", **config: Any) -> None:
    with pytest.raises(error, match=match):
        models.get_model(name, **config)


@pytest.mark.parametrize("name", ["resnet19", "Mobilenet", "cifar_resnet", "nothing like it", "", 5])
def test_unknown_models(name):
    wanted = {
        "resnet19": "did you mean .*resnet1",
        "Mobilenet": "did you mean mobilenet_v2",
        "cifar_resnet": "did you mean cifar",
    }
    refused(ValueError, f"Unknown model {name!r}.*{wanted.get(name, 'there are alexnet, ')}", name)
    with pytest.raises(ValueError, match="Unknown model"):
        models.get_model_weights(name)


def test_models_are_listed_by_patterns():
    assert models.list_models(models) == models.list_models() and models.list_models(minidl) == []
    assert models.list_models(include="vgg1?") == ["vgg11", "vgg13", "vgg16", "vgg19"]
    assert models.list_models(include=["alex*", "vgg1?", "vgg*6"], exclude=("*3", "*9")) == [
        "alexnet",
        "vgg11",
        "vgg16",
    ]
    assert models.list_models(None, [], "*e*") == [n for n in models.list_models() if "e" not in n]
    assert models.list_models(include="resnet") == []


def test_builders_and_weights_by_name():
    assert models.get_model_builder("ResNet18") is models.resnet18
    assert models.get_model_weights(models.resnet18) is models.ResNet18_Weights
    assert models.get_weight("ResNet50_Weights.IMAGENET1K_V1") is models.ResNet50_Weights.IMAGENET1K_V1
    assert models.get_weight("ResNet50_Weights.DEFAULT") is models.ResNet50_Weights.IMAGENET1K_V2
    for call, name, message in (
        (models.get_model_builder, "resnet81", "Unknown model 'resnet81'; did you mean"),
        (models.get_model_weights, len, "Unknown model <built-in function len>"),
        (models.get_model_weights, models.lenet, "lenet: there are no published weights"),
        (
            models.get_weight,
            "ResNet50_Weights",
            "Unknown weights 'ResNet50_Weights': ResNet50_Weights has IMAGENET1K_V1",
        ),
        (models.get_weight, "resnet50.DEFAULT", r"'resnet50\.DEFAULT': expected CLASS\.ENTRY, .* AlexNet_Weights"),
        (models.get_weight, "ResNet50_Weights.V3", "ResNet50_Weights has IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT"),
    ):
        with pytest.raises(ValueError, match=message):
            call(name)


def test_case_does_not_matter(undrawn):
    assert isinstance(models.get_model("ResNet18", num_classes=3), models.ResNet)
    assert models.get_model_weights("ResNet18") is models.ResNet18_Weights


@pytest.mark.parametrize("ending", [".safetensors", ".npz", ".pth", ".pt", ".th"])
def test_weights_from_a_file(tmp_path, ending):
    model = models.cifar_resnet20(num_classes=3)
    path = saved(model, tmp_path / f"some{ending}")
    for given in (path, str(path)):
        got = models.get_model("cifar_resnet20", weights=given, num_classes=3)
        for name, array in arrays(model).items():
            np.testing.assert_array_equal(got.state_dict()[name].numpy(), array, err_msg=name)


def test_weights_without_counters_of_batches(tmp_path):
    """As PyTorch wrote them before version 0.4.1; and with the prefix of its DataParallel."""
    model = models.cifar_resnet20()
    state = {f"module.{n}": a for n, a in arrays(model).items() if not n.endswith("num_batches_tracked")}
    path = torch_files.write(tmp_path / "some.th", torch_files.of_arrays(state, legacy=True))
    got = models.cifar_resnet20(weights=path)
    np.testing.assert_array_equal(got.linear.weight.detach().numpy(), model.linear.weight.detach().numpy())
    del state["module.conv1.weight"]
    torch_files.write(path, torch_files.of_arrays(state, legacy=True))
    refused(RuntimeError, r"1 names are missing, 0 unknown.*\n  conv1\.weight: not in the file", weights=path)


def test_weights_that_do_not_fit(tmp_path):
    path = saved(models.cifar_resnet20(num_classes=100), tmp_path / "hundred.npz")
    refused(
        RuntimeError,
        r"hundred\.npz is for 100 classes, and this CifarResNet has 10: pass num_classes=100",
        weights=path,
    )
    refused(
        RuntimeError, "another architecture(.|\n)*not in the file(.|\n)*and [0-9]+ more", "cifar_resnet32", weights=path
    )
    refused(RuntimeError, "does not fit this LeNet.*unknown", "lenet", weights=path)
    narrow = arrays(models.cifar_resnet20()) | {"conv1.weight": np.zeros((16, 1, 3, 3), np.float32)}
    np.savez(path, **narrow)
    refused(RuntimeError, r"conv1\.weight: \(16, 1, 3, 3\) in the file, \(16, 3, 3, 3\) in the model", weights=path)


@pytest.mark.parametrize("ending", [".safetensors", ".npz", ".pth", ".th"])
def test_damaged_files(tmp_path, ending):
    path = saved(models.lenet(), tmp_path / f"some{ending}")
    content = path.read_bytes()
    for end in (0, 1, 10, len(content) // 3, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:end])
        refused(ValueError, f"some{ending}", "lenet", weights=path)
    if ending == ".th":
        return  # nothing in the old form tells that a number was changed
    for at in range(200, len(content), len(content) // 20):
        changed = bytearray(content)
        changed[at : at + 8] = bytes(b ^ 0x5A for b in changed[at : at + 8])
        path.write_bytes(changed)
        if ending == ".safetensors" and at > 2000:
            break  # nor in this one
        refused(ValueError, f"some{ending}", "lenet", weights=path)


def test_changed_bytes_anywhere_in_an_npz(tmp_path):
    path = tmp_path / "some.npz"
    np.savez_compressed(path, a=np.arange(300.0), b=np.ones((3, 4), np.float32))
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x5A]) + content[at + 1 :])
        try:
            load_weights(path)
        except ValueError as error:
            assert "some.npz" in str(error)  # noqa: PT017


def test_weights_of_another_kind(tmp_path):
    refused(TypeError, "expected a file or an entry of the model's weights, got int", weights=3)
    refused(TypeError, "got bool", "resnet18", weights=True)
    refused(FileNotFoundError, "'nothing.pth' is no file$", weights="nothing.pth")
    refused(FileNotFoundError, r"'IMAGENET1K_V9' is no file, and no entry of ResNet18_Weights \(IMAGENET1K_V1, DEFAULT\)",
            "resnet18", weights="IMAGENET1K_V9")  # fmt: skip
    refused(TypeError, "belongs to another model", "resnet34", weights=models.ResNet18_Weights.DEFAULT)
    refused(TypeError, "expected a file, got ResNet18_Weights", weights=models.ResNet18_Weights.DEFAULT)
    with pytest.raises(ValueError, match="cifar_resnet20: there are no published weights"):
        models.get_model_weights("cifar_resnet20")
    for name, what in (("some.onnx", r"got '\.onnx'"), ("some", "got 'no ending'")):
        (tmp_path / name).write_bytes(b"x")
        refused(ValueError, what, weights=tmp_path / name)
    refused((ValueError, FileNotFoundError), "some|no such file", weights=tmp_path)
    torch_files.write(tmp_path / "some.pth", torch_files.zipped(b"](K\x01K\x02e", {}))
    refused(ValueError, r"some\.pth: expected names with a tensor each, found list", weights=tmp_path / "some.pth")
    torch_files.write(tmp_path / "some.pth", torch_files.zipped(b"}X\x01\x00\x00\x00aK\x01s", {}))
    refused(ValueError, r"found \['int'\]", weights=tmp_path / "some.pth")


@pytest.mark.parametrize("entry", [models.ResNet18_Weights.DEFAULT, "DEFAULT", "ResNet18_Weights.IMAGENET1K_V1"])
def test_published_weights_are_for_1000_classes(entry):
    refused(ValueError, "'num_classes' expected value 1000 but got 7 instead", "resnet18", weights=entry, num_classes=7)


# -- published weights -------------------------------------------------------------------------------------------------

ENTRIES = {name: registry._entries[name] for name in COUNTS if registry._entries[name] is not None}


@pytest.mark.parametrize("name", ENTRIES)
def test_entries(name):
    entries = models.get_model_weights(name)
    assert entries.DEFAULT is list(entries)[-1]
    for entry in entries:
        assert entry.url.startswith("https://download.pytorch.org/models/") and entry.url.endswith(".pth")
        assert len(entry.digest) == 8 and int(entry.digest, 16) >= 0 and entry.digest in entry.url
        assert entry.meta["num_params"] == (6_624_904 if name == "googlenet" else COUNTS[name])
        assert 50 < entry.meta["acc@1"] < 85
        size = 299 if name == "inception_v3" else 224
        assert entry.transforms()(pictures(3, size + 20, size + 90)).shape == (3, size, size)


def test_names_of_the_classes():
    names = registry.imagenet_classes()
    assert len(names) == 1000 and all(name == name.strip() and name for name in names)
    assert (names[0], names[1], names[207], names[999]) == ("tench", "goldfish", "golden retriever", "toilet tissue")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where weights are kept, and a server that is not there."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("MINIDL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(registry, "ADDRESS", "http://127.0.0.1:9/")
    return tmp_path / "home" / "checkpoints"


def test_the_folder_of_weights(folder, monkeypatch, tmp_path):
    assert registry.hub_folder() == folder
    monkeypatch.delenv("MINIDL_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert registry.hub_folder() == tmp_path / "minidl" / "checkpoints"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert registry.hub_folder().parts[-3:] == (".cache", "minidl", "checkpoints")


def test_a_wrong_file_in_the_folder_is_not_taken(folder):
    entry = models.MobileNet_V2_Weights.IMAGENET1K_V1
    folder.mkdir(parents=True)
    (folder / entry.file).write_bytes(b"something else")
    with pytest.raises(
        DownloadError, match=rf"could not download {entry.file}(.|\n)*http://127\.0\.0\.1:9/{entry.file}: "
    ):
        models.mobilenet_v2(weights=entry)
    with pytest.raises(ValueError, match=entry.file):  # without a check it is, and turns out to be damaged
        entry.get_state_dict(check_hash=False)
    assert (folder / entry.file).read_bytes() == b"something else"


def test_files_in_the_folder_are_used(folder, monkeypatch):
    """No network: files with the right names, and whatever their digests are is taken for right."""
    monkeypatch.setattr(models.GoogLeNet_Weights, "digest", "")
    monkeypatch.setattr(models.MobileNet_V2_Weights, "digest", "")
    folder.mkdir(parents=True)
    model = models.mobilenet_v2()
    entry = models.MobileNet_V2_Weights.IMAGENET1K_V2
    saved(model, folder / entry.file)
    for weights in (entry, "DEFAULT", "IMAGENET1K_V2"):
        got = models.mobilenet_v2(weights=weights)
        np.testing.assert_array_equal(
            got.classifier[1].weight.detach().numpy(), model.classifier[1].weight.detach().numpy()
        )
    big = models.googlenet()
    saved(big, folder / models.GoogLeNet_Weights.DEFAULT.file)
    got = models.googlenet(weights="DEFAULT")
    assert count(got) == 6_624_904 and got.transform_input and got.aux1 is None and got.aux2 is None
    np.testing.assert_array_equal(got.fc.weight.detach().numpy(), big.fc.weight.detach().numpy())
    assert type(got(pictures(1, 3, 64, 64).expand(2, 3, 64, 64))) is minidl.Tensor  # also in training
    with pytest.warns(UserWarning, match="NOT pretrained"):
        assert count(models.googlenet(weights="DEFAULT", aux_logits=True)) == 13_004_888


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_a_file_may_hold_auxiliary_heads_or_not(name, tmp_path, monkeypatch):
    monkeypatch.setattr(nn.init, "trunc_normal_", lambda tensor, *args, **kwargs: nn.init.normal_(tensor, 0, 0.05))
    build = getattr(models, name)
    image = minidl.randn(1, 3, 96, 96)
    for heads in (False, True):
        model = build(num_classes=3, aux_logits=heads).eval()
        path = tmp_path / f"{heads}.safetensors"
        minidl.save(model.state_dict(), path)
        for options in ({}, {"aux_logits": False}):
            again = build(num_classes=3, weights=path, **options).eval()
            assert not again.transform_input and again.aux_logits == (heads and not options)
            with minidl.no_grad():
                assert (again(image).numpy() == model(image).numpy()).all()
    with pytest.raises(ValueError, match=r"False.safetensors holds no auxiliary heads: pass aux_logits=False"):
        build(num_classes=3, weights=tmp_path / "False.safetensors", aux_logits=True)
