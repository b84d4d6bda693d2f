"""The Trainer: what it measures, keeps, says and refuses; and that a run goes on after a kill as if nothing had happened."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import stat

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.data import DataLoader, Subset, TensorDataset
from minidl.datasets import FashionMini
from minidl.io import atomic_write, safetensors
from minidl.io.weights import load_weights
from minidl.nn import functional as F
from minidl.training import Callback, Trainer, accuracy, load_checkpoint, save_checkpoint, top_k_accuracy
from minidl.transforms import RandomCrop


def small_parts(seed=0, epochs=3):
    """A network with everything that has state: batch norm, dropout, momentum, a schedule, augmentation."""
    minidl.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(4 * 13 * 13, 10),
    )
    data = Subset(FashionMini(transform=RandomCrop(28, padding=2)), range(0, 300))
    loader = DataLoader(data, batch_size=50, shuffle=True, seed=5)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, epochs=epochs, steps_per_epoch=len(loader))
    return model, loader, optimizer, scheduler


def test_fit_learns_and_keeps_its_numbers(tmp_path, capsys):
    model, loader, optimizer, scheduler = small_parts()
    trainer = Trainer(model, optimizer, scheduler=scheduler, run_dir=tmp_path / "run")
    history = trainer.fit(loader, DataLoader(Subset(FashionMini(train=False), range(100)), batch_size=40), epochs=3)
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert history[-1]["train_loss"] < history[0]["train_loss"] * 0.8
    assert set(history[0]) == {"epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy"}
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_accuracy"]) for row in rows] == [row["val_accuracy"] for row in history]
    printed = capsys.readouterr()
    lines = printed.out.strip().splitlines()
    assert len(lines) == 3  # not a terminal: one plain line per epoch, and no bar
    assert lines[2].startswith("epoch 3/3: train loss")
    assert "images/s" in lines[2]
    assert printed.err == ""


def test_means_are_over_samples_not_batches():
    model = nn.Identity()
    x = minidl.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    loader = DataLoader(TensorDataset(x, minidl.tensor([0, 0, 0])), batch_size=2)
    trainer = Trainer(model, optim.SGD([nn.Parameter(minidl.zeros(1))], lr=0.1))
    measured = trainer.evaluate(loader)
    assert measured["accuracy"] == pytest.approx(2 / 3)
    each = [math.log(1 + math.exp(-2)), math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))]
    assert measured["loss"] == pytest.approx(sum(each) / 3, rel=1e-6)


class Kill(Callback):
    """Stops the process, as it were, in the middle of the second epoch."""

    def __init__(self):
        self.batches = 0

    def on_batch_end(self, trainer, loss):
        self.batches += 1
        if self.batches == 9:
            raise KeyboardInterrupt


def test_a_killed_run_resumes_to_the_same_bits(tmp_path):
    model, loader, optimizer, scheduler = small_parts()
    straight = Trainer(model, optimizer, scheduler=scheduler)
    straight.fit(loader, epochs=3)

    model2, loader2, optimizer2, scheduler2 = small_parts()
    killed = Trainer(model2, optimizer2, scheduler=scheduler2, run_dir=tmp_path, callbacks=[Kill()])
    with pytest.raises(KeyboardInterrupt):
        killed.fit(loader2, epochs=3)

    model3, loader3, optimizer3, scheduler3 = small_parts(seed=99)  # another start: all must come from the checkpoint
    resumed = Trainer(model3, optimizer3, scheduler=scheduler3, run_dir=tmp_path)
    resumed.fit(loader3, epochs=3, resume=True)
    assert resumed.history == straight.history
    for name, value in model.state_dict().items():
        assert np.array_equal(value.numpy(), model3.state_dict()[name].numpy()), name


def dropout_parts(run_dir, *callbacks, schedule=None):
    """A network with dropout, and loaders of which the second has no seed: it draws one when it is first used."""
    minidl.manual_seed(1)
    rng = np.random.default_rng(0)
    data = TensorDataset(minidl.tensor(rng.random((64, 10), np.float32)), minidl.tensor(rng.integers(0, 3, 64)))
    model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loaders = DataLoader(data, 16, shuffle=True, seed=0), DataLoader(data, 32, shuffle=True)
    scheduler = None if schedule is None else schedule(optimizer)
    callbacks = [kind(*loaders) for kind in callbacks]
    return Trainer(model, optimizer, scheduler=scheduler, run_dir=run_dir, callbacks=callbacks), loaders


def check_resuming(tmp_path, *callbacks, **options):
    """Four epochs, and two and two, come to the same bits."""
    straight, loaders = dropout_parts(tmp_path / "straight", *callbacks, **options)
    straight.fit(*loaders, epochs=4)
    for epochs in (2, 4):
        resumed, loaders = dropout_parts(tmp_path / "resumed", *callbacks, **options)
        resumed.fit(*loaders, epochs=epochs, resume=True)
    assert resumed.history == straight.history
    for name, value in straight.model.state_dict().items():
        assert np.array_equal(value.numpy(), resumed.model.state_dict()[name].numpy()), name
    return straight


def test_resuming_is_exact_with_a_validation_loader_that_has_no_seed(tmp_path):
    check_resuming(tmp_path)


class Meddle(Callback):
    """Changes the learning rate and the row, and looks at a batch of each loader."""

    def __init__(self, *loaders):
        self.loaders = loaders

    def on_epoch_end(self, trainer, row):
        trainer.optimizer.param_groups[0]["lr"] /= 2
        for loader in self.loaders:
            next(iter(loader))
        if row["epoch"] > 1:
            row["extra"] = row["epoch"] / 2


def test_what_callbacks_change_after_an_epoch_is_kept(tmp_path):
    history = check_resuming(tmp_path, Meddle).history
    assert [row["lr"] for row in history] == [0.1, 0.05, 0.025, 0.0125]
    for folder in ("straight", "resumed"):
        with open(tmp_path / folder / "metrics.csv", newline="") as file:
            assert [row["extra"] for row in csv.DictReader(file)] == ["", "1.0", "1.5", "2.0"]


@pytest.mark.parametrize("result", [np.float32, minidl.tensor, lambda x: np.array([x]), int])
def test_metrics_may_return_any_kind_of_number(tmp_path, result):
    trainer, loaders = dropout_parts(tmp_path)
    trainer.metrics = {"acc": lambda output, target: result(accuracy(output, target))}
    history = trainer.fit(*loaders, epochs=1)
    assert type(history[0]["train_acc"]) is type(history[0]["val_acc"]) is float
    with open(tmp_path / "metrics.csv", newline="") as file:
        assert float(next(csv.DictReader(file))["train_acc"]) == history[0]["train_acc"]


@pytest.mark.parametrize("result", [None, "high", np.ones(2), minidl.ones(2)])
def test_metrics_that_are_no_number_are_named(result):
    trainer, loaders = dropout_parts(None)
    trainer.metrics = {"acc": lambda output, target: result}
    with pytest.raises(TypeError, match=f"metric 'acc' should return one number.*, got a {type(result).__name__} "):
        trainer.fit(*loaders)


@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: optim.lr_scheduler.StepLR(o, 1, np.float32(0.3)),
        lambda o: optim.lr_scheduler.LambdaLR(o, lambda epoch: np.float32(0.3) ** epoch),
        lambda o: optim.lr_scheduler.MultiStepLR(o, np.array([1, 3]), np.float32(0.3)),
    ],
)
def test_schedules_of_numpys_numbers_resume_exactly(tmp_path, schedule):
    check_resuming(tmp_path, schedule=schedule)


def test_an_epoch_whose_callback_raises_is_kept(tmp_path):
    class Raise(Callback):
        def __init__(self, *loaders):
            pass

        def on_epoch_end(self, trainer, row):
            raise KeyboardInterrupt

    trainer, loaders = dropout_parts(tmp_path, Raise)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(*loaders, epochs=2)
    assert load_checkpoint(tmp_path / "checkpoint.safetensors")["history"] == trainer.history
    assert len(trainer.history) == 1


def step_lr(optimizer):
    return optim.lr_scheduler.StepLR(optimizer, 1)


def chained(optimizer):
    return optim.lr_scheduler.ChainedScheduler([step_lr(optimizer)])


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        (None, step_lr, ("None", "StepLR")),
        (step_lr, None, ("StepLR", "None")),
        (step_lr, chained, ("StepLR", "ChainedScheduler")),
        (optim.lr_scheduler.ReduceLROnPlateau, step_lr, ("ReduceLROnPlateau", "StepLR")),
    ],
)
def test_resuming_with_another_scheduler_is_refused(tmp_path, before, after, names):
    trainer, loaders = dropout_parts(tmp_path, schedule=before)
    trainer.fit(*loaders)
    trainer, loaders = dropout_parts(tmp_path, schedule=after)
    with pytest.raises(ValueError, match="SGD and the scheduler {}, this Trainer has SGD and {};".format(*names)):
        trainer.fit(*loaders, epochs=2, resume=True)


def test_resuming_with_another_optimizer_or_loader_is_refused(tmp_path):
    trainer, loaders = dropout_parts(tmp_path)
    trainer.fit(*loaders)
    trainer, loaders = dropout_parts(tmp_path)
    with pytest.raises(ValueError, match="state of a training loader, and a list cannot take it"):
        trainer.fit(list(loaders[0]), epochs=2, resume=True)
    with pytest.raises(ValueError, match="state of a validation loader, and a list cannot take it"):
        trainer.fit(loaders[0], list(loaders[1]), epochs=2, resume=True)
    trainer.optimizer = optim.Adam(trainer.model.parameters())
    with pytest.raises(ValueError, match="is of a run with the optimizer SGD .*, this Trainer has Adam"):
        trainer.fit(*loaders, epochs=2, resume=True)


def test_checkpoints_from_before_classes_and_validation_loaders_were_kept(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    for before, after in ((step_lr, step_lr), (None, None), (None, step_lr)):
        trainer, loaders = dropout_parts(tmp_path, schedule=before)
        trainer.fit(*loaders)
        save_checkpoint({k: v for k, v in load_checkpoint(path).items() if k not in ("classes", "val_loader")}, path)
        trainer, loaders = dropout_parts(tmp_path, schedule=after)
        if before is after:
            assert len(trainer.fit(*loaders, epochs=2, resume=True)) == 2
    with pytest.raises(ValueError, match="scheduler None, this Trainer has SGD and StepLR"):
        trainer.fit(*loaders, epochs=2, resume=True)


def test_a_metric_may_not_be_named_loss():
    with pytest.raises(ValueError, match="may not be named 'loss'"):
        Trainer(nn.Linear(2, 2), optim.SGD([minidl.zeros(1, requires_grad=True)]), metrics={"loss": accuracy})


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (minidl.ones(2, 10), "the loss needs targets, and the loader gives inputs only"),
        ([minidl.ones(2, 10)], "the loss needs targets, and the loader gives inputs only"),
        ((minidl.ones(2, 10), minidl.tensor([0, 1]), minidl.ones(2)), r"two Tensors, got \(Tensor, Tensor, Tensor\)"),
        ((np.ones((2, 10), np.float32), np.array([0, 1])), r"two Tensors, got \(ndarray, ndarray\)"),
        ((minidl.ones(2, 10), np.array([0, 1])), r"two Tensors, got \(Tensor, ndarray\)"),
        (np.ones((2, 10), np.float32), r"two Tensors, got \(ndarray\)"),
    ],
)
@pytest.mark.parametrize("loss", [F.cross_entropy, nn.CrossEntropyLoss(), F.mse_loss, F.l1_loss])
def test_batches_of_another_kind_are_refused(batch, message, loss):
    trainer, _ = dropout_parts(None)
    trainer.loss = loss
    for call in (trainer.fit, trainer.evaluate):
        with pytest.raises(TypeError, match=message):
            call([batch])


def test_a_loss_that_needs_no_targets():
    trainer, _ = dropout_parts(None)
    trainer.loss, trainer.metrics = (lambda output, target: (output * output).mean()), {}
    assert set(trainer.fit([minidl.ones(2, 10)])[0]) == {"epoch", "lr", "train_loss"}


def test_a_resumed_run_may_leave_out_the_validation(tmp_path):
    trainer, loaders = dropout_parts(tmp_path)
    trainer.fit(*loaders, epochs=1)
    trainer, loaders = dropout_parts(tmp_path)
    history = trainer.fit(loaders[0], epochs=2, resume=True)
    assert "val_loss" in history[0] and "val_loss" not in history[1]
    trainer, loaders = dropout_parts(tmp_path)
    assert "val_loss" in trainer.fit(*loaders, epochs=3, resume=True)[2]


def test_the_same_seed_gives_the_same_numbers_and_another_does_not():
    def run(seed):
        minidl.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 10))
        loader = DataLoader(Subset(FashionMini(), range(200)), batch_size=50, shuffle=True)
        return Trainer(model, optim.SGD(model.parameters(), lr=0.1), seed=seed).fit(loader, epochs=2)

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(tmp_path):
    model = nn.Linear(2, 2)
    x = minidl.ones(6, 2)
    loader = DataLoader(TensorDataset(x, minidl.zeros(6, dtype=minidl.int64)), batch_size=2)
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), run_dir=tmp_path)
    trainer.fit(loader, epochs=1)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    x[3, 0] = float("nan")
    with pytest.raises(RuntimeError, match=r"the loss is nan in epoch 1, batch 1 \(learning rate 0\.1\)"):
        trainer.fit(loader, epochs=1)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_empty_loaders_are_refused():
    empty = TensorDataset(minidl.zeros(0, 2), minidl.zeros(0, dtype=minidl.int64))
    model = nn.Linear(2, 2)
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1))
    for call in (lambda d: trainer.fit(d), trainer.evaluate, trainer.predict):
        with pytest.raises(ValueError, match="no batches"):
            call(DataLoader(empty, batch_size=2))


def test_predict_keeps_order_and_mode():
    model = nn.Sequential(nn.Dropout(0.9), nn.Identity())
    trainer = Trainer(model, optim.SGD([nn.Parameter(minidl.zeros(1))], lr=0.1))
    x = minidl.arange(10).float().reshape(5, 2)
    outputs = trainer.predict(DataLoader(TensorDataset(x), batch_size=2))
    assert outputs.tolist() == x.tolist()
    assert not outputs.requires_grad
    assert model.training


def test_callbacks_and_early_stop():
    calls = []

    class Note(Callback):
        def on_fit_start(self, trainer):
            calls.append("start")

        def on_batch_end(self, trainer, loss):
            calls.append("batch")

        def on_epoch_end(self, trainer, row):
            calls.append(row["epoch"])
            trainer.should_stop = row["epoch"] == 2

        def on_fit_end(self, trainer):
            calls.append("end")

    model = nn.Linear(2, 1)
    loader = DataLoader(TensorDataset(minidl.ones(4, 2), minidl.zeros(4, 1)), batch_size=2)
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), loss=F.mse_loss, callbacks=[Note()])
    assert len(trainer.fit(loader, epochs=5)) == 2
    assert calls == ["start", "batch", "batch", 1, "batch", "batch", 2, "end"]
    assert set(trainer.history[0]) == {"epoch", "lr", "train_loss"}  # no accuracy for a regression


def test_schedulers_step_when_they_should():
    model = nn.Linear(2, 1)
    loader = DataLoader(TensorDataset(minidl.ones(4, 2), minidl.zeros(4, 1)), batch_size=1)
    optimizer = optim.SGD(model.parameters(), lr=1e-3)
    step = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.1)
    history = Trainer(model, optimizer, loss=F.mse_loss, scheduler=step).fit(loader, epochs=3)
    assert [row["lr"] for row in history] == pytest.approx([1e-3, 1e-4, 1e-5])
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    plateau = optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    history = Trainer(model, optimizer, loss=lambda y, t: (y - t).sum() * 0 + 1, scheduler=plateau).fit(
        loader, epochs=4
    )
    assert [row["lr"] for row in history] == [
        0.1,
        0.1,
        0.05,
        0.025,
    ]  # the first epoch sets the mark, the others miss it


def test_metrics():
    scores = minidl.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1.0, 3.0, 2.0], [1.0, 2.0, 3.0]])
    labels = minidl.tensor([2, 0, 2, 0])
    assert accuracy(scores, labels) == 0.5
    assert top_k_accuracy(scores, labels, k=2) == 0.75


def test_checkpoints_give_back_what_they_were_given(tmp_path):
    state = {
        "a": minidl.tensor([1.0, 2.0]),
        "groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0, 1], "flag": True, "none": None}],
        "state": {0: {"step": 3, "buffer": minidl.arange(3)}},
        "text": "x",
        "infinite": float("inf"),
        "scalar": np.float32(0.3),
        "array": np.arange(3, dtype=">i2"),
    }
    save_checkpoint(state, tmp_path / "c.safetensors")
    back = load_checkpoint(tmp_path / "c.safetensors")
    assert back["a"].tolist() == [1.0, 2.0]
    assert back["state"][0]["buffer"].tolist() == [0, 1, 2]
    assert back["groups"] == state["groups"]
    assert isinstance(back["groups"][0]["betas"], tuple)
    assert type(back["scalar"]) is np.float32 and back["scalar"] == np.float32(0.3)
    assert type(back["array"]) is np.ndarray and back["array"].tolist() == [0, 1, 2]
    assert (back["text"], back["infinite"], back["state"][0]["step"]) == ("x", float("inf"), 3)


@pytest.mark.parametrize(
    "state",
    [
        {"a": {"b": minidl.zeros(2)}, "a.b": minidl.ones(2), "a.b#2": minidl.ones(2) * 2},
        {0: minidl.zeros(2), "0": minidl.ones(2)},
        {"a": [minidl.zeros(2)], "a.0": minidl.ones(2)},
        {"__metadata__": minidl.ones(2)},
    ],
)
def test_tensors_whose_paths_coincide_are_kept_apart(tmp_path, state):
    save_checkpoint(state, tmp_path / "c.safetensors")
    back = load_checkpoint(tmp_path / "c.safetensors")
    assert repr(back) == repr(state)


@pytest.mark.parametrize(
    "text", ["{", '{"$dict": [["a"]]}', '{"$tensor": "b"}', '{"$dict": [[[1], 2]]}', "{}", '{"$dict": 3}']
)
def test_checkpoints_with_damaged_text_are_named(tmp_path, text):
    path = tmp_path / "c.safetensors"
    safetensors.save({"a": minidl.ones(1)}, path, {"minidl.checkpoint": text})
    with pytest.raises(ValueError, match=r"c\.safetensors is damaged: its text is not that of a checkpoint"):
        load_checkpoint(path)


def test_bad_checkpoints_are_named(tmp_path):
    with pytest.raises(IsADirectoryError, match=f"{re.escape(str(tmp_path))} is a folder"):
        load_checkpoint(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"missing\.safetensors"):
        load_checkpoint(tmp_path / "missing.safetensors")
    (tmp_path / "text.safetensors").write_text("hello, this is not a file of Tensors")
    with pytest.raises(ValueError, match=r"text\.safetensors is not a safetensors file, or is damaged"):
        load_checkpoint(tmp_path / "text.safetensors")
    minidl.save({"w": minidl.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="is not a checkpoint of a training run"):
        load_checkpoint(tmp_path / "weights.safetensors")
    with pytest.raises(TypeError, match=r"cannot store a\.f of type function"):
        save_checkpoint({"a": {"f": test_metrics}}, tmp_path / "x.safetensors")
    with pytest.raises(TypeError, match=r"cannot store a: its key \(1, 2\) is of type tuple"):
        save_checkpoint({"a": {(1, 2): 3}}, tmp_path / "x.safetensors")
    whole = (tmp_path / "weights.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-3])
    with pytest.raises(ValueError, match="damaged"):
        minidl.load(tmp_path / "cut.safetensors")


def test_save_and_load_weights(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    minidl.save(model.state_dict(), tmp_path / "deep" / "weights.safetensors")
    back = minidl.load(tmp_path / "deep" / "weights.safetensors")
    assert list(sorted(back)) == sorted(model.state_dict())
    for name, value in model.state_dict().items():
        assert back[name].dtype == value.dtype
        assert np.array_equal(back[name].numpy(), value.numpy()), name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"w": [1, 2]}, "expected a Tensor or array for 'w', got list"),
        (minidl.ones(2), "expected a dict of names and Tensors, got Tensor"),
        ({0: minidl.ones(2)}, "expected a string for each name, got 0"),
        ({"w": np.array([None])}, "'w' is of dtype object, expected one of bool, "),
        ({"w": np.ones(2, np.complex128)}, "'w' is of dtype complex128, expected one of bool, "),
    ],
)
def test_save_says_what_it_cannot_write(tmp_path, given, message):
    with pytest.raises(TypeError, match=rf"^save to .*x\.safetensors: {message}"):
        minidl.save(given, tmp_path / "x.safetensors")


def test_a_full_disk_is_an_os_error_and_the_old_file_stays(tmp_path):
    resource = pytest.importorskip("resource", reason="limits of POSIX")
    path = tmp_path / "x.safetensors"
    minidl.save({"w": minidl.ones(2)}, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"save to .*x\.safetensors: the file cannot be written"):
            minidl.save({"w": minidl.ones(1000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert minidl.load(path)["w"].tolist() == [1, 1] and list(tmp_path.iterdir()) == [path]


def safetensors_of(kind, shape, numbers):
    header = json.dumps({"w": {"dtype": kind, "shape": shape, "data_offsets": [0, len(numbers)]}}).encode()
    return len(header).to_bytes(8, "little") + header + numbers


def test_weights_of_kinds_that_numpy_does_not_have(tmp_path):
    wanted = np.array([[1.0, -2.5, 3.0e38], [np.inf, 2.0**-130, 0]], np.float32)
    wanted = (wanted.view(np.uint32) >> 16 << 16).view(np.float32)
    halves = (wanted.view(np.uint32) >> 16).astype("<u2")
    path = tmp_path / "some.safetensors"
    path.write_bytes(safetensors_of("BF16", [2, 3], halves.tobytes()))
    for back in (minidl.load(path)["w"], load_weights(path)["w"]):
        assert back.dtype == np.float32 and np.array_equal(back.numpy(), wanted)
    path.write_bytes(safetensors_of("F8_E4M3", [2], b"ab"))
    with pytest.raises(ValueError, match=r"some\.safetensors: 'w' is of dtype F8_E4M3"):
        minidl.load(path)


def test_atomic_write_leaves_the_old_file_when_the_new_one_fails(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("old")

    def fail():
        with atomic_write(path) as temporary:
            temporary.write_text("half of the new")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.csv"]


@pytest.mark.skipif(os.name != "posix", reason="permissions and symbolic links")
def test_atomic_write_keeps_permissions_and_links(tmp_path):
    link, file = tmp_path / "latest.txt", tmp_path / "runs" / "one"
    link.symlink_to("runs/one")
    for mode in (None, 0o600, 0o664):
        if mode is not None:
            file.chmod(mode)
        with atomic_write(link) as temporary:
            assert temporary.suffix == ".txt" and temporary.parent == file.parent
            temporary.write_text(str(mode))
        assert link.is_symlink() and file.read_text() == str(mode)
        assert mode is None or stat.S_IMODE(file.stat().st_mode) == mode


def test_pictures_are_drawn_or_a_line_says_why_not(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    from minidl.training import pictures

    rows = [{"epoch": i, "lr": 0.1, "train_loss": 1 / i, "val_loss": 2 / i} for i in (1, 2, 3)]
    assert pictures.plot_curves(rows, tmp_path / "curves.png")
    images, chances = np.random.default_rng(0).random((20, 1, 8, 8)), np.eye(20, 3)
    assert pictures.plot_predictions(images, chances, np.zeros(20), ["a", "b", "c"], tmp_path / "p.png")
    for name in ("curves.png", "p.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(pictures, "_figure_class", lambda: None)
    assert not pictures.plot_curves(rows, tmp_path / "other.png")
    assert "pip install 'minidl[viz]'" in capsys.readouterr().err
    assert not (tmp_path / "other.png").exists()
