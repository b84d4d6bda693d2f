"""One loader in a process of its own: every request is answered with the images it delivers in a second.

    python -m benchmarks.data_worker ENGINE CASE WORKERS FOLDER

Engines: minidl, torch, pillow. Cases: cifar (50,000 images in memory, crop, flip, normalise), folder (JPEG files in FOLDER, a
random crop resized to 224, flip, normalise). ``pillow`` is the bare work of the second case: open, decode, crop, resize, in as
many processes as there are workers (at least one), which send nothing. An epoch has no end: to start workers anew after every
244 images, as in the smallest folders, is not what is measured (the time to the first batch tells it). torchvision is not
needed: what it would do to a PIL image is written out here for PyTorch's loader, with the same calls of Pillow.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from benchmarks.worker import say

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH, SIZE = {"cifar": 128, "folder": 32}, 224
CIFAR_IMAGES = 50_000
ENDLESS = 10**9  # samples of one epoch: one permutation after the other, while the workers stay


def cifar_arrays() -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 32, 32, 3) of CIFAR-10's size and number, of random bytes, and labels: what is in them takes no time."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (CIFAR_IMAGES, 32, 32, 3), dtype=np.uint8)
    return images, draw.integers(0, 10, CIFAR_IMAGES)


def minidl_loader(case: str, workers: int, folder: str) -> Any:
    """minidl's own datasets and transforms."""
    import minidl
    from minidl import transforms as T
    from minidl.datasets import ImageFolder
    from minidl.datasets.vision import InMemoryDataset

    class Memory(InMemoryDataset):
        """As ``CIFAR10`` holds its images."""

        classes = [str(i) for i in range(10)]

        def __init__(self, transform: Any) -> None:
            super().__init__(transform=transform)
            images, labels = cifar_arrays()
            self.data = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
            self.targets = labels.tolist()

    last = [T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(MEAN, STD)]
    if case == "cifar":
        dataset: Any = Memory(T.Compose([T.RandomCrop(32, padding=4), *last]))
    else:
        dataset = ImageFolder(folder, T.Compose([T.RandomResizedCrop(SIZE), *last]))
    endless = minidl.data.RandomSampler(dataset, num_samples=ENDLESS)
    return minidl.data.DataLoader(dataset, BATCH[case], sampler=endless, num_workers=workers, seed=0)


def torch_loader(case: str, workers: int, folder: str) -> Any:
    """PyTorch's loader over a dataset that does torchvision's steps to one image after the other."""
    import torch
    from torch.utils.data import DataLoader, Dataset, RandomSampler

    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))

    def finish(image: Image.Image) -> Any:
        """Flip, ToTensor, Normalize."""
        if torch.rand(1) < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        tensor = torch.from_numpy(np.array(image, copy=True)).permute(2, 0, 1).contiguous()
        return tensor.to(torch.float32).div(255).sub_(mean).div_(std)

    class Memory(Dataset):  # type: ignore[type-arg]
        def __init__(self) -> None:
            self.images, labels = cifar_arrays()
            self.labels = labels.tolist()

        def __len__(self) -> int:
            return len(self.labels)

        def __getitem__(self, index: int) -> Any:
            image = ImageOps.expand(Image.fromarray(self.images[index]), border=4)
            top, left = (int(torch.randint(0, 9, (1,))) for _ in range(2))
            return finish(image.crop((left, top, left + 32, top + 32))), self.labels[index]

    class Folder(Dataset):  # type: ignore[type-arg]
        def __init__(self) -> None:
            self.samples = samples_in(folder)

        def __len__(self) -> int:
            return len(self.samples)

        def __getitem__(self, index: int) -> Any:
            path, label = self.samples[index]
            with open(path, "rb") as file:
                image = Image.open(file).convert("RGB")
            box = draw_box(*image.size, uniform=lambda: float(torch.rand(1)))
            return finish(image.crop(box).resize((SIZE, SIZE), Image.Resampling.BILINEAR)), label

    torch.manual_seed(0)
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    dataset: Any = Memory() if case == "cifar" else Folder()
    return DataLoader(dataset, BATCH[case], sampler=RandomSampler(dataset, num_samples=ENDLESS), num_workers=workers)


def samples_in(folder: str) -> list[tuple[str, int]]:
    """Paths and labels of a folder of class folders."""
    classes = sorted(entry.name for entry in Path(folder).iterdir() if entry.is_dir())
    return [(str(path), i) for i, name in enumerate(classes) for path in sorted(Path(folder, name).rglob("*.jpg"))]


