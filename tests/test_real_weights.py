"""Weights that others have published give here what they give there; on the real images, where these are.

``MINIDL_DATA`` names a folder with ``cifar10`` and ``mobilenet_v2`` in it, as ``get.py`` makes them, and somewhere
``resnet20-12fca82f.th`` and the folder ``val`` with photographs in ``ants`` and ``bees``.
"""

from __future__ import annotations

import glob
import os
from pathlib import Path

import pytest

import minidl
from minidl import models
from minidl import transforms as T
from minidl.data import DataLoader
from minidl.datasets import CIFAR10, ImageFolder

REAL = os.environ.get("MINIDL_DATA")


def find(name: str) -> Path:
    """The first file or folder of that name; skips the test where there is none."""
    found = sorted(glob.glob(f"{REAL}/**/{name}", recursive=True)) if REAL else []
    if not found:
        pytest.skip(f"MINIDL_DATA names no folder with {name}")
    return Path(found[0])


def test_resnet20_recognises_what_its_makers_say() -> None:
    """91.7 % of CIFAR-10's test images (Idelbayev, "Proper ResNet implementation for CIFAR10/CIFAR100 in PyTorch")."""
    weights = find("resnet20-12fca82f.th")
    find("test_batch*")
    normalize = T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    test = CIFAR10(REAL, train=False, transform=T.Compose([T.ToTensor(), normalize]))
    model = models.get_model("cifar_resnet20", weights=weights).eval()
    with minidl.no_grad():
        right = sum(int((model(x).argmax(1) == y).sum().item()) for x, y in DataLoader(test, batch_size=500))
    assert len(test) == 10_000
    assert abs(right / 100 - 91.7) <= 0.2


def test_mobilenet_sees_the_ants_and_the_bees() -> None:
    """One of the five likeliest of 1000 classes is the insect that the folder is named after, in nine photographs of ten."""
    weights = find("mobilenet_v2-b0353104.pth")
    folder = find("val/ants").parent
    entry = models.get_model_weights("mobilenet_v2").IMAGENET1K_V1
    photographs = ImageFolder(folder, transform=entry.transforms())
    classes = [entry.meta["categories"].index(name.removesuffix("s")) for name in photographs.classes]
    model = models.get_model("mobilenet_v2", weights=weights).eval()
    found = 0
    with minidl.no_grad():
        for x, y in DataLoader(photographs, batch_size=17):
            best = model(x).topk(5, dim=1)[1].numpy()
            found += sum(classes[int(label)] in row for label, row in zip(y.numpy(), best, strict=True))
    assert len(photographs) == 153
    assert found >= 138
