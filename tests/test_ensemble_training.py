"""Snapshots of one run, views of one image, and the example."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minidl
from minidl import nn, optim
from minidl import transforms as T
from minidl.data import DataLoader, TensorDataset
from minidl.ensemble import Snapshots, TestTimeAugmentation, VotingEnsemble
from minidl.nn import functional as F
from minidl.training import Trainer
from minidl.training.callbacks import Callback

EXAMPLE = Path(__file__).parent.parent / "examples" / "ensemble.py"


def problem(samples=60):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0)
    return DataLoader(TensorDataset(minidl.from_numpy(x), minidl.from_numpy(y)), 10, shuffle=True, seed=0)


class Watch(Callback):
    """Notes the rate after every update, and the weights."""

    def __init__(self):
        self.rates, self.weights = [], []

    def on_batch_end(self, trainer, loss):
        self.rates.append([group["lr"] for group in trainer.optimizer.param_groups])
        self.weights.append(trainer.model[0].weight.detach().numpy().copy())


def model_of():
    minidl.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def test_rates_follow_the_papers_equation_and_copies_are_taken_at_its_minima():
    model = model_of()
    groups = [
        {"params": model[0].parameters()},
        {"params": [*model[1].parameters(), *model[3].parameters()], "lr": 0.02},
    ]
    optimizer = optim.SGD(groups, lr=0.1)
    snapshots, watch = Snapshots(steps_per_cycle=8), Watch()
    trainer = Trainer(model, optimizer, callbacks=[watch, snapshots])
    trainer.fit(problem(), epochs=3)  # 18 updates: two cycles, and a little
    assert snapshots.step == 18 and len(snapshots.models) == 2
    for t, (first, second) in enumerate(watch.rates, 1):  # the rate with which update t was made
        expected = 0.5 * (math.cos(math.pi * ((t - 1) % 8) / 8) + 1)
        assert first == pytest.approx(0.1 * expected, abs=1e-15) and second == pytest.approx(0.02 * expected, abs=1e-15)
    assert watch.rates[0][0] == watch.rates[8][0] == 0.1 and watch.rates[7][0] < 0.004
    for model, t in zip(snapshots.models, (8, 16), strict=True):
        np.testing.assert_array_equal(model[0].weight.detach().numpy(), watch.weights[t - 1])
        assert model is not trainer.model and all(p.grad is None for p in model.parameters())
    assert int(snapshots.models[0][1].num_batches_tracked.item()) == 8  # buffers are copied too


def test_snapshots_become_an_ensemble():
    snapshots = Snapshots(6)
    model = model_of()
    loader = problem()
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), callbacks=[snapshots])
    trainer.fit(loader, epochs=3)
    every, last = snapshots.ensemble(), snapshots.ensemble(last=2, voting="hard", weights=[1, 2])
    assert isinstance(every, VotingEnsemble) and not every.training
    assert list(every.members) == snapshots.models and list(last.members) == snapshots.models[1:]
    assert last.voting == "hard" and not any(m.training for m in last.modules())
    x = minidl.randn(5, 4)
    with minidl.no_grad():
        mean = np.mean([F.softmax(m(x), 1).numpy() for m in snapshots.models], 0)
        np.testing.assert_allclose(every.predict_proba(x).numpy(), mean, rtol=1e-4)
    trainer.fit(loader, epochs=1)  # again: from the first rate, and without the old copies
    assert len(snapshots.models) == 1 and snapshots.step == 6
    for wrong in (0, 2, -1):
        with pytest.raises(ValueError, match=f"{wrong} were asked for, and there are 1, after 6 steps in cycles of 6"):
            snapshots.ensemble(last=wrong)
    with pytest.raises(ValueError, match="at least one was asked for, and there are 0"):
        Snapshots(3).ensemble()


def test_a_second_fit_begins_at_the_first_rate():
    snapshots, watch, model = Snapshots(4), Watch(), model_of()
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), callbacks=[watch, snapshots])
    trainer.fit(problem(), epochs=1)  # six updates: the second cycle is left in its middle
    trainer.fit(problem(), epochs=1)
    assert watch.rates[0] == watch.rates[6] == [0.1]


def test_snapshots_refuse_what_they_cannot_do(tmp_path):
    for bad in (0, -1, 2.0, True, "3"):
        with pytest.raises(ValueError, match="steps_per_cycle should be an integer of at least 1"):
            Snapshots(bad)
    model = model_of()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = optim.lr_scheduler.StepLR(optimizer, 1)
    with pytest.raises(ValueError, match=r"without a scheduler \(it has a StepLR\)"):
        Trainer(model, optimizer, scheduler=scheduler, callbacks=[Snapshots(3)]).fit(problem())
    Trainer(model, optimizer, run_dir=tmp_path).fit(problem(), epochs=1)
    with pytest.raises(RuntimeError, match="cannot resume: what was kept in the first 1 epochs"):
        Trainer(model, optimizer, run_dir=tmp_path, callbacks=[Snapshots(3)]).fit(problem(), epochs=2, resume=True)


# -- test-time augmentation ----------------------------------------------------------------------------------------


def softmax(x):
    return F.softmax(x, 1).detach().numpy()


def test_views_are_averaged():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    x = minidl.rand(5, 3, 4, 4)
    augmented = TestTimeAugmentation(model, [None, T.RandomHorizontalFlip(p=1.0), lambda x: x * 2])
    mirrored = minidl.from_numpy(x.numpy()[..., ::-1].copy())
    expected = np.mean([softmax(model(view)) for view in (x, mirrored, x * 2)], 0)
    np.testing.assert_allclose(augmented(x).detach().exp().numpy(), expected, rtol=1e-5)
    assert augmented(x).shape == (5, 3)
    F.nll_loss(augmented(x), minidl.tensor([0, 1, 2, 0, 1])).backward()
    assert np.abs(model[1].weight.grad.numpy()).max() > 0
    assert set(augmented.state_dict()) == {"model.1.weight", "model.1.bias"}
    assert "RandomHorizontalFlip" in repr(augmented)


@pytest.mark.parametrize(("crops", "count"), [(T.FiveCrop(3), 5), (T.TenCrop(3), 10)])
def test_crops_count_one_each(crops, count):
    model = nn.Sequential(nn.Flatten(), nn.Linear(27, 4))
    x = minidl.rand(2, 3, 5, 5)
    augmented = TestTimeAugmentation(model, [T.CenterCrop(3), crops])
    views = [T.CenterCrop(3)(x), *crops(x)]
    assert len(augmented.views(x)) == len(views) == count + 1
    expected = np.mean([softmax(model(view)) for view in views], 0)
    np.testing.assert_allclose(augmented(x).detach().exp().numpy(), expected, rtol=1e-5)


def test_random_views_are_the_same_in_every_call():
    model = nn.Sequential(nn.Flatten(), nn.Linear(27, 4))
    x = minidl.rand(6, 3, 5, 5)
    crop = T.RandomCrop(3)
    augmented = TestTimeAugmentation(model, [crop, crop], seed=3)
    state = minidl.get_rng_state().numpy().copy()
    first, second = augmented.views(x)
    assert not np.array_equal(first.numpy(), second.numpy())  # each transform in the list draws for itself
    for a, b in zip(augmented.views(x), (first, second), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    np.testing.assert_array_equal(minidl.get_rng_state().numpy(), state)  # and takes nothing from other draws
    other = TestTimeAugmentation(model, [crop, crop], seed=4).views(x)
    assert not np.array_equal(other[0].numpy(), first.numpy())
    ensemble = VotingEnsemble([augmented, augmented]).eval()
    with minidl.no_grad():
        np.testing.assert_allclose(ensemble(x).numpy(), augmented(x).numpy(), rtol=1e-5)


def test_bad_views():
    model = nn.Flatten()
    with pytest.raises(ValueError, match="expected at least one transform"):
        TestTimeAugmentation(model, [])
    with pytest.raises(TypeError, match="should be callable or None, got 3"):
        TestTimeAugmentation(model, [None, 3])
    with pytest.raises(TypeError, match="should give Tensors, got str"):
        TestTimeAugmentation(model, [lambda x: "x"])(minidl.zeros(1, 2))


# -- the example ---------------------------------------------------------------------------------------------------


def test_the_example_runs(tmp_path):
    def run(*options):
        command = [sys.executable, EXAMPLE, "--out", tmp_path / "runs", *options]
        return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=300)

    done = run("--fast", "--epochs", "2", "--cycles", "2", "--train", "500", "--test", "100", "--held-out", "100")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "runs" / "ensemble.json").read_text(encoding="utf-8"))
    rows = re.findall(r"^ +(\d) +(\d) +([\d.]+) +([\d.]+) +([\d.]+) \| +([\d.]+) +([\d.]+)$", done.stdout, re.MULTILINE)
    assert [(row[0], row[1]) for row in rows] == [("1", "3"), ("2", "3"), ("3", "1")]
    for row, kept in zip(rows, result["rows"], strict=True):
        assert float(row[2]) == pytest.approx(100 * kept["hard"], abs=0.01)
        assert float(row[6]) == pytest.approx(100 * kept["correlated"], abs=0.01)
    assert rows[0][2] == rows[0][3]  # one network has nobody to vote with
    assert "Two networks disagree" in done.stdout and "Try next" in done.stdout
    assert len(result["snapshots"]["single"]) == 2 and len(result["times"]) == 6
    for name in ("errors.png", "reliability.png"):
        with Image.open(tmp_path / "runs" / name) as picture:
            assert picture.width > 800
    for options, code, message in (
        (("--members", "1"), 2, "--members must be from 2 to 9"),
        (("--cycles", "9"), 2, "--cycles from 1 to as many"),
        (("--train", "5900"), 1, "ensemble: --train 5900 and --held-out 1000 are more than the 6000 images"),
    ):
        done = run(*options)
        assert done.returncode == code and message in done.stderr and "Traceback" not in done.stderr
