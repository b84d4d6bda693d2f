"""Scripts of papers on batch normalization, dropout, weight decay and vanishing gradients: what they compute, and whole runs."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.data import TensorDataset
from minidl.datasets import FashionMini
from tests.paper_scripts import load


@pytest.fixture(params=["batch_norm", "dropout", "weight_decay", "vanishing_gradients"])
def script(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    return load(request.param, monkeypatch)


@pytest.fixture
def batch_norm(monkeypatch: pytest.MonkeyPatch) -> Any:
    return load("batch_norm", monkeypatch)


@pytest.fixture
def dropout(monkeypatch: pytest.MonkeyPatch) -> Any:
    return load("dropout", monkeypatch)


@pytest.fixture
def weight_decay(monkeypatch: pytest.MonkeyPatch) -> Any:
    return load("weight_decay", monkeypatch)


@pytest.fixture
def vanishing(monkeypatch: pytest.MonkeyPatch) -> Any:
    return load("vanishing_gradients", monkeypatch)


def blobs(count: int, seed: int = 0) -> TensorDataset:
    """Vectors (784,) around one centre for each of ten classes: easy to tell apart."""
    centres = np.random.default_rng(7).random((10, 784))
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    pixels = centres[labels] + 0.1 * rng.standard_normal((count, 784))
    return TensorDataset(minidl.tensor(pixels.astype(np.float32)), minidl.tensor(labels))


# -- batch normalization -----------------------------------------------------------------------------------------------


def test_batch_normalized_sigmoids_get_normalized_sums(batch_norm: Any) -> None:
    assert [type(layer) for layer in batch_norm.build(True)] == [nn.Linear, nn.BatchNorm1d, nn.Sigmoid] * 3 + [
        nn.Linear
    ]
    assert [type(layer) for layer in batch_norm.build(False)] == [nn.Linear, nn.Sigmoid] * 3 + [nn.Linear]
    minidl.manual_seed(0)
    weight = batch_norm.build(False)[2].weight.detach().numpy()
    assert weight.std() == pytest.approx(batch_norm.STD, rel=0.05)


def test_percentiles_are_those_of_what_goes_into_the_last_hidden_sigmoids(batch_norm: Any) -> None:
    minidl.manual_seed(0)
    for with_it in (False, True):
        model = batch_norm.build(with_it)
        images = blobs(200)[:][0]
        model(images)  # gives batch normalization running averages that are not 0 and 1
        running = model[1].running_mean.numpy().copy() if with_it else None
        found = batch_norm.sigmoid_inputs(model, images)
        assert model.training and found.shape == (3, 100)
        if with_it:
            np.testing.assert_array_equal(model[1].running_mean.numpy(), running)  # looking must not change the net
        model.eval()
        seen: list[np.ndarray] = []
        sigmoid = [layer for layer in model if isinstance(layer, nn.Sigmoid)][-1]
        sigmoid.register_forward_hook(lambda _, args, __, seen=seen: seen.append(args[0].detach().numpy()))
        model(images)
        for row, percentile in zip(found, (15, 50, 85), strict=True):
            np.testing.assert_allclose(row, np.percentile(seen[0], percentile, axis=0), rtol=1e-5)


def test_drift_and_the_typical_unit(batch_norm: Any) -> None:
    percentiles = np.zeros((4, 3, 3))
    percentiles[:, :, 1] = np.array([0.0, 3, -1, 2])[:, None]  # each percentile wanders from −1 to 3
    percentiles[:, 2, 2] = [0, 0, 6, 5]  # only the third does, by 6
    np.testing.assert_allclose(batch_norm.drift(percentiles), [0, 4, 2])
    assert batch_norm.typical(percentiles) == 2


def test_steps_to_an_accuracy(batch_norm: Any) -> None:
    run = {"step": np.array([10, 20, 30]), "accuracy": np.array([0.5, 0.9, 0.8])}
    assert batch_norm.steps_to(run, 0.85) == 20
    assert batch_norm.steps_to(run, 0.5) == 10
    assert batch_norm.steps_to(run, 0.95) is None


def test_batch_norm_learns_sooner(batch_norm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, step = [], minidl.optim.SGD.step
    monkeypatch.setattr(minidl.optim.SGD, "step", lambda self: (calls.append(1), step(self))[1])
    train_set, test_set = blobs(600), blobs(100, seed=1)
    runs = {bn: batch_norm.train(bn, train_set, test_set, 120, 0.1, 0) for bn in (False, True)}
    assert runs[True]["step"].tolist() == [100, 120] and len(calls) == 240
    assert runs[True]["percentiles"].shape == (2, 3, 100)
    assert runs[True]["accuracy"][-1] > 0.9 > 0.5 > runs[False]["accuracy"][-1]
    again = batch_norm.train(True, train_set, test_set, 120, 0.1, 0)
    np.testing.assert_array_equal(again["percentiles"], runs[True]["percentiles"])


# -- dropout -----------------------------------------------------------------------------------------------------------


def test_max_norm_shortens_what_is_too_long_and_nothing_else(dropout: Any) -> None:
    layers = [nn.Linear(2, 4), nn.Linear(2, 2), nn.Linear(2, 1)]
    weights = [[3.0, 4.0], [0.6, 0.8], [0.0, 0.0], [0.0, -2.0]], [[0.0, 0.5], [8.0, 6.0]], [[0.0, 3.0]]
    with minidl.no_grad():
        for layer, weight in zip(layers, weights, strict=True):
            layer.weight.copy_(minidl.tensor(weight))
    biases = [layer.bias.detach().numpy().copy() for layer in layers]
    dropout.limit_norms(layers, (2.0, 1.0))
    expected = [[1.2, 1.6], [0.6, 0.8], [0.0, 0.0], [0.0, -2.0]], [[0.0, 0.5], [0.8, 0.6]], [[0.0, 1.0]]
    for layer, bias, rows in zip(layers, biases, expected, strict=True):  # a row is what goes into one unit
        np.testing.assert_allclose(layer.weight.detach().numpy(), rows, rtol=1e-6)
        np.testing.assert_array_equal(layer.bias.detach().numpy(), bias)
        assert layer.weight.requires_grad


def test_nets_are_those_of_the_paper(dropout: Any) -> None:
    papers = [(net.hidden, net.unit, net.dropout, net.max_norm is not None, net.paper) for net in dropout.NETS]
    assert papers == [
        ((800, 800), nn.Sigmoid, False, False, 1.60),
        ((1024, 1024, 1024), nn.ReLU, False, False, None),
        ((1024, 1024, 1024), nn.ReLU, True, False, 1.25),
        ((1024, 1024, 1024), nn.ReLU, True, True, 1.06),
    ]
    rates = [layer.p for layer in dropout.build(dropout.NETS[2]) if isinstance(layer, nn.Dropout)]
    assert rates == [0.2, 0.5, 0.5, 0.5]
    assert not any(isinstance(layer, nn.Dropout) for layer in dropout.build(dropout.NETS[1]))


def test_dropout_trains_within_the_limit(dropout: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    net = dropout.Net("small", (32, 32), nn.ReLU, True, (0.7, 0.5), lr=1e-2, epochs=3, paper=None)
    models = []
    build = dropout.build
    monkeypatch.setattr(dropout, "build", lambda net: models.append(build(net)) or models[-1])
    history = dropout.train(net, blobs(640), blobs(100, seed=1), 3, 0)
    assert [row["step"] for row in history] == [5, 10, 15]
    assert history[-1]["loss"] < history[0]["loss"]
    layers = [layer for layer in models[0].modules() if isinstance(layer, nn.Linear)]
    lengths = [np.linalg.norm(layer.weight.detach().numpy(), axis=1).max() for layer in layers]
    assert 0.5 < lengths[0] <= 0.7 + 1e-5 and max(lengths[1:]) <= 0.5 + 1e-5


# -- weight decay ------------------------------------------------------------------------------------------------------


def test_soft_threshold(weight_decay: Any) -> None:
    weight = nn.Parameter(minidl.tensor([[0.5, -0.5, 0.1, -0.1, 0.0, 0.2]]))
    weight_decay.soft_threshold(weight, 0.2)
    np.testing.assert_allclose(weight.detach().numpy(), [[0.3, -0.3, 0, 0, 0, 0]], atol=1e-7)
    assert (weight.detach().numpy()[0, 2:5] == 0).all()


def test_data_are_apart_and_noise_is_for_training_labels_only(weight_decay: Any) -> None:
    clean, noisy = weight_decay.load(500, 0.0, 3), weight_decay.load(500, 0.5, 3)
    assert [len(part) for part in (clean.train, clean.validation, clean.test)] == [500, 1000, 1000]
    for part in ("train", "validation", "test"):
        mine, other = getattr(clean, part)[:], getattr(noisy, part)[:]
        np.testing.assert_array_equal(mine[0].numpy(), other[0].numpy())
        changed = (mine[1].numpy() != other[1].numpy()).mean()
        assert 0.35 < changed < 0.55 if part == "train" else changed == 0  # of a half, a tenth are right by chance
    true = FashionMini().targets.numpy()[np.random.default_rng(3).permutation(6000)[:500]]
    np.testing.assert_array_equal(clean.train[:][1].numpy(), true)
    rows = {row.tobytes() for row in clean.train[:][0].numpy()}
    assert not any(row.tobytes() in rows for row in clean.validation[:][0].numpy())
    assert (weight_decay.load(500, 0.0, 4).train[:][1].numpy() != clean.train[:][1].numpy()).any()


def test_what_penalties_do_to_weights(weight_decay: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_decay, "WIDTH", 16)
    data = weight_decay.Data(blobs(300), blobs(100, seed=1), blobs(100, seed=2))
    kinds = {weight_decay.NONE: 0.0, weight_decay.L2: 0.1, weight_decay.L1: 3e-3, weight_decay.SOFT: 3e-3}
    runs = {kind: weight_decay.train(kind, strength, data, 100, 0) for kind, strength in kinds.items()}
    none, decay, loss, soft = runs.values()
    assert weight_decay.train(weight_decay.NONE, 0.1, data, 100, 0)["norm"] == none["norm"]  # nothing else decays
    assert decay["norm"] < 0.7 * none["norm"]
    assert none["zero"] == decay["zero"] == loss["zero"] == 0
    assert soft["zero"] > 30
    assert loss["nearly zero"] > 5 * none["nearly zero"]
    assert soft["norm"] == pytest.approx(loss["norm"], rel=0.1)  # two ways to the same penalty
    assert all(run["weights"].size == 16 * 794 and run["training error"] < 10 for run in runs.values())
    assert soft["zero"] == pytest.approx(100 * (soft["weights"] == 0).mean())
    assert loss["norm"] == pytest.approx(math.sqrt((loss["weights"].astype(float) ** 2).sum()), rel=1e-4)


# -- vanishing gradients -----------------------------------------------------------------------------------------------


def test_gradients_are_those_by_what_linear_layers_put_out(vanishing: Any) -> None:
    """The gradient of a layer's bias is the sum over images of that by its output."""
    minidl.manual_seed(0)
    images, labels = blobs(20)[:]
    for kind in (vanishing.Kind("tanh", "Xavier"), vanishing.Kind("ReLU", "He", True)):
        model = vanishing.build(kind, 3, width=8)
        activations, gradients = vanishing.look(model, images, labels)
        assert [a.shape for a in activations] == [g.shape for g in gradients] == [(20, 8)] * 3
        assert all(p.grad is None or not p.grad.numpy().any() for p in model.parameters())
        nn.functional.cross_entropy(model(images), labels).backward()
        linear = [layer for layer in model if isinstance(layer, nn.Linear)]
        for layer, gradient in zip(linear, gradients, strict=False):
            np.testing.assert_allclose(layer.bias.grad.numpy(), gradient.sum(0), atol=1e-6)
        np.testing.assert_allclose(linear[-1].weight.grad.numpy().shape, (10, 8))
        assert (np.abs(activations[0]).max() <= 1) or kind.unit == "ReLU"
    many = blobs(600)
    found = vanishing.norms(model, many)
    direct = vanishing.look(model, *many[:500])[1]
    np.testing.assert_allclose(found, [np.sqrt((g.astype(float) ** 2).sum()) for g in direct], rtol=1e-3)


