"""On a machine with a GPU: tensors, networks, training and files go there and back, and give what the CPU gives.

Single ops, layers, kernels and transforms are compared by the rest of the suite, with ``MINIDL_TEST_DEVICE=cuda``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import models, nn, optim
from minidl import transforms as T
from minidl.backend import backend_for
from minidl.data import DataLoader, TensorDataset
from minidl.ensemble import MembersTogether, soft_vote
from minidl.nn import functional as F
from minidl.tensor import Tensor
from minidl.training import Trainer
from minidl.transfer import features
from tests.elsewhere import same

pytestmark = pytest.mark.skipif(not minidl.cuda.is_available(), reason="CuPy is not installed, or finds no GPU")


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def close(actual: Tensor, expected: Tensor, rtol: float) -> None:
    same(actual, expected, rtol, backend_for("cuda"))


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, groups=2),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(128, 10),
    )


# -- tensors -----------------------------------------------------------------------------------------------------------


def test_a_gpu_is_there() -> None:
    assert minidl.cuda.device_count() >= 1 and minidl.cuda.get_device_name()
    minidl.cuda.synchronize()


def test_there_and_back() -> None:
    x = minidl.tensor(numbers(3, 4))
    there = x.cuda()
    assert there.device == minidl.device("cuda:0") and there.is_cuda and not x.is_cuda
    assert "device='cuda:0'" in repr(there) and repr(there.cpu()) == repr(x)
    assert there.tolist() == x.tolist() and there.sum().item() == pytest.approx(x.sum().item(), rel=1e-6)
    back = there.to("cpu")
    assert back.array is not x.array and (back == x).all()
    assert minidl.zeros(2, device="cuda").device.type == minidl.ones_like(there).device.type == "cuda"
    assert (minidl.tensor([1, 2], device="cuda").cpu().numpy() == [1, 2]).all()


def test_the_gradient_comes_back_to_where_the_tensor_is() -> None:
    x = minidl.tensor(numbers(3), requires_grad=True)
    (x.cuda() ** 2).sum().backward()
    assert x.grad.device.type == "cpu"
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.detach().numpy())


@pytest.mark.parametrize(
    "call",
    [lambda x: np.asarray(x), lambda x: x.numpy(), lambda x: np.add(x, np.ones(3))],
    ids=["asarray", "numpy", "ufunc"],
)
def test_nothing_leaves_the_gpu_unasked(call: Callable[[Tensor], Any]) -> None:
    with pytest.raises(TypeError):
        call(minidl.ones(3, device="cuda"))


def test_devices_do_not_mix() -> None:
    with pytest.raises(RuntimeError, match="on the same device"):
        minidl.ones(3, device="cuda") + minidl.ones(3)
    with pytest.raises(RuntimeError, match="on the same device"):
        nn.Linear(3, 2).cuda()(minidl.ones(1, 3))


def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(RuntimeError, match="cuda:99"):
        minidl.ones(3, device="cuda:99")


@pytest.mark.parametrize("label", [-1, 10])
def test_labels_out_of_range(label: int) -> None:
    labels = minidl.tensor([0, label], device="cuda")
    with pytest.raises(IndexError):
        F.cross_entropy(minidl.zeros(2, 10, device="cuda"), labels)
    with pytest.raises(IndexError):
        F.embedding(labels, minidl.zeros(10, 3, device="cuda"))


# -- training ----------------------------------------------------------------------------------------------------------

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "Adam": lambda p: optim.Adam(p, lr=1e-3, amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, lr=1e-3),
    "RMSprop": lambda p: optim.RMSprop(p, lr=1e-3, momentum=0.5, centered=True),
    "Adagrad": lambda p: optim.Adagrad(p, lr=1e-2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_as_on_the_cpu(name: str) -> None:
    found = {}
    for device in ("cpu", "cuda"):
        minidl.manual_seed(1)
        model = net().double().to(device)
        optimizer = OPTIMIZERS[name](model.parameters())
        losses = []
        for step in range(6):
            x = minidl.tensor(numbers(8, 3, 12, 12, seed=step), dtype=minidl.float64, device=device)
            y = minidl.tensor(np.arange(8) % 10, device=device)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y, label_smoothing=0.1)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        found[device] = losses, model.state_dict()
    np.testing.assert_allclose(found["cuda"][0], found["cpu"][0], rtol=1e-8)
    for key, value in found["cpu"][1].items():
        close(found["cuda"][1][key], value, 1e-6)


NETS: dict[str, Callable[[], nn.Module]] = {
    "alexnet": models.alexnet,
    "vgg11_bn": models.vgg11_bn,
    "googlenet": lambda: models.googlenet(aux_logits=True, init_weights=False),
    "resnet18": models.resnet18,
    "mobilenet_v2": models.mobilenet_v2,
    "cifar_resnet20": models.cifar_resnet20,
}


@pytest.mark.parametrize("name", NETS)
def test_networks_that_have_names(name: str) -> None:
    minidl.manual_seed(0)
    model = NETS[name]().eval()
    x = minidl.tensor(numbers(2, 3, 32, 32) if "cifar" in name else numbers(2, 3, 224, 224))
    with minidl.no_grad():
        expected = model(x)
        close(model.cuda()(x.cuda()), expected, 1e-4)


def test_memory_stays_flat() -> None:
    model = net().cuda()
    optimizer = OPTIMIZERS["Adam"](model.parameters())
    x, y = minidl.tensor(numbers(16, 3, 16, 16), device="cuda"), minidl.tensor(np.arange(16) % 10, device="cuda")
    pool, used = backend_for("cuda").xp.get_default_memory_pool(), []
    for _ in range(8):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        used.append((pool.used_bytes(), pool.total_bytes()))
    assert used[3:] == [used[3]] * 5


def test_a_run_is_resumed_on_the_gpu(tmp_path: Any) -> None:
    data = TensorDataset(minidl.tensor(numbers(64, 3, 12, 12)), minidl.tensor(np.arange(64) % 10))

    def fit(folder: str, *epochs: int) -> dict[str, Tensor]:
        for until in epochs:
            minidl.manual_seed(3)
            model = net()
            optimizer = OPTIMIZERS["SGD"](model.parameters())
            trainer = Trainer(model, optimizer, device="cuda", run_dir=tmp_path / folder, seed=3)
            trainer.fit(DataLoader(data, batch_size=16, shuffle=True, seed=3), epochs=until, resume=True)
        return model.state_dict()

    once, twice = fit("once", 4), fit("twice", 2, 4)
    for key, value in once.items():
        np.testing.assert_allclose(twice[key].cpu().numpy(), value.cpu().numpy(), rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_bits() -> None:
    def run() -> list[np.ndarray]:
        minidl.manual_seed(3)
        model = net().cuda()
        optimizer = OPTIMIZERS["SGD"](model.parameters())
        for step in range(4):
            x = minidl.tensor(numbers(32, 3, 24, 24, seed=step), device="cuda")
            optimizer.zero_grad()
            F.cross_entropy(model(x), minidl.tensor(np.arange(32) % 10, device="cuda")).backward()
            optimizer.step()
        return [value.cpu().numpy() for value in model.state_dict().values()]

    for a, b in zip(run(), run(), strict=True):
        np.testing.assert_array_equal(a, b)


# -- files, data, and what is built on networks ------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_files(tmp_path: Any, suffix: str) -> None:
    state = net().cuda().state_dict()
    minidl.save(state, tmp_path / f"net{suffix}")
    loaded = minidl.load(tmp_path / f"net{suffix}")
    assert loaded.keys() == state.keys() and all(value.device.type == "cpu" for value in loaded.values())
    model = net().cuda()
    model.load_state_dict(loaded)
    for key, value in model.state_dict().items():
        close(value, loaded[key], 0)
        close(state[key], loaded[key], 0)


def test_batches_are_augmented_on_the_gpu() -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 20, 24), dtype=np.uint8)
    loader = DataLoader(TensorDataset(minidl.tensor(images), minidl.tensor(np.arange(40))), batch_size=16)
    steps = [T.RandomCrop(16, padding=2), T.RandomHorizontalFlip(), T.ColorJitter(0.3, 0.3, 0.3)]
    transform = T.Compose([*steps, T.ToDtype(minidl.float32, scale=True), T.Normalize((0.5,) * 3, (0.2,) * 3)])
    for x, _ in loader:
        minidl.manual_seed(5)
        expected = transform(x)
        minidl.manual_seed(5)
        got = transform(x.cuda())
        assert got.shape == (len(x), 3, 16, 16)
        close(got, expected, 1e-5)


def test_members_together() -> None:
    minidl.manual_seed(0)
    members = [net().eval() for _ in range(3)]
    x = minidl.tensor(numbers(4, 3, 12, 12))
    with minidl.no_grad():
        expected = [member(x) for member in members]
        there = [member.cuda() for member in members]
        together = MembersTogether(there)(x.cuda())
    for got, want in zip(together, expected, strict=True):
        close(got, want, 1e-4)
    np.testing.assert_allclose(soft_vote(list(together)).cpu().numpy(), soft_vote(expected).numpy(), rtol=1e-4)


def test_features() -> None:
    minidl.manual_seed(0)
    model = net()
    loader = DataLoader(
        TensorDataset(minidl.tensor(numbers(10, 3, 12, 12)), minidl.tensor(np.arange(10))), batch_size=4
    )
    expected, labels = features(model, loader, layer="7")
    found, same = features(model.cuda(), loader, layer="7")
    np.testing.assert_allclose(found.cpu().numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)
    assert (labels.cpu() == same.cpu()).all()
