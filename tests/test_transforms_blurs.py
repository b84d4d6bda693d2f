"""Blur, noise and erasing against plain per-image code, and batches against single images."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minidl import random
from minidl.data import draws
from minidl.tensor import Tensor
from minidl.transforms.blurs import GaussianBlur, GaussianNoise, RandomErasing
from minidl.transforms.fields import normal_field, to_normal
from minidl.transforms.functional.blur import erase, gaussian_blur, gaussian_noise
from tests.elsewhere import elsewhere


def picture(*shape: int, dtype: object = np.uint8, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 256, shape)
    return values.astype(dtype) if np.dtype(dtype).kind != "f" else (values / 255).astype(dtype)


def to_pil(array: np.ndarray) -> Image.Image:
    return Image.fromarray(array[0] if len(array) == 1 else np.ascontiguousarray(array.transpose(1, 2, 0)))


def from_pil(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def on_device(array: np.ndarray) -> Tensor:
    return Tensor.wrap(elsewhere.from_numpy(array))


# -- blur --------------------------------------------------------------------------------------------------------------


def plain_blur(image: np.ndarray, kernel_size: tuple[int, int], sigma: tuple[float, float]) -> np.ndarray:
    """With a kernel of two dimensions, one pixel at a time."""
    across, down = kernel_size
    x, y = np.arange(across) - across // 2, np.arange(down)[:, None] - down // 2
    kernel = np.exp(-(x**2) / (2 * sigma[0] ** 2) - y**2 / (2 * sigma[1] ** 2))
    kernel /= kernel.sum()
    padded = np.pad(image, [(0, 0), (down // 2,) * 2, (across // 2,) * 2], mode="reflect")
    out = np.empty(image.shape)
    for c, i, j in np.ndindex(*image.shape):
        out[c, i, j] = (padded[c, i : i + down, j : j + across] * kernel).sum()
    return out


@pytest.mark.parametrize("size", [(9, 6), (5, 7), (1, 1), (1, 8), (2, 3)])
@pytest.mark.parametrize(
    ("kernel_size", "sigma"), [(3, 0.5), (1, 2.0), (7, [0.8]), ((5, 3), (2.0, 0.7)), ([1, 9], [1, 3]), (5, None)]
)
def test_blur_is_its_plain_twin(size, kernel_size, sigma):
    pair = (kernel_size,) * 2 if isinstance(kernel_size, int) else tuple(kernel_size)
    sigmas = [k * 0.15 + 0.35 for k in pair] if sigma is None else np.ravel([sigma, sigma])[:2]
    for dtype in (np.float32, np.float64, np.float16):
        image = picture(2, *size, dtype=dtype)
        got = gaussian_blur(image, kernel_size, sigma)
        assert got.dtype == dtype and np.allclose(
            got, plain_blur(image, pair, sigmas), atol=1e-3 if dtype == np.float16 else 1e-6
        )
    levels = picture(2, *size)
    apart = np.abs(gaussian_blur(levels, kernel_size, sigma) - plain_blur(levels, pair, sigmas))
    assert gaussian_blur(levels, kernel_size, sigma).dtype == np.uint8 and apart.max() < 0.5 + 1e-4  # rounded


def test_blur_by_hand():
    impulse = np.zeros((1, 5, 7))
    impulse[0, 2, 3] = 1.0
    e = np.exp(-0.5 / 0.8**2)
    row = np.array([0, 0, e, 1, e, 0, 0]) / (1 + 2 * e)
    assert np.allclose(gaussian_blur(impulse, (3, 1), 0.8)[0, 2], row)  # the first size is the horizontal one
    assert gaussian_blur(impulse, (3, 1), 0.8)[0, [0, 1, 3, 4]].max() == 0
    assert np.allclose(gaussian_blur(impulse, (1, 3), [5.0, 0.8])[0, :, 3], row[1:6])
    assert np.allclose(gaussian_blur(impulse, 3, 1.3).sum(), 1)
    assert (gaussian_blur(np.full((1, 4, 4), 200, np.uint8), 9, 5.0) == 200).all()
    assert (gaussian_blur(impulse, 5, 1e-200) == impulse).all()
    mirrored = gaussian_blur(np.array([[[1.0, 2.0, 4.0]]]), (3, 1), 0.8)
    assert np.allclose(mirrored[0, 0, 0], (1 + 2 * e * 2) / (1 + 2 * e))


def test_blur_of_a_batch_with_a_sigma_for_each():
    images = picture(130, 3, 16, 15)  # more than are done at once
    sigma = np.linspace(0.1, 3, 130)
    batch, uneven = gaussian_blur(images, 5, sigma), gaussian_blur(images, (5, 3), [sigma, 2.0])
    for k in range(0, 130, 9):
        assert (gaussian_blur(images[k], 5, sigma[k]) == batch[k]).all()
        assert (gaussian_blur(images[k], 5, sigma[k : k + 1]) == batch[k]).all()
        assert (gaussian_blur(images[k], (5, 3), [float(sigma[k]), 2.0]) == uneven[k]).all()
    sideways = np.ascontiguousarray(images.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)  # not in order in memory
    assert (gaussian_blur(sideways, 5, sigma) == batch).all()
    assert gaussian_blur(images[:0], 3, 1.0).shape == (0, 3, 16, 15)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "HSV", "F", "P", "1"])
def test_pil_images_keep_their_mode(mode):
    image = to_pil(picture(3, 9, 12)).convert(mode)
    pixels = from_pil(image)
    blurred = gaussian_blur(image, 3, 1.0)
    assert blurred.mode == mode and blurred.size == image.size
    assert (from_pil(blurred) == gaussian_blur(pixels, 3, 1.0)).all()
    erased = erase(image, 1, 2, 3, 4, 1)
    assert erased.mode == mode and (from_pil(erased) == erase(pixels, 1, 2, 3, 4, 1)).all()
    assert (from_pil(image) == pixels).all()
    if mode == "P":
        assert erased.getpalette() == image.getpalette()


# -- noise -------------------------------------------------------------------------------------------------------------


def test_noise_by_hand():
    noise = np.array([[[0.0, 1.0, -1.0, 10.0, -10.0]]])
    floats = np.full((1, 1, 5), 0.5, np.float32)
    assert np.allclose(gaussian_noise(floats, 0.1, 0.2, noise=noise), [[[0.6, 0.8, 0.4, 1.0, 0.0]]])
    assert np.allclose(gaussian_noise(floats, 0.1, 0.2, False, noise), [[[0.6, 0.8, 0.4, 2.6, -1.4]]])
    levels = np.full((1, 1, 5), 100, np.uint8)  # 25.5 + 51 n, towards zero, is 25, 76, −25, 535 and −484
    assert gaussian_noise(levels, 0.1, 0.2, noise=noise).tolist() == [[[125, 176, 75, 255, 0]]]
    assert gaussian_noise(levels, 0.1, 0.2, False, noise).tolist() == [[[125, 176, 75, 635 % 256, -384 % 256]]]
    assert from_pil(gaussian_noise(to_pil(levels), 0.1, 0.2, noise=noise)).tolist() == [[[125, 176, 75, 255, 0]]]
    assert gaussian_noise(floats.astype(np.float16), noise=noise).dtype == np.float16
    assert (gaussian_noise(levels, sigma=0.0) == levels).all()


def test_noise_is_drawn_if_not_given():
    images = np.full((50, 3, 16, 16), 0.5)
    random.manual_seed(0)
    out = gaussian_noise(images, 0.05, 0.1)
    assert abs(out.mean() - 0.55) < 0.0025 and abs(out.std() - 0.1) < 0.0018  # 5 standard deviations
    random.manual_seed(0)
    assert (gaussian_noise(images, 0.05, 0.1) == out).all()
    with draws.fetching(0, 0, range(50)):
        batch = gaussian_noise(images, np.linspace(0, 0.1, 50), np.linspace(0, 0.2, 50))
    with draws.fetching(0, 0, [49]):
        assert (gaussian_noise(images[49], 0.1, 0.2) == batch[49]).all()
    assert (batch[0] == images[0]).all()


def test_normal_numbers():
    random.manual_seed(1)
    z = np.sort(normal_field(40, 1001).astype(np.float64), axis=None)
    assert z.shape == (40 * 1001,)
    for place, share in [
        (-3, 0.00135),
        (-2, 0.02275),
        (-1, 0.158655),
        (-0.5, 0.308538),
        (0, 0.5),
        (1, 0.841345),
        (2, 0.97725),
    ]:
        n = np.searchsorted(z, place)
        assert abs(n - share * z.size) < 4.5 * np.sqrt(share * (1 - share) * z.size)
    first, second = np.split(normal_field(40, 1000), 2, axis=1)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.032  # 4.5 / sqrt(20000): the pairs are independent
    assert abs(np.corrcoef(first.ravel() ** 2, second.ravel() ** 2)[0, 1]) < 0.032
    extremes = to_normal(np.array([[0.0, 1 - 2.0**-32, 0.0, 0.25]]))
    assert np.isfinite(extremes).all() and extremes[0, 0] == 0 and abs(extremes[0, 3] - np.sqrt(64 * np.log(2))) < 1e-5


# -- erasing -----------------------------------------------------------------------------------------------------------


@given(
    boxes=st.lists(st.tuples(*(st.integers(0, 6) for _ in range(4))), min_size=1, max_size=4),
    dtype=st.sampled_from([np.uint8, np.float32]), kind=st.sampled_from(["number", "channels", "image"]),
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_erase_is_its_plain_twin(boxes, dtype, kind):
    images = picture(len(boxes), 3, 7, 8, dtype=dtype)
    values = {
        "number": 9,
        "channels": np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1),
        "image": picture(*images.shape, dtype=dtype, seed=1),
    }[kind]
    want = images.copy()
    for n, (i, j, h, w) in enumerate(boxes):
        full = np.broadcast_to(values, images.shape)[n].astype(dtype)
        want[n, :, i : i + h, j : j + w] = full[:, i : i + h, j : j + w]
    untouched = images.copy()
    box = np.array(boxes).T
    assert (erase(images, *box, values) == want).all() and (images == untouched).all()
    one = values[0] if kind == "image" else values
    assert (erase(images[0], *boxes[0], one) == want[0]).all()
    assert (from_pil(erase(to_pil(picture(3, 7, 8)), *boxes[0], 9)) == erase(picture(3, 7, 8), *boxes[0], 9)).all()
    for x, b, v, result in ((images, box, values, want), (images[0], boxes[0], one, want[0])):
        got = erase(on_device(x), *b, v)
        assert got.dtype == dtype and (elsewhere.to_numpy(got.array) == result).all()
        inplace = x.copy()
        erase(inplace, *b, v, inplace=True)
        assert (inplace == result).all()
    tensor = Tensor(images.copy())
    erase(tensor, *box, values, inplace=True)
    assert (tensor.array == want).all()


def test_erase_with_values_for_the_rectangle():
    image = np.zeros((2, 4, 5), np.uint8)
    v = np.arange(12).reshape(2, 2, 3)
    assert (erase(image, 1, 2, 2, 3, v)[:, 1:3, 2:5] == v).all()
    assert (erase(image[None], 1, 2, 2, 3, Tensor(v.astype(np.uint8)))[0, :, 1:3, 2:5] == v).all()
    assert erase(image, 1, 2, 2, 3, v).sum() == v.sum()


# -- the transforms ----------------------------------------------------------------------------------------------------

ALL = [
    GaussianBlur(3),
    GaussianBlur((5, 3), (0.5, 4.0)),
    GaussianBlur([23], 2.0),
    GaussianNoise(),
    GaussianNoise(0.2, 0.5, clip=False),
    RandomErasing(),
    RandomErasing(1.0, (0.2, 0.6), (0.5, 2.0), (1, 2, 3)),
    RandomErasing(0.8, value="random"),
    RandomErasing(1.0, (1.0, 1.0)),
]


@pytest.mark.parametrize("transform", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@given(indices=st.lists(st.integers(0, 50), min_size=1, max_size=5), epoch=st.integers(0, 3))
@settings(max_examples=8, deadline=None)
def test_a_batch_is_its_images_transformed_one_by_one(transform, dtype, indices, epoch):
    images = picture(51, 3, 9, 7, dtype=dtype)[indices]
    untouched = images.copy()
    with draws.fetching(0, epoch, indices):
        batch = transform(images)
    for row, image, index in zip(batch, images, indices, strict=True):
        with draws.fetching(0, epoch, [index]):
            alone = transform(image)
        assert alone.dtype == row.dtype and alone.shape == row.shape and (alone == row).all()
        if dtype == np.uint8:
            with draws.fetching(0, epoch, [index]):
                params = transform.make_params(image.shape)
            assert (from_pil(transform.transform(to_pil(image), params)) == alone).all()
    with draws.fetching(0, epoch, indices):
        as_tensor = transform(Tensor(images))
    assert isinstance(as_tensor, Tensor) and (as_tensor.array == batch).all()
    assert (images == untouched).all()


@pytest.mark.parametrize("transform", ALL, ids=repr)
@pytest.mark.parametrize("shape", [(3, 8, 7), (4, 3, 8, 7), (2, 3, 1, 1), (3, 1, 6), (0, 3, 4, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_device_array_is_transformed_as_on_the_cpu(transform, shape, dtype):
    images = picture(*shape, dtype=dtype)
    random.manual_seed(0)
    want = transform(images)
    random.manual_seed(0)
    got = transform(on_device(images))
    assert got.backend is elsewhere and got.dtype == want.dtype
    assert (elsewhere.to_numpy(got.array) == want).all()


@pytest.mark.parametrize(
    ("transform", "numbers"),
    [
        (GaussianBlur(3), [1]),
        (GaussianBlur(3, 1.0), [1]),
        (GaussianNoise(), [90]),
        (RandomErasing(0.0), [23]),
        (RandomErasing(1.0, (1.0, 1.0)), [23]),
        (RandomErasing(0.5, value="random"), [23, 90]),
    ],
    ids=repr,
)
def test_as_many_numbers_are_drawn_whatever_comes_out(transform, numbers, monkeypatch):
    calls = []
    real = draws.uniform
    monkeypatch.setattr(draws, "uniform", lambda rows, count: calls.append((rows, count)) or real(rows, count))
    for shape, rows in (((3, 6, 5), 1), ((7, 3, 6, 5), 7)):
        params = transform.make_params(shape)
        assert calls == [(rows, count) for count in numbers]
        assert all(isinstance(p, np.ndarray) and len(p) == rows for p in params.values())
        calls.clear()


def test_parameters_can_be_applied_to_an_image_and_its_mask():
    image, mask = picture(6, 3, 12, 10, dtype=np.float32) + 1, np.ones((6, 1, 12, 10), np.int64)
    erasing = RandomErasing(1.0)
    params = erasing.make_params(image.shape)
    a, b = erasing.transform(image, params), erasing.transform(mask, params)
    assert b.dtype == np.int64 and ((a == 0) == (b == 0)).all() and (b == 0).any(axis=(1, 2, 3)).all()
    noise = GaussianNoise()
    params = noise.make_params((3, 4, 4))
    grey = np.full((3, 4, 4), 0.5, np.float32)
    assert (noise.transform(grey, params) == noise.transform(grey, params)).all()


def test_what_gaussian_blur_draws():
    assert GaussianBlur(3.0).kernel_size == (3, 3) and GaussianBlur((np.int64(3), 5)).kernel_size == (3, 5)
    sigma = GaussianBlur(3, (0.5, 2.5)).make_params((4000, 3, 5, 5))["sigma"]
    assert 0.5 <= sigma.min() < 0.51 and 2.49 < sigma.max() <= 2.5 and abs(sigma.mean() - 1.5) < 0.037
    assert (GaussianBlur(3, 1.25).make_params((9, 3, 5, 5))["sigma"] == 1.25).all()


def test_what_gaussian_noise_adds():
    random.manual_seed(0)
    grey = np.full((60, 3, 16, 16), 0.5)
    free, held = GaussianNoise(0.2, 0.5, clip=False)(grey), GaussianNoise(0.2, 0.5)(grey)
    assert abs(free.mean() - 0.7) < 0.012 and abs(free.std() - 0.5) < 0.009  # 5 standard deviations
    assert held.min() == 0 and held.max() == 1 and abs((held == 1).mean() - 0.2743) < 0.011  # where it is above 0.6 σ


def test_what_random_erasing_draws():
    height, width = 64, 48
    params = RandomErasing(0.7, (0.05, 0.2), (0.5, 2.0)).make_params((4000, 3, height, width))
    i, j, h, w = (params[name] for name in "ijhw")
    erased = h * w > 0
    assert ((h > 0) == (w > 0)).all() and abs(erased.mean() - 0.7) < 0.029  # 4 standard deviations
    assert (i >= 0).all() and (j >= 0).all() and (i + h <= height).all() and (j + w <= width).all()
    i, j, h, w = i[erased], j[erased], h[erased], w[erased]
    area, ratio = h * w / (height * width), h / w
    assert 0.04 < area.min() < 0.06 and 0.19 < area.max() < 0.21 and abs(area.mean() - 0.125) < 0.004
    assert 0.47 < ratio.min() < 0.53 and 1.9 < ratio.max() < 2.12 and abs(np.log(ratio).mean()) < 0.035
    down, across = i / (height - h), j / (width - w)  # evenly from 0 to 1
    for share in (down, across):
        assert share.min() == 0 and share.max() == 1 and abs(share.mean() - 0.5) < 0.025


def test_a_rectangle_that_does_not_fit_is_drawn_again():
    u = np.zeros((5, 23))
    u[:, 3::2], u[:, 4::2] = 0.5, 1.0  # too high, all of them
    u[1, 4 + 2 * 6], u[1, 3 + 2 * 6] = 0.5, 0.25  # but the seventh
    u[2, 0] = 0.9  # and none is wanted here
    u[3:, 3::2] = 0.5  # half the area; twice as high as wide it is as high as the image, or the other way round
    twice = np.log(2) / np.log(625)
    u[3, 4::2], u[4, 4::2] = 0.5 + twice, 0.5 - twice
    transform = RandomErasing(0.5, (0.0, 1.0), (0.04, 25.0), 7)
    real = draws.uniform
    try:
        draws.uniform = lambda rows, count: u[:rows]
        params = transform.make_params((5, 1, 20, 20))
    finally:
        draws.uniform = real
    assert params["h"].tolist() == params["w"].tolist() == [0, 10, 0, 0, 0]  # a quarter of the area, ratio 1
    images = np.zeros((5, 1, 20, 20))
    out = transform.transform(images, params)
    assert out.sum() == 7 * 100 and (out[1, 0, :10, :10] == 7).all()
    none = {name: value[:1] for name, value in params.items()}
    assert transform.transform(images, none) is images


def test_random_values():
    random.manual_seed(0)
    transform = RandomErasing(1.0, (0.3, 0.8), value="random")
    params = transform.make_params((30, 3, 20, 20))
    out = transform.transform(np.full((30, 3, 20, 20), 99.0), params)
    values = out[out != 99]
    assert values.size > 8000 and np.unique(values).size > values.size - 20
    assert abs(values.mean()) < 0.05 and abs(values.std() - 1) < 0.04  # normal numbers
    levels = transform.transform(np.zeros((30, 3, 20, 20), np.uint8), params)
    values = levels[out != 99]
    counts = np.bincount(values, minlength=256)
    assert (
        (counts - values.size / 256) ** 2 / (values.size / 256)
    ).sum() < 360  # chi-squared, 255 degrees, 1 in 50,000
    assert not levels[out == 99].any()


def test_erasing_in_place():
    images = np.ones((4, 3, 9, 9), np.float32)
    out = RandomErasing(1.0, inplace=True)(images)
    assert (out == images).all() and (images == 0).any(axis=(1, 2, 3)).all()
    assert RandomErasing(0.0)(images) is images
    tiny = np.ones((3, 1, 1))
    assert (RandomErasing(1.0)(tiny) == 1).all()


# -- wrong arguments ---------------------------------------------------------------------------------------------------

IMAGE = np.zeros((3, 4, 5))
BATCH = np.zeros((2, 3, 4, 5))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gaussian_blur(IMAGE, 4), ValueError, "kernel_size should have odd and positive integers, got 4"),
        (lambda: gaussian_blur(IMAGE, (3, -1)), ValueError, r"odd and positive integers, got \(3, -1\)"),
        (lambda: gaussian_blur(IMAGE, (3, 3, 3)), ValueError, "its length should be 2"),
        (lambda: gaussian_blur(IMAGE, 3, 0.0), ValueError, "sigma should have positive values, got 0.0"),
        (lambda: gaussian_blur(IMAGE, 3, (1.0, -1.0)), ValueError, "sigma should have positive values"),
        (lambda: gaussian_blur(IMAGE, 3, (1, 2, 3)), ValueError, "length should be 1 or 2, got 3"),
        (lambda: gaussian_blur(IMAGE, 3, "a"), TypeError, "sigma should be a number, .* got str"),
        (lambda: gaussian_blur(BATCH, 3, np.ones(3)), ValueError, r"sigma has 3 values for 2 image\(s\)"),
        (lambda: gaussian_blur(IMAGE[0], 3), ValueError, r"expected shape .* got \(4, 5\)"),
        (lambda: gaussian_noise(IMAGE, sigma=-1), ValueError, "sigma shouldn't be negative, got -1"),
        (lambda: gaussian_noise(IMAGE.astype(np.int64)), ValueError, "dtype uint8 or floating point, got int64"),
        (lambda: gaussian_noise(IMAGE, noise=BATCH), ValueError, r"image's shape \(3, 4, 5\), got \(2, 3, 4, 5\)"),
        (lambda: gaussian_noise("image"), TypeError, "gaussian_noise: expected a PIL image.* got str"),
        (lambda: erase(IMAGE, 0, 0, 2, 2, np.ones((3, 2, 3))), ValueError, r"v of shape \(3, 2, 3\) .* \(3, 2, 2\)"),
        (lambda: erase(BATCH, np.zeros(2), 0, 2, 2, np.ones((2, 1, 1))), ValueError, r"v of shape \(2, 1, 1\)"),
        (lambda: erase(IMAGE, np.zeros(2), 0, 2, 2, 0), ValueError, r"2 rectangles for an image of shape \(3, 4, 5\)"),
        (lambda: erase(BATCH, np.zeros(3), 0, 2, 2, 0), ValueError, "3 rectangles"),
        (lambda: GaussianBlur(2), ValueError, "one or two odd and positive numbers, got 2"),
        (lambda: GaussianBlur(3.5), ValueError, "one or two odd and positive numbers, got 3.5"),
        (lambda: GaussianBlur((3, 3, 3)), ValueError, "one or two odd and positive numbers"),
        (lambda: GaussianBlur(3, (2.0, 1.0)), ValueError, r"of the form \(min, max\), got \(2.0, 1.0\)"),
        (lambda: GaussianBlur(3, 0), ValueError, "sigma should be positive"),
        (lambda: GaussianBlur(3, "a"), TypeError, "sigma should be a number or a sequence of two, got 'a'"),
        (lambda: GaussianNoise(sigma=-0.1), ValueError, "sigma shouldn't be negative, got -0.1"),
        (lambda: RandomErasing(1.5), ValueError, r"p should be a number in \[0, 1\], got 1.5"),
        (lambda: RandomErasing(value=None), TypeError, "value should be a number, a string or a sequence, got None"),
        (lambda: RandomErasing(value="zero"), ValueError, "it should be 'random', got 'zero'"),
        (lambda: RandomErasing(scale=0.1), TypeError, "scale should be a sequence of two numbers, got 0.1"),
        (lambda: RandomErasing(scale=(0.1, 1.1)), ValueError, "scale should be between 0 and 1"),
        (lambda: RandomErasing(ratio=(0, 1)), ValueError, r"ratio should be positive, got \(0, 1\)"),
        (lambda: RandomErasing(value=(1, 2))(IMAGE), ValueError, "value has 2 numbers for images of 3 channels"),
    ],
)
def test_wrong_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_ranges_the_wrong_way_round_are_warned_of():
    with pytest.warns(UserWarning, match=r"ratio should be of the form \(min, max\), got \(3, 1\)"):
        RandomErasing(ratio=(3, 1))


def test_names_order_and_defaults_are_those_of_torchvision():
    def arguments(function):
        named = list(inspect.signature(function).parameters.values())
        return [(p.name, *([] if p.default is p.empty else [p.default])) for p in named if p.name != "self"]

    assert arguments(gaussian_blur) == [("image",), ("kernel_size",), ("sigma", None)]
    # and one more, for the same noise again
    assert arguments(gaussian_noise) == [("image",), ("mean", 0.0), ("sigma", 0.1), ("clip", True), ("noise", None)]
    assert arguments(erase) == [("image",), ("i",), ("j",), ("h",), ("w",), ("v",), ("inplace", False)]
    assert arguments(GaussianBlur) == [("kernel_size",), ("sigma", (0.1, 2.0))]
    assert arguments(GaussianNoise) == [("mean", 0.0), ("sigma", 0.1), ("clip", True)]
    assert arguments(RandomErasing) == [
        ("p", 0.5), ("scale", (0.02, 0.33)), ("ratio", (0.3, 3.3)), ("value", 0.0), ("inplace", False),
    ]  # fmt: skip