def draw_box(width: int, height: int, uniform: Any) -> tuple[int, int, int, int]:
    """torchvision's ``RandomResizedCrop.get_params``: (left, top, right, bottom)."""
    for _ in range(10):
        area = width * height * (0.08 + 0.92 * uniform())
        ratio = math.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * uniform())
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(uniform() * (width - w + 1)), int(uniform() * (height - h + 1))
            return left, top, left + w, top + h
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, (width + side) // 2, (height + side) // 2


def bare_pillow(folder: str) -> Iterator[int]:
    """What Pillow alone needs for the images of the folder, again and again."""
    draw = random.Random(0)
    samples = samples_in(folder)
    while True:
        draw.shuffle(samples)
        for path, _ in samples:
            with open(path, "rb") as file:
                image = Image.open(file).convert("RGB")
            image.crop(draw_box(*image.size, uniform=draw.random)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            yield 1


_bare: Iterator[int]


def begin_bare(folder: str) -> None:
    """Make ready a process of ``bare_pillow``."""
    global _bare
    _bare = bare_pillow(folder)
    next(_bare)


def run_bare(seconds: float) -> float:
    """Images a second of this process."""
    count, start = 0, time.perf_counter()
    while (took := time.perf_counter() - start) < seconds:
        count += next(_bare)
    return count / took


def serve_pillow(processes: int, folder: str) -> None:
    """Answer every request with the images a second of all processes together."""
    with multiprocessing.get_context("spawn").Pool(processes, begin_bare, (folder,)) as pool:
        pool.map(run_bare, [0.1] * processes, chunksize=1)
        say(first=0.0)
        for line in sys.stdin:
            rates = pool.map(run_bare, [json.loads(line)["seconds"]] * processes, chunksize=1)
            say(rate=sum(rates), memory=None)


def held() -> int | None:
    """Bytes of memory of this process and its workers, what they share counted once; None where the system does not say.

    Of memory shared between processes all that the system has is counted: PyTorch's batches that are on their way belong to
    nobody, and minidl's to both. (So nothing else may share memory while this runs.)
    """
    try:
        pids = [os.getpid(), *workers_of_this()]
        total = _kibibytes("/proc/meminfo", ("Shmem:",))
        for pid in pids:
            total += _kibibytes(f"/proc/{pid}/smaps_rollup", ("Pss_Anon:", "Pss_File:"))
        return 1024 * total
    except OSError:
        return None


def workers_of_this() -> list[int]:
    """The numbers of this process's children. OSError where the system does not say."""
    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def come_to_rest(most: float = 5.0) -> None:
    """Wait until the workers have made what they were asked for: else they would go on while another loader is measured."""
    end, before = time.perf_counter() + most, None
    while time.perf_counter() < end and (now := worked()) != before:
        before = now
        time.sleep(0.05)


def worked() -> list[list[str]] | None:
    """The processor time that each worker has had, in ticks; None where the system does not say."""
    try:
        stats = [Path(f"/proc/{pid}/stat").read_text() for pid in workers_of_this()]
    except OSError:
        return None
    return [stat.rsplit(")", 1)[1].split()[11:13] for stat in stats]


def _kibibytes(path: str, names: tuple[str, ...]) -> int:
    return sum(int(line.split()[1]) for line in Path(path).read_text().splitlines() if line.startswith(names))


def main() -> None:
    engine, case, workers, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    if engine == "pillow":
        return serve_pillow(max(workers, 1), folder)
    loader = {"minidl": minidl_loader, "torch": torch_loader}[engine](case, workers, folder)
    next(iter(loader.dataset[i] for i in range(8)))  # what is only imported when it is first used
    base = held()
    start = time.perf_counter()
    batches = iter(loader)
    next(batches)
    say(first=time.perf_counter() - start)
    for line in sys.stdin:
        seconds = json.loads(line)["seconds"]
        # Workers at rest have batches ready, which cost nothing; the clock runs from one of the following batches to another,
        # so that what is half done at the end makes up for what was half done at the beginning. Whole rounds of the workers are
        # counted: their batches come together, and to stop after the first of a round would leave the others out.
        for _ in range(4 * workers):
            next(batches)
        count, start = 0, time.perf_counter()
        while (took := time.perf_counter() - start) < seconds:
            count += sum(len(next(batches)[0]) for _ in range(max(workers, 1)))
        now = held()
        come_to_rest()
        say(rate=count / took, memory=None if base is None or now is None else now - base)


if __name__ == "__main__":
    main()
