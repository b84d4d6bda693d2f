"""Images for the tests of colour transforms, and what holds of every transform."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from minidl import random
from minidl.data import draws
from minidl.tensor import Tensor
from tests.elsewhere import agrees, elsewhere


@st.composite
def pictures(draw: Any, channels: tuple[int, ...] = (1, 3), smallest: int = 1) -> np.ndarray:
    """uint8 images (C, H, W): noise within drawn limits, gradients, flat areas."""
    c = draw(st.sampled_from(channels))
    h, w = draw(st.integers(smallest, 24)), draw(st.integers(smallest, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low, high = sorted(draw(st.tuples(st.integers(0, 255), st.integers(0, 255))))
    kind = draw(st.sampled_from(["noise", "gradient", "flat", "few"]))
    if kind == "noise":
        return rng.integers(low, high + 1, (c, h, w), dtype=np.uint8)
    if kind == "few":
        return rng.choice(np.array([low, high], np.uint8), (c, h, w))
    if kind == "flat":
        return np.broadcast_to(rng.integers(low, high + 1, (c, 1, 1)), (c, h, w)).astype(np.uint8)
    ramp = np.linspace(low, high, h * w).reshape(h, w)
    return np.stack([ramp, ramp[::-1], ramp[:, ::-1]][:c]).astype(np.uint8)


def some_pictures(n: int, c: int = 3, h: int = 13, w: int = 11, seed: int = 0) -> np.ndarray:
    """A uint8 batch of images that are partly smooth and partly noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, c, 4, 4)).repeat(-(-h // 4), 2).repeat(-(-w // 4), 3)[..., :h, :w]
    return np.clip(coarse + rng.integers(-20, 21, (n, c, h, w)), 0, 255).astype(np.uint8)


def to_pil(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))


def to_array(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def difference(a: Any, b: Any) -> np.ndarray:
    """|a − b| of two images in any form."""
    a, b = (to_array(x) if isinstance(x, Image.Image) else x for x in (a, b))
    assert a.shape == b.shape
    return abs(a.astype(np.float64) - b.astype(np.float64))


def check_rows_alone(transform: Any, images: np.ndarray) -> None:
    """A batch is its images transformed one by one, a Tensor the same; the input is left alone."""
    untouched = images.copy()
    indices = list(range(5, 5 + len(images)))
    with draws.fetching(0, 1, indices):
        batch = transform(images)
    for row, image, index in zip(batch, images, indices, strict=True):
        with draws.fetching(0, 1, [index]):
            alone = transform(image)
        assert alone.dtype == row.dtype == images.dtype and alone.shape == row.shape and (alone == row).all()
    with draws.fetching(0, 1, indices):
        as_tensor = transform(Tensor(images))
    assert isinstance(as_tensor, Tensor) and (as_tensor.array == batch).all()
    assert (images == untouched).all()


def check_device(transform: Any, images: np.ndarray) -> None:
    """On a device that refuses every implicit conversion the same comes out, for a batch and for one image."""
    for x in (images, images[0]):
        random.manual_seed(0)
        want = transform(x)
        random.manual_seed(0)
        got = transform(Tensor.wrap(elsewhere.from_numpy(x)))
        assert got.backend is elsewhere and agrees(got.array, want)


def check_draws(transform: Any, images: np.ndarray, monkeypatch: Any) -> None:
    """One draw, of as many numbers whatever they are."""
    counts = []
    for value in (0.0, 0.3, 0.7, 1 - 2.0**-32):
        calls: list[int] = []

        def uniform(rows: int, count: int, value: float = value, calls: list[int] = calls) -> np.ndarray:
            assert rows == len(images)
            calls.append(count)
            return np.full((rows, count), value)

        with monkeypatch.context() as patch:
            patch.setattr(draws, "uniform", uniform)
            transform(images)
        counts.append(calls)
    assert counts == [counts[0]] * 4 and len(counts[0]) == 1


def pil_differences(transform: Any, images: np.ndarray) -> np.ndarray:
    """How far PIL images come out from the uint8 arrays with the same draws."""
    differences = []
    for index, image in enumerate(images):
        with draws.fetching(3, 0, [index]):
            array = transform(image)
        with draws.fetching(3, 0, [index]):
            pil = transform(to_pil(image))
        assert isinstance(pil, Image.Image)
        differences.append(difference(pil, array))
    return np.array(differences)