def test_norms_of_tiny_gradients_do_not_underflow(vanishing: Any) -> None:
    minidl.manual_seed(0)
    model = vanishing.build(vanishing.Kind("ReLU", "small"), 20, width=64)
    assert 0 < vanishing.norms(model, blobs(100))[0] < 1e-22


def test_measured_factors_are_those_of_theory(vanishing: Any) -> None:
    assert vanishing.per_layer([8.0, 4.0, 2.0, 1.0]) == pytest.approx(2)
    assert vanishing.per_layer([0.0, 0.0]) == 0
    kind = vanishing.Kind
    theory = {
        kind("ReLU", "He"): 1, kind("ReLU", "Xavier"): 1 / math.sqrt(2), kind("tanh", "1/√n"): 1 / math.sqrt(3),
        kind("sigmoid", "Xavier"): 1 / 4, kind("ReLU", "small"): 0.01 * math.sqrt(200 / 2),
        kind("ReLU", "He", True): math.sqrt(math.pi / (math.pi - 1)),
    }  # fmt: skip
    labels = minidl.arange(200) % 10
    images = minidl.tensor(np.random.default_rng(0).standard_normal((200, 784)).astype(np.float32))
    for kind, factor in theory.items():
        assert kind.factor(200) == pytest.approx(factor)
        minidl.manual_seed(1)
        measured = vanishing.per_layer(vanishing.norms(vanishing.build(kind, 12, 200), TensorDataset(images, labels)))
        assert measured == pytest.approx(factor, rel=0.1), kind


