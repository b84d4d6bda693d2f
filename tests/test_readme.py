"""What the README says can be done, can be done."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import minidl
from minidl import models
from minidl.data import DataLoader, TensorDataset

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_the_quick_start_is_two_commands_each_complete_in_itself():
    first, second = blocks("bash")
    for block in (first, second):
        assert len(block.strip().splitlines()) == 1
        assert block.startswith("python3 -m venv ")
    assert first.rstrip().endswith("examples/quickstart.py")
    assert second.rstrip().endswith("-m pytest -n 2 --dist loadscope")


def test_the_training_loops_shown_run_and_learn(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    bare, with_trainer, _, _, record = blocks("python")
    names = {}
    exec(bare, names)  # the README's own code
    losses = [float(x) for x in re.findall(r"loss ([\d.]+)", capsys.readouterr().out)]
    assert len(losses) == 3
    assert losses[-1] < 0.9  # from log 10 = 2.3
    exec(with_trainer, names)
    accuracy = float(re.findall(r"'accuracy': ([\d.]+)", capsys.readouterr().out)[0])
    assert accuracy > 0.75
    assert (tmp_path / "runs" / "first" / "checkpoint.safetensors").exists()

    from minidl.ops import unary

    source = Path(unary.__file__).read_text(encoding="utf-8")
    assert record.strip() in source  # the record shown is the one that is used


def test_the_loader_shown_works_on_files_of_cifars_form(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for i in range(1, 6):
        (folder / f"data_batch_{i}.bin").write_bytes(bytes([i]) + bytes(range(256)) * 12)
    names = {"DataLoader": DataLoader}
    exec(blocks("python")[2].replace("download=True, ", ""), names)
    (images, labels), state = next(iter(names["loader"])), names["state"]
    assert images.shape == (5, 3, 32, 32) and sorted(labels.tolist()) == [1, 2, 3, 4, 5]
    assert state == {"seed": 0, "epoch": 0, "batch": 0}


def test_the_lines_on_transfer_and_ensembles_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    minidl.manual_seed(0)
    images = minidl.randn(6, 3, 32, 32) + minidl.arange(6).reshape(6, 1, 1, 1)
    names = {"photographs": DataLoader(TensorDataset(images, minidl.tensor([0, 0, 0, 1, 1, 1])), batch_size=3)}
    names |= {f"model_{letter}": minidl.nn.Linear(4, 2) for letter in "abc"}
    exec(blocks("python")[3].replace('weights="IMAGENET1K_V1"', "num_classes=2"), names)
    assert "fixed features" in capsys.readouterr().out
    assert names["x"].shape == (6, 1280) and (tmp_path / "runs" / "features.safetensors").exists()
    assert names["svm"].coef_.shape == (1, 1280)
    assert names["together"](minidl.randn(5, 4)).shape == (5, 2)


def test_the_augmentation_example_runs(tmp_path):
    script = Path(__file__).parent.parent / "examples" / "augmentation.py"

    def run(*options):
        command = [sys.executable, script, "--out", tmp_path / "runs", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    done = run("--train", "50", "--epochs", "1", "--seeds", "1")
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^  .* \d+\.\d %  \(", done.stdout, re.MULTILINE)) == 11
    with Image.open(tmp_path / "runs" / "contact-sheet.png") as sheet:
        assert sheet.width > 1000 and sheet.height > 700
    assert (tmp_path / "runs" / "accuracy.png").exists()
    assert "--train must be from 50 to 6000" in run("--train", "10").stderr
    (tmp_path / "empty").mkdir()
    assert "no .jpg or .png files there" in run("--images", tmp_path / "empty").stderr


def test_the_classifying_example_takes_photographs_of_every_kind(tmp_path):
    weights = tmp_path / "weights.safetensors"
    minidl.manual_seed(0)
    minidl.save(models.mobilenet_v2().state_dict(), weights)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
    paths = [tmp_path / name for name in ("rgb.png", "grey.png", "cmyk.jpg", "clear.png", "turned.png")]
    for path, mode in zip(paths, ("RGB", "L", "CMYK", "RGBA"), strict=False):
        photo.convert(mode).save(path)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    photo.transpose(Image.Transpose.ROTATE_90).save(paths[-1], exif=exif)
    script = Path(__file__).parent.parent / "examples" / "classify.py"

    def run(*options):
        command = [sys.executable, script, "--out", tmp_path / "runs", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    done = run(*paths, "--weights", weights)
    assert done.returncode == 0, done.stderr
    heads, rows = (
        re.findall(r"\((\d+)×(\d+), ", done.stdout),
        re.findall(r"^ +(\d+\.\d) %  \S", done.stdout, re.MULTILINE),
    )
    assert heads == [("90", "60")] * 5 and len(rows) == 25
    names = [re.findall(r"%  (.*)", part) for part in done.stdout.split("ms)")[1:]]
    assert names[0] == names[3] == names[4]  # the same picture, with transparency, and turned
    assert (tmp_path / "runs" / "classified.png").exists()
    for options, message in (
        ([tmp_path / "nothing.jpg", "--weights", weights], "nothing.jpg: .*No such file"),
        ([weights, "--weights", weights], "weights.safetensors: cannot identify image file"),
        ([paths[0], "--model", "mobilenet"], "Unknown model 'mobilenet'; did you mean mobilenet_v2"),
        ([paths[0], "--weights", paths[0]], "expected a file .safetensors, .pth, .pt, .th or .npz, got '.png'"),
    ):
        done = run(*options)
        assert done.returncode == 1 and re.search(message, done.stderr) and "Traceback" not in done.stderr


def test_the_examples_refuse_bad_options():
    script = Path(__file__).parent.parent / "examples" / "quickstart.py"
    done = subprocess.run([sys.executable, script, "--epochs", "0"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "--epochs and --members must be at least 1" in done.stderr
    import minidl

    if not minidl.cuda.is_available():
        done = subprocess.run([sys.executable, script, "--device", "cuda"], capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        assert re.search(
            r"^quickstart: device 'cuda' was asked for, but CuPy .*Install the extra", done.stderr, re.DOTALL
        )
