"""The example on transfer learning, in small: all ways on pictures made here, with random weights."""

from __future__ import annotations

import importlib.util
import math
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minidl
from minidl import models, transfer

spec = importlib.util.spec_from_file_location(
    "transfer_example", Path(__file__).parents[1] / "examples" / "transfer.py"
)
assert spec is not None and spec.loader is not None
example = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = example  # dataclasses look there
spec.loader.exec_module(example)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Reddish and bluish pictures: a folder as the example wants it, an archive of it, and weights."""
    folder = tmp_path_factory.mktemp("pictures")
    g = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 3)):
        for name, colour in (("red", (220, 60, 50)), ("sky", (40, 90, 230))):
            (folder / "data" / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(np.array(colour) + g.normal(0, 25, (48, 64, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / "data" / part / name / f"{i}.jpg")
    with tarfile.open(folder / "pictures.tar", "w") as tar:
        tar.add(folder / "data", arcname="hymenoptera_data")
    with zipfile.ZipFile(folder / "pictures.zip", "w") as packed:
        for path in sorted((folder / "data").rglob("*.jpg")):
            packed.write(path, path.relative_to(folder / "data"))
    minidl.manual_seed(0)
    minidl.save(models.mobilenet_v2().state_dict(), folder / "weights.safetensors")
    return folder


def test_all_ways_in_small(folder, tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(example, "CHEAP_SEEDS", 2)
    begun, begin = [], transfer.GradualUnfreezing.begin_epoch
    monkeypatch.setattr(transfer.GradualUnfreezing, "begin_epoch", lambda self, n: (begun.append(n), begin(self, n)))
    small = "--seeds 2 --epochs 2 --size 32 --scratch-epochs 1 --scratch-size 32".split()
    arguments = ["--data", str(folder / "pictures.tar"), "--weights", str(folder / "weights.safetensors"), *small]
    rows = example.run(example.parse([*arguments, "--out", str(tmp_path)]))
    shown = capsys.readouterr().out
    assert "12 photographs to learn from, 6 held out" in shown and "12 samples (small" in shown
    table = shown[shown.index("done after") :]
    for way in (
        "fixed features, new",
        "one versus rest",
        "Crammer–Singer",
        "fine-tuning all",
        "from scratch",
        "always 'red'",
    ):
        assert way in table
    assert "The measurement " in table and "classifier.1 " in shown and "from epoch 2 on" in shown
    for name in ("accuracy.png", "photographs.png"):
        assert Image.open(tmp_path / name).width > 300
    model = models.mobilenet_v2(num_classes=2, weights=tmp_path / "network.safetensors").eval()
    _, val = example.photographs(folder / "data")
    with minidl.no_grad():
        guesses = np.array([int(model(x[None]).argmax(1).item()) for x, _ in val])
    assert (guesses == val.targets).mean() == rows[0].accuracies[
        -1
    ]  # the network that is saved is the one that was measured
    assert [len(row.accuracies) for row in rows] == [2] * 5 and all(0 <= a <= 1 for row in rows for a in row.accuracies)
    assert begun == [1, 2, 3, 1, 2, 3]  # fine-tuning goes stage by stage, with each seed
    finished = [row.finished for row in rows]
    assert finished == sorted(finished)


@pytest.mark.parametrize("name", ["pictures.tar", "pictures.zip", "data"])
def test_photographs_are_found_in_folders_and_archives(folder, tmp_path, name):
    found = example.find_photographs(folder / name, tmp_path)
    train, val = example.photographs(found)
    assert (len(train), len(val), train.classes) == (12, 6, ["red", "sky"])
    x, y = train[0]
    assert tuple(x.shape) == (3, 224, 224) and y == 0
    preset = models.get_model_weights("mobilenet_v2").IMAGENET1K_V1.transforms()
    with Image.open(train.samples[0][0]) as image:
        assert np.array_equal(x.numpy(), preset(image).numpy())


def test_what_goes_wrong_is_one_line(folder, tmp_path, capsys):
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"no zip")
    for data, words in ((tmp_path / "none.tar", "no such file"), (broken, "delete it")):
        assert example.main(["--data", str(data), "--out", str(tmp_path / "out")]) == 1
        error = capsys.readouterr().err
        assert error.startswith("transfer: ") and words in error and error.count("\n") == 1
    data = ["--data", str(folder / "data"), "--out", str(tmp_path / "out")]
    assert example.main([*data, "--weights", "none.pth"]) == 1
    assert "none.pth" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        example.parse(["--seeds", "0"])
    with pytest.raises(SystemExit):
        example.parse(["--size", "8"])


def test_other_classes_in_val_are_refused(folder, tmp_path):
    (tmp_path / "val" / "red").mkdir(parents=True)
    (tmp_path / "train").symlink_to(folder / "data" / "train", target_is_directory=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "val" / "red" / "0.png")
    with pytest.raises(ValueError, match="same classes"):
        example.photographs(tmp_path)


def test_intervals_over_seeds():
    row = example.Row("", [0.9, 1.0], 0, 0)
    assert row.mean == pytest.approx(0.95) and row.half_width == pytest.approx(12.706 * 0.05)
    row = example.Row("", [0.9, 0.92, 0.94], 0, 0)
    assert row.half_width == pytest.approx(4.303 * 0.02 / math.sqrt(3)) and example.percent(row) == "92.0 ± 5.0 %"
    assert (
        math.isnan(example.Row("", [0.9], 0, 0).half_width)
        and example.percent(example.Row("", [0.9], 0, 0)) == "90.0 %"
    )


def test_the_judgement_follows_the_measurement():
    advice = transfer.recommend(244, similar=True)

    def judge(mine, other):
        return example.judge(advice, [example.Row("a", [mine], 0, 0), example.Row("b", [other], 0, 0)], 153)

    assert "agrees: no other way" in judge(0.95, 0.90)
    assert "agrees: b is better by 1.0 points only" in judge(0.95, 0.96)
    assert "disagrees: b is better by 15.0 points" in judge(0.80, 0.95)
    # 1.96 √(2 · 0.95 · 0.05 / 153)
    assert example.luck([example.Row("", [0.95], 0, 0)], 153) == pytest.approx(0.0488, abs=1e-4)


def test_support_vectors_choose_a_cost_by_cross_validation():
    g = np.random.default_rng(0)
    y = np.arange(40) % 2
    x = example.unit_length(minidl.tensor(g.normal(size=(40, 5)) + 3 * y[:, None]))
    assert np.allclose(np.linalg.norm(x, axis=1), 1)
    svm = example.support_vectors(x, y, {"loss": "hinge"}, seed=0)
    assert svm.C in example.COSTS and svm.score(x, y) > 0.9
