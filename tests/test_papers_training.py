"""Scripts of papers on momentum, augmentation and averages of nets, and the summary: what they compute, and whole runs."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.data import DataLoader, TensorDataset
from minidl.nn import functional as F
from tests.paper_scripts import FOLDER, load


@pytest.fixture
def momentum(monkeypatch: pytest.MonkeyPatch) -> Any:
    return load("momentum", monkeypatch)


@pytest.fixture
def augmentation(monkeypatch: pytest.MonkeyPatch) -> Any:
    return load("augmentation", monkeypatch)


@pytest.fixture
def averaging(monkeypatch: pytest.MonkeyPatch) -> Any:
    return load("averaging", monkeypatch)


@pytest.fixture
def summary(monkeypatch: pytest.MonkeyPatch) -> Any:
    return load("summary", monkeypatch)


def tiny_network() -> nn.Sequential:
    """In the place of the scripts' network, which takes a second for ten steps."""
    return nn.Sequential(
        nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)
    )


class Pictures(TensorDataset):
    """Photographs of one colour for each of ten classes, with noise: easy to tell apart."""

    def __init__(self, count: int, seed: int = 0) -> None:
        colours = np.random.default_rng(7).normal(size=(10, 3, 1, 1))
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 10, count)
        images = colours[labels] + 0.3 * rng.normal(size=(count, 3, 32, 32))
        super().__init__(minidl.tensor(images.astype(np.float32)), minidl.tensor(labels))
        self.targets = labels.tolist()


def digits(options: Any, train: bool) -> TensorDataset:
    rng = np.random.default_rng(int(train))
    labels = rng.integers(0, 10, 600 if train else 100)
    images = np.random.default_rng(7).random((10, 784))[labels] + 0.1 * rng.random((len(labels), 784))
    return TensorDataset(minidl.tensor(images.astype(np.float32)), minidl.tensor(labels))