def test_weights_have_the_deviation_that_was_asked_for(vanishing: Any) -> None:
    minidl.manual_seed(0)
    for start, std in {
        "small": 0.01,
        "1/√n": 1 / math.sqrt(3 * 300),
        "Xavier": 1 / math.sqrt(300),
        "He": math.sqrt(2 / 300),
    }.items():
        weight = vanishing.build(vanishing.Kind("tanh", start), 2, 300)[2].weight.detach().numpy()
        assert weight.std() == pytest.approx(std, rel=0.03)
        if start == "1/√n":
            assert np.abs(weight).max() <= 1 / math.sqrt(300)


def test_training_ends_where_the_loss_does_and_clipping_prevents_that(vanishing: Any) -> None:
    data = blobs(300)
    ends = {}
    for clip in (math.inf, 1.0):
        minidl.manual_seed(0)
        model = vanishing.build(vanishing.Kind("ReLU", "1.2 × He"), 30, 64)
        ends[clip] = vanishing.train(model, data, 25, 0, clip=clip)
    losses, norms = ends[math.inf]
    assert len(losses) < 25 and not math.isfinite(losses[-1]) and len(norms) == len(losses) - 1
    losses, norms = ends[1.0]
    assert len(losses) == 25 and losses[-1] < losses[0] and norms[0] > 1  # measured before clipping
    assert vanishing.finite([1.0, math.inf, math.nan, 2.0]) == [1.0, 2.0]


