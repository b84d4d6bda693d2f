"""Features of a network: what they are, that nothing is left changed, and when a file of them is used."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import minidl
from minidl import nn, transfer
from minidl import transforms as T
from minidl.data import BatchSampler, DataLoader, Dataset, RandomSampler, TensorDataset
from minidl.io.safetensors import load_with_metadata


class Net(nn.Module):
    """A layer whose output a later one overwrites (``inplace``), normalisation, dropout, a head; counts its runs."""

    def __init__(self) -> None:
        super().__init__()
        minidl.manual_seed(0)
        self.first = nn.Linear(3, 6)
        self.act = nn.LeakyReLU(0.1)
        self.norm = nn.BatchNorm1d(6)
        self.second = nn.Linear(6, 5)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(5, 2)
        self.unused = nn.ReLU()
        self.runs = 0
        self.recorded = False

    def forward(self, x):
        self.runs += 1
        self.recorded = minidl.is_grad_enabled()
        return self.fc(self.drop(self.relu(self.second(self.norm(self.act(self.first(x)))))))


def rows(n: int = 10, seed: int = 0) -> minidl.Tensor:
    return minidl.from_numpy(np.random.default_rng(seed).standard_normal((n, 3)).astype(np.float32))


def loader(n: int = 10, data: int = 0, batch_size: int = 4, **options) -> DataLoader:
    return DataLoader(TensorDataset(rows(n, data), minidl.arange(n)), batch_size=batch_size, **options)


def expected(model: Net, x: minidl.Tensor) -> np.ndarray:
    """The input of the head, in evaluation mode, by other means."""
    model = copy.deepcopy(model).eval()
    return model.second(model.norm(model.act(model.first(x)))).clamp(min=0).detach().numpy()


def test_features_are_the_input_of_the_head_and_labels_come_along():
    model = Net()
    x, y = transfer.features(model, loader())
    assert np.allclose(x.numpy(), expected(model, rows()), atol=1e-6) and y.tolist() == list(range(10))
    assert x.dtype == np.float32 and not x.requires_grad and tuple(x.shape) == (10, 5)
    assert not model.recorded  # no graph, whose memory would add up


def test_a_shuffled_loader_gives_labels_in_its_order():
    model = Net()
    x, y = transfer.features(model, loader(shuffle=True, seed=3))
    assert y.tolist() != list(range(10))
    assert np.allclose(x.numpy(), expected(model, rows())[y.numpy()], atol=1e-6)


def test_a_named_layers_output_is_as_it_left_the_layer():
    model = Net()
    x, _ = transfer.features(model, loader(), layer="second")
    model.eval()
    want = model.second(model.norm(model.act(model.first(rows())))).detach().numpy()
    assert (want < 0).any() and np.allclose(x.numpy(), want, atol=1e-6)  # before the ReLU that writes in place


def test_shapes_are_left_alone():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    data = DataLoader(TensorDataset(minidl.ones(5, 1, 4, 4), minidl.arange(5)), 2)
    assert tuple(transfer.features(model, data, layer="0")[0].shape) == (5, 2, 2, 2)
    assert tuple(transfer.features(model, data)[0].shape) == (5, 8)


def test_modes_statistics_and_hooks_are_left_as_they_were():
    model = Net().train()
    model.norm.eval()
    modes = [m.training for m in model.modules()]
    before = {name: t.numpy().copy() for name, t in model.state_dict().items()}
    transfer.features(model, loader())
    assert [m.training for m in model.modules()] == modes
    assert all(np.array_equal(before[name], t.numpy()) for name, t in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    with pytest.raises(RuntimeError):
        transfer.features(model, loader(), layer="unused")
    assert [m.training for m in model.modules()] == modes  # after an error too
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert minidl.is_grad_enabled()


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_layers_that_are_not_there_or_do_not_run_once():
    with pytest.raises(ValueError, match=r"Net has no layer 'secnd'; did you mean second"):
        transfer.features(Net(), loader(), layer="secnd")
    with pytest.raises(ValueError, match="it has first, act, norm"):
        transfer.features(Net(), loader(), layer="zzzzzz")
    with pytest.raises(RuntimeError, match="output of unused once for a batch, it came 0 times"):
        transfer.features(Net(), loader(), layer="unused")
    shared = nn.Linear(3, 3)
    with pytest.raises(RuntimeError, match="2 times"):
        transfer.features(nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(3, 2)), loader(), layer="0")


def test_outputs_that_are_no_tensor():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair = Pair()

        def forward(self, x):
            return self.pair(x)[0]

    with pytest.raises(TypeError, match="Pair has tuple"):
        transfer.features(Outer(), loader(), layer="pair")


def test_loaders_without_labels_or_batches():
    with pytest.raises(ValueError, match=r"two Tensors, got \(Tensor\)"):
        transfer.features(Net(), [rows()])
    with pytest.raises(ValueError, match="no batches"):
        transfer.features(Net(), loader(3, drop_last=True))


def test_a_model_without_a_head_needs_a_layer():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    with pytest.raises(ValueError, match="BatchNorm1d"):
        transfer.features(model, loader())
    assert tuple(transfer.features(model, loader(), layer="0")[0].shape) == (10, 4)


# -- the file ----------------------------------------------------------------------------------------------------------


def runs(model: Net, data, path, **options) -> int:
    """How often the model runs for features with a cache; the result is checked against one without it."""
    fresh = transfer.features(copy.deepcopy(model), copy.deepcopy(data), **options)
    model.runs = 0
    found = transfer.features(model, data, cache=path, **options)
    assert all(np.array_equal(a.numpy(), b.numpy()) and a.dtype == b.dtype for a, b in zip(fresh, found, strict=True))
    return model.runs


def test_a_second_call_takes_the_file(tmp_path):
    path = tmp_path / "folder" / "features.safetensors"
    assert runs(Net(), loader(), path) == 3  # batches
    assert runs(Net(), loader(), path) == 0
    assert runs(Net().train(), loader(), path) == 0  # the mode does not matter
    assert runs(transfer.freeze(Net()), loader(), path) == 0
    assert [p.name for p in path.parent.iterdir()] == ["features.safetensors"]


def changed_weight(model):
    model.first.weight.detach().array[0, 0] += 1e-3


def changed_statistics(model):
    model.norm.running_mean.array[0] += 1e-3


def changed_setting(model):
    model.act.negative_slope = 0.2


@pytest.mark.parametrize("change", [changed_weight, changed_statistics, changed_setting])
def test_another_network_is_noticed(tmp_path, change):
    path = tmp_path / "f.safetensors"
    runs(Net(), loader(), path)
    model = Net()
    change(model)
    assert runs(model, loader(), path) == 3
    assert runs(model, loader(), path) == 0  # the file is written anew


@pytest.mark.parametrize(
    "other",
    [
        {"n": 11},
        {"data": 1},
        {"batch_size": 5},
        {"sampler": [1, 0, *range(2, 10)]},
        {"n": 8},
        {"sampler": range(8)},
        {"drop_last": True},
    ],
)
def test_other_data_is_noticed(tmp_path, other):
    path = tmp_path / "f.safetensors"
    runs(Net(), loader(), path)
    assert runs(Net(), loader(**other), path) > 0


def test_another_order_or_number_behind_the_first_batch_is_noticed(tmp_path):
    path = tmp_path / "f.safetensors"
    assert [runs(Net(), loader(sampler=range(n)), path) for n in (7, 8, 8)] == [2, 2, 0]
    assert runs(Net(), loader(sampler=[*range(6), 7, 6]), path) == 2
    dataset = loader().dataset
    for last in ([4, 5], [4, 5, 6], [4, 6, 5]):
        assert runs(Net(), DataLoader(dataset, batch_sampler=[[0, 1, 2, 3], last]), path) == 2
    for n in (7, 8):
        assert runs(Net(), DataLoader(dataset, batch_sampler=BatchSampler(range(n), 4, False)), path) == 2


def test_other_batches_of_a_list_are_noticed(tmp_path):
    path = tmp_path / "f.safetensors"
    batches = list(loader())
    assert [runs(Net(), batches, path) for _ in range(2)] == [3, 0]
    assert runs(Net(), batches[:2], path) == 2
    x, y = batches[1]
    assert runs(Net(), [batches[0], (x[:2], y[:2])], path) == 2
    assert runs(Net(), (batches[0], (x + 1, y)), path) == 2


def test_other_labels_are_noticed(tmp_path):
    path = tmp_path / "f.safetensors"
    runs(Net(), loader(), path)
    other = DataLoader(TensorDataset(rows(), minidl.zeros(10, dtype=minidl.int64)), batch_size=4)
    assert runs(Net(), other, path) == 3


def test_another_layer_is_noticed(tmp_path):
    path = tmp_path / "f.safetensors"
    runs(Net(), loader(), path)
    assert runs(Net(), loader(), path, layer="drop") == 3  # the same numbers, but who knows
    assert runs(Net(), loader(), path, layer="second") == 3


def test_random_transforms_need_a_seed(tmp_path):
    class Noisy(Dataset):
        def __len__(self):
            return 6

        def __getitem__(self, index):
            image = T.GaussianNoise(sigma=0.5)(np.full((3, 1, 1), 0.5, np.float32))
            return image[:, 0, 0], index

    path = tmp_path / "f.safetensors"
    assert runs(Net(), DataLoader(Noisy(), 4, seed=5), path) == 2
    assert runs(Net(), DataLoader(Noisy(), 4, seed=5), path) == 0
    assert runs(Net(), DataLoader(Noisy(), 4, seed=6), path) == 2
    data = DataLoader(Noisy(), 4, seed=6)
    assert runs(Net(), data, path) == 0
    assert runs(Net(), data, path) == 2  # the loader's next epoch: other noise


@pytest.mark.parametrize("batched", [False, True])
def test_a_loader_that_shuffles_is_refused(tmp_path, batched):
    data = loader(shuffle=True)
    if batched:
        dataset = data.dataset
        data = DataLoader(dataset, batch_sampler=BatchSampler(RandomSampler(dataset), 4, False))
    with pytest.raises(ValueError, match="RandomSampler"):
        transfer.features(Net(), data, cache=tmp_path / "f.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_files_of_something_else_are_left_alone(tmp_path):
    path = tmp_path / "weights.safetensors"
    minidl.save(Net().state_dict(), path)
    content = path.read_bytes()
    with pytest.raises(ValueError, match="something else"):
        transfer.features(Net(), loader(), cache=path)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(content[:50])
    with pytest.raises(ValueError, match="delete it"):
        transfer.features(Net(), loader(), cache=damaged)
    assert path.read_bytes() == content and damaged.read_bytes() == content[:50]


def test_the_file_is_plain_safetensors(tmp_path):
    path = tmp_path / "f.safetensors"
    x, y = transfer.features(Net(), loader(), cache=path)
    tensors, metadata = load_with_metadata(path)
    assert np.array_equal(tensors["features"].numpy(), x.numpy()) and tensors["labels"].tolist() == y.tolist()
    assert list(metadata) == ["minidl.features"]