def result_of(main: Any, name: str, folder: Path, *options: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a script's main with these options; return what it wrote."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--out", str(folder), *options])
    main()
    assert (folder / f"{name}.png").stat().st_size > 1000
    result = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    for row in result["rows"]:
        assert row["ours"]
        assert all(math.isfinite(value) for value in row["ours"])
    return result


def rows_of(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["what"]: row for row in result["rows"]}


# Momentum.


@pytest.mark.parametrize("kappa", [10, 100])
@pytest.mark.parametrize("method", ["plain", "momentum", "Nesterov"])
def test_the_factor_on_a_quadratic_is_the_spectral_radius(momentum: Any, method: str, kappa: float) -> None:
    """One step as a matrix on (w, w before), for each curvature; the worst eigenvalue of all is the factor."""
    options, factor = momentum.best_on_quadratic(method, kappa)
    lr, mu = options["lr"], options.get("momentum", 0.0)
    worst = 0.0
    for h in np.geomspace(1 / kappa, 1, 200):
        slope = 1 - lr * h
        ahead = [[(1 + mu) * slope, -mu * slope], [1, 0]]  # Nesterov's gradient is that of the point ahead
        here = [[1 + mu - lr * h, -mu], [1, 0]]
        worst = max(worst, *np.abs(np.linalg.eigvals(ahead if options.get("nesterov") else here)))
    assert factor == pytest.approx(worst, abs=1e-6)


def test_steps_on_a_quadratic_are_as_many_as_in_theory(momentum: Any) -> None:
    plain, heavy, nesterov = (momentum.steps_on_quadratic(method, 64) for method in ("plain", "momentum", "Nesterov"))
    assert plain == pytest.approx(math.log(1e-6) / math.log(63 / 65), rel=0.1)
    assert math.log(1e-6) / math.log(7 / 9) < heavy < nesterov < plain / 2  # above theory: at first it overshoots
    assert momentum.steps_on_quadratic("momentum", 256) / heavy == pytest.approx(2, rel=0.15)  # √κ
    assert momentum.steps_on_quadratic("plain", 256) / plain == pytest.approx(4, rel=0.1)  # κ


def tiny_training(
    momentum: Any, schedule: str, steps: int, average: bool
) -> tuple[np.ndarray, list[float], list[float]]:
    """Fit one weight to alternating targets by batches of one; the weight, its values and the rates on the way."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = optim.SGD(model.parameters(), lr=0.4)
    loader = DataLoader(TensorDataset(minidl.ones(2, 1), minidl.tensor([[-1.0], [2.0]])))
    values, rates = [], []
    momentum.POINTS = steps

    def measure() -> float:
        values.append(model.weight.item())
        rates.append(optimizer.param_groups[0]["lr"])
        return values[-1]

    curve = momentum.train(
        model,
        lambda x, y: F.mse_loss(model(x), y),
        loader,
        momentum.SCHEDULES[schedule](optimizer, steps),
        steps,
        average,
        measure,
    )
    assert curve == values
    return model.weight.detach().numpy(), values, rates


def test_the_average_is_the_mean_of_the_weights_of_the_second_half(momentum: Any) -> None:
    weight, values, rates = tiny_training(momentum, "constant, weights averaged", 9, average=True)
    assert rates == [0.4] * 9
    assert len(values) == 9
    assert weight.item() == pytest.approx(np.mean(values[4:]), rel=1e-6)
    assert weight.item() != pytest.approx(values[-1], rel=0.1)
    last, again, _ = tiny_training(momentum, "constant", 9, average=False)
    assert again == values
    assert last.item() == values[-1]


def test_the_schedules_are_what_they_are_called(momentum: Any) -> None:
    def rates(name: str) -> list[float]:  # after each of eight steps
        return tiny_training(momentum, name, 8, average=False)[2]

    def starts(name: str) -> float:
        optimizer = optim.SGD([minidl.zeros(1, requires_grad=True)], lr=0.4)
        momentum.SCHEDULES[name](optimizer, 8)
        return optimizer.param_groups[0]["lr"]

    assert rates("constant") == [0.4] * 8
    assert rates("step")[:7] == pytest.approx([0.4] * 3 + [0.04] * 2 + [0.004] * 2)
    assert rates("cosine")[:7] == pytest.approx([0.2 + 0.2 * math.cos(math.pi * k / 8) for k in range(1, 8)])
    cycle = rates("one cycle")
    assert max(cycle) == pytest.approx(0.4, rel=0.1)
    assert min(cycle) < 1e-4
    assert [starts(name) for name in ("constant", "step", "cosine")] == [0.4] * 3
    assert starts("one cycle") == pytest.approx(0.016)


def test_the_average_of_gradients_is_momentum_at_a_tenth_of_the_rate(momentum: Any) -> None:
    whole = digits(None, True)
    few = TensorDataset(*whole[:50])
    data = {"train": whole, "sample": few, "choose": few}
    average = momentum.autoencode("average of gradients", data, 25, 0.02, 0)
    heavy = momentum.autoencode("momentum", data, 25, 0.002, 0)
    assert average["curve"] == pytest.approx(heavy["curve"], rel=1e-3)
    plain = momentum.autoencode("plain", data, 25, 0.002, 0)
    assert plain["curve"][-1] > 1.02 * heavy["curve"][-1]
    assert momentum.autoencode("Nesterov", data, 25, 0.002, 0)["curve"] != heavy["curve"]
    assert heavy["result"] == heavy["curve"][-1] == heavy["choose"]  # here both parts are the same images


def test_the_squared_error_is_that_of_an_image(momentum: Any) -> None:
    images = minidl.tensor([[0.0, 1.0], [0.5, 0.5]])
    assert momentum.squared_error(nn.Linear(2, 2), images).shape == ()
    half = momentum.squared_error(lambda x: 0 * x, images)  # every pixel 1/2
    assert half.item() == pytest.approx((0.25 + 0.25) / 2)


def test_the_best_rate_is_chosen_by_other_images_than_the_result(momentum: Any) -> None:
    choose = {0.1: 3.0, 0.2: 2.0, 0.4: math.nan}
    found = momentum.best_rate(lambda rate, seed: {"choose": choose[rate] + seed, "result": rate}, list(choose), [0, 2])
    assert found["rate"] == 0.2
    assert [one["result"] for one in found["runs"]] == [0.2, 0.2]
    assert found["tried"] == {0.1: 4.0, 0.2: 3.0, 0.4: None}
    diverged_first = momentum.best_rate(lambda rate, seed: {"choose": choose[rate], "result": 0}, [0.4, 0.1], [0])
    assert diverged_first["rate"] == 0.1


def test_momentum_runs(momentum: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(momentum, "mnist", digits)
    monkeypatch.setattr(momentum, "KAPPAS", [10, 30])
    monkeypatch.setattr(momentum, "POINTS", 5)
    kinds = {kind: (sgd, rates[:1]) for kind, (sgd, rates) in momentum.KINDS.items()}
    monkeypatch.setattr(momentum, "KINDS", kinds)
    monkeypatch.setattr(momentum, "RATES", [0.03])
    arguments = ("--fast", "--steps", "15", "--seeds", "2")
    result = result_of(momentum.main, "momentum", tmp_path, *arguments, monkeypatch=monkeypatch)
    rows = rows_of(result)
    assert rows["autoencoder's squared error, plain"]["paper"] == 2.1
    row = rows["how many times as large plain SGD's is, Nesterov"]
    assert row["paper"] == 2.1
    runs = result["curves"]["autoencoder"]
    quotient = [
        a["curve"][-1] / b["curve"][-1] for a, b in zip(runs["plain"]["runs"], runs["Nesterov"]["runs"], strict=True)
    ]
    assert row["ours"] == quotient
    assert len(row["ours"]) == 2
    assert "chosen by 50 images" in result["setting"]["ran"]
    assert set(result["curves"]["classifier"]) == set(momentum.SCHEDULES)


def test_classifiers_are_measured_on_test_images_and_chosen_by_others(momentum: Any) -> None:
    whole = digits(None, True)
    images, labels = digits(None, False).tensors
    right, wrong = TensorDataset(images, labels), TensorDataset(images, (labels + 1) % 10)
    data = {"train": whole, "choose": right, "test": wrong}
    one = {name: momentum.classify(name, data, 30, 0.1, 0) for name in ("constant", "constant, weights averaged")}
    for found in one.values():
        assert found["choose"] < 70 < found["result"]
        assert found["choose"] + found["result"] >= 100  # an image cannot be both
    assert one["constant"] != one["constant, weights averaged"]
    assert one["constant"] == momentum.classify("constant", data, 30, 0.1, 0)  # the same seed, the same numbers


# Augmentation.


def test_images_needed_are_read_off_the_curve(augmentation: Any) -> None:
    curve = {4000: 20.0, 100: 50.0, 400: 30.0, 1000: 30.0}
    needed = augmentation.images_needed
    assert needed(curve, 40.0) == pytest.approx(200)  # halfway in the logarithm
    assert needed(curve, 50.0) == 100
    assert needed(curve, 20.0) == pytest.approx(4000)
    assert needed(curve, 30.0) == pytest.approx(400)
    assert needed(curve, 25.0) == pytest.approx(2000)
    assert needed(curve, 51.0) is None
    assert needed(curve, 19.0) is None
    assert needed({100: 30.0, 200: 30.0}, 30.0) == 100


def test_what_augmentation_is_worth(augmentation: Any) -> None:
    none, crop = augmentation.NONE, augmentation.CROP_FLIP
    errors = {none: {100: [51.0, 49.0], 400: [30.0]}, crop: {100: [39.0, 41.0], 400: [10.0]}}
    assert augmentation.worth(errors, crop) == {100: pytest.approx(2.0)}  # 400 lies outside the curve
    assert augmentation.share_gone(errors, crop, 100) == pytest.approx(20)
    assert augmentation.share_gone(errors, crop, 400) == pytest.approx(100 * 2 / 3)


def test_every_net_gets_the_same_number_of_steps(augmentation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    step = optim.SGD.step
    monkeypatch.setattr(augmentation, "network", tiny_network)
    monkeypatch.setattr(optim.SGD, "step", lambda self, *a: taken.append(self.param_groups[0]["lr"]) or step(self, *a))
    for count in (64, 200):
        taken.clear()
        augmentation.train(Pictures(count), Pictures(50, seed=1), 5, 0)
        assert len(taken) == 5
        assert taken[0] < 0.1 * augmentation.LEARNING_RATE > 100 * taken[-1]  # it is one cycle over just these
    with pytest.raises(ValueError, match="40 training images are less than a batch of 64"):
        augmentation.train(Pictures(40), Pictures(50), 5, 0)


def test_augmentation_runs(augmentation: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, trained = [], []
    train = augmentation.train

    def pictures(options: Any, train: bool, *augment: Any) -> Pictures:
        asked.append((train, augment))
        return Pictures(300 if train else 100, seed=train)

    def recorded(train_set: Any, test_set: Any, steps: int, seed: int) -> float:
        trained.append((len(train_set), steps, seed, tuple(train_set.indices[:5])))
        return train(train_set, test_set, steps, seed)

    monkeypatch.setattr(augmentation, "cifar10", pictures)
    monkeypatch.setattr(augmentation, "train", recorded)
    monkeypatch.setattr(augmentation, "network", tiny_network)
    monkeypatch.setattr(augmentation, "SIZES", [64, 128])
    kinds = [(kind, size) for kind in augmentation.KINDS for size in (64, 128)]
    monkeypatch.setattr(augmentation, "RUNS", [*kinds, (augmentation.NONE, 256)])
    result = result_of(augmentation.main, "augmentation", tmp_path, "--steps", "4", monkeypatch=monkeypatch)
    assert [(size, seed) for size, steps, seed, _ in trained if steps == 4] == [
        *((64, 0), (64, 1), (128, 0), (128, 1)) * 2, (64, 0), (128, 0), (256, 0), (256, 1)
    ]  # fmt: skip
    chosen = {(size, seed): indices for size, _, seed, indices in trained}
    assert (
        chosen[64, 0] == chosen[128, 0] == trained[4][3]
    )  # the same images for every kind, and few are a part of many
    assert chosen[64, 0] != chosen[64, 1]
    assert (True, ()) in asked
    assert asked.count((False, ())) == len([one for one in asked if not one[0]])  # test images are never augmented
    assert any(len(augment) == 3 for train, augment in asked)
    share = next(row for row in result["rows"] if "crops and flips take away, 128 images" in row["what"])
    errors = result["curves"]["test error"]
    means = [np.mean(errors[kind]["128"]) for kind in (augmentation.CROP_FLIP, augmentation.NONE)]
    assert share["ours"] == [pytest.approx(100 * (1 - means[0] / means[1]))]
    assert share["paper"] == 55.6
    assert [row["paper"] for row in result["rows"]].count(55.6) == 1


# Averages of nets.


def test_errors_of_all_choices_of_nets(averaging: Any) -> None:
    """Three nets, four images of two classes: each net alone is wrong on another image, and not sure of it."""
    labels = np.array([0, 1, 0, 1])
    right = np.eye(2)[labels]
    votes = np.stack([0.9 * right + 0.1 * (1 - right)] * 3)
    for net in range(3):
        votes[net, net] = 0.4 * right[net] + 0.6 * (1 - right[net])
    votes[2, 0] = 0.05 * right[0] + 0.95 * (1 - right[0])  # the third is wrong on the first image too, and sure
    errors = averaging.errors_of_averages(votes, labels)
    assert errors[1] == [25.0, 25.0, 50.0]
    assert errors[2] == [0.0, 25.0, 25.0]  # nets 1 and 2; 1 and 3, both wrong on the first; 2 and 3: 0.9 against 0.95
    assert errors[3] == [25.0]  # 0.4 + 0.9 + 0.05 < 1.5: it is the mean of probabilities, and not the majority
    assert averaging.shares_gone(errors) == {1: pytest.approx(0), 2: pytest.approx(50), 3: pytest.approx(25)}


def test_the_papers_share_is_what_they_say(averaging: Any) -> None:
    assert abs(averaging.GONE - 6.4) < 0.05


def test_probabilities_of_a_net(averaging: Any) -> None:
    minidl.manual_seed(0)
    data = Pictures(7)
    model = averaging.network().eval()
    found = averaging.probabilities(model, data)
    assert found.shape == (7, 10)
    assert found.sum(1) == pytest.approx(np.ones(7), abs=1e-5)
    with minidl.no_grad():
        assert (found.argmax(1) == model(data.tensors[0]).argmax(1).numpy()).all()


def test_averaging_runs_and_nets_differ(averaging: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(averaging, "cifar10", lambda options, train, *augment: Pictures(256 if train else 100, train))
    monkeypatch.setattr(averaging, "BATCH", 32)
    monkeypatch.setattr(averaging, "network", tiny_network)
    votes = []
    probabilities = averaging.probabilities

    def kept(model: nn.Module, dataset: Any) -> np.ndarray:
        assert not model.training
        votes.append(probabilities(model, dataset))
        return votes[-1]

    monkeypatch.setattr(averaging, "probabilities", kept)
    arguments = ("--nets", "5", "--epochs", "2", "--seed", "3")
    result = result_of(averaging.main, "averaging", tmp_path, *arguments, monkeypatch=monkeypatch)
    rows = rows_of(result)
    assert rows["error of one net, %"]["paper"] == 40.7
    assert len(rows["error of one net, %"]["ours"]) == 5
    assert np.mean(rows["error of one net, %"]["ours"]) < 50  # of 90 by chance
    assert rows["error of the average of 5 nets, %"]["paper"] == 38.1
    labels = np.array(Pictures(100, False).targets)
    together = 100 * float((np.mean(votes, axis=0).argmax(1) != labels).mean())
    assert rows["error of the average of 5 nets, %"]["ours"] == [pytest.approx(together)]
    assert not any(np.allclose(votes[0], other) for other in votes[1:])
    assert [len(values) for values in result["curves"]["errors of every choice, by nets"].values()] == [5, 10, 10, 5, 1]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("averaging", ["--nets", "1"], "--nets must be at least 2"),
        ("averaging", ["--epochs", "0"], "--epochs at least 1"),
        ("augmentation", ["--steps", "1"], "--steps must be at least 2"),
        ("momentum", ["--steps", "3"], "--steps must be at least 25"),
        ("momentum", ["--seeds", "0"], "--seeds at least 1"),
    ],
)
def test_wrong_options_end_with_one_line(
    name: str, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load(name, monkeypatch)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    with pytest.raises(SystemExit, match=message) as stopped:
        script.run(script.main)
    assert str(stopped.value).startswith(f"{name}.py: ")
    assert "\n" not in str(stopped.value)


# The summary.

RESULT = {
    "paper": "Someone 1999, table 1",
    "fast": False,
    "seconds": 720,
    "cpu_seconds": 95,
    "machine": "2 threads",
    "date": "2025-01-02",
    "setting": {"ran": "5 epochs", "rates": {"plain": 0.1, "cosine": 0.3}},
    "rows": [
        {"what": "error, a|b, %", "paper": 40.7, "ours": [20.0, 22.0, 27.0]},
        {"what": "steps", "paper": None, "ours": [18997.0]},
    ],
}


def write(folder: Path, name: str, content: Any = RESULT, picture: bool = True) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    if picture:
        path.with_suffix(".png").write_bytes(b"")
    return path


def test_the_summary_says_what_the_results_say(
    summary: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    results, readme = tmp_path / "results", tmp_path / "README.md"
    write(results, "residual")
    write(results, "averaging", {**RESULT, "fast": True}, picture=False)
    monkeypatch.setattr(sys, "argv", ["summary.py", "--results", str(results), "--readme", str(readme)])
    summary.main()
    assert capsys.readouterr().out.strip().endswith("2 papers")
    text = readme.read_text(encoding="utf-8")
    first, second = text.split("\n## ")[1:]  # by name
    assert first.startswith("Five nets are better than one")
    assert second.startswith(
        "Depth that hurts, and depth that helps: plain and residual networks of 20 and 56 layers on CIFAR-10\n"
    )
    assert "Krizhevsky, Sutskever and Hinton" in first
    assert "A first look only" in first and "A first look only" not in second
    assert "![" not in first
    assert "layers on CIFAR-10](results/residual.png)\n" in second
    assert "python examples/papers/averaging.py --fast\n" in first
    assert "python examples/papers/residual.py\n" in second
    for line in (
        "*Someone 1999, table 1*",
        "| error, a\\|b, % | 40.7 | 23 | 20 to 27, 3 seeds |",
        "| steps |  | 18997 |  |",
        "- ran: 5 epochs",
        "- rates: plain: 0.1, cosine: 0.3",
        "- time: 12 min (95 s of computing by all threads), 2 threads, 2025-01-02",
    ):
        assert line in second.splitlines()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no results in .*: run the scripts"),
        ("{", "x.json: no JSON"),
        ("[]", "x.json: paper, fast, .*rows missing"),
        (json.dumps({k: v for k, v in RESULT.items() if k != "rows"}), "x.json: rows missing"),
        (json.dumps(RESULT), "x.py is missing"),
    ],
)
def test_bad_results_end_with_one_line(
    summary: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "x.json").write_text(content, encoding="utf-8")
    readme = tmp_path / "README.md"
    monkeypatch.setattr(sys, "argv", ["summary.py", "--results", str(tmp_path), "--readme", str(readme)])
    with pytest.raises(SystemExit, match=message):
        summary.main()
    assert not readme.exists()


def test_every_script_can_be_summed_up(summary: Any) -> None:
    """Its docstring has a title, a command that names it, and what the paper says."""
    scripts = [path for path in FOLDER.glob("*.py") if path.stem not in ("common", "summary")]
    assert len(scripts) >= 4
    for script in scripts:
        title, command, says = summary.about(script)
        assert title and not title.endswith(".") and "\n" not in title
        assert command == f"python examples/papers/{script.name}"
        assert len(says) > 100


def test_a_docstring_of_another_form_is_named(summary: Any, tmp_path: Path) -> None:
    script = tmp_path / "odd.py"
    script.write_text('"""Only a title."""\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"odd.py: its docstring should be"):
        summary.about(script)


@pytest.mark.skipif(not list((FOLDER / "results").glob("*.json")), reason="there are no results yet")
def test_the_readme_is_what_the_results_say(summary: Any) -> None:
    committed = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert committed == summary.render(FOLDER / "results", FOLDER / "README.md")