# -- whole scripts -----------------------------------------------------------------------------------------------------


def test_a_whole_run_writes_numbers_and_a_picture(
    script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    name = script.__name__
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--fast", "--out", str(tmp_path)])
    if hasattr(script, "mnist"):
        monkeypatch.setattr(script, "mnist", lambda options, train: blobs(300 if train else 60, seed=train))
    small = {
        "batch_norm": {},
        "dropout": {"NETS": [replace(net, hidden=(16,), epochs=2) for net in getattr(script, "NETS", [])]},
        "weight_decay": {"WIDTH": 4},
        "vanishing_gradients": {"WIDTH": 32, "GLOROT": (5, 50), "DEPTHS": (2, 3, 4, 6)},
    }  # fmt: skip
    for key, value in small[name].items():
        monkeypatch.setattr(script, key, value)
    if name == "batch_norm":
        sys.argv += ["--steps", "110", "--seeds", "2"]
    if name == "weight_decay":
        train = script.train
        monkeypatch.setattr(script, "train", lambda kind, s, data, steps, seed: train(kind, s, data, 5, seed))
    if name == "vanishing_gradients":
        sys.argv += ["--steps", "4"]
    script.main()
    result = json.loads(
        (tmp_path / f"{name}.json").read_text(encoding="utf-8"), parse_constant=lambda text: pytest.fail(text)
    )
    assert result["fast"] and result["rows"] and all(np.isfinite(row["ours"]).all() for row in result["rows"])
    if name == "weight_decay":  # the λ in the table is the one with the fewest errors on the validation images
        mine = [curve for curve in result["curves"] if curve["noise"] == 0 and curve["penalty"] == script.L2]
        best = min(mine, key=lambda curve: curve["seeds"][0]["validation error"])
        rows = [
            row for row in result["rows"] if row["what"].startswith("test error, %: 0 % random labels, weight decay")
        ]
        assert len(mine) == 2 and len({curve["seeds"][0]["validation error"] for curve in mine}) == 2
        assert rows[0]["what"].endswith(f"λ = {best['strength']:g}")
    printed = capsys.readouterr().out
    assert "Try next" in printed and all(row["what"] in printed for row in result["rows"])
    pytest.importorskip("matplotlib")
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("batch_norm", ["--seeds", "0"]), ("weight_decay", ["--noise", "2"]), ("weight_decay", ["--images", "5500"]),
     ("vanishing_gradients", ["--steps", "0"])],
)  # fmt: skip
def test_wrong_options_are_one_line(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    script = load(name, monkeypatch)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    with pytest.raises(SystemExit, match=rf"^{name}\.py: .*{arguments[0]} .* got .*\b{arguments[1]}\b"):
        script.run(script.main)
