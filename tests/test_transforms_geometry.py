"""Flips, padding, crops and resizing: PIL images, arrays, batches and another device against Pillow and plain code."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from minidl import random
from minidl.backend.reference import BlockKernels
from minidl.data import draws
from minidl.tensor import Tensor
from minidl.transforms import (
    CenterCrop,
    Compose,
    FiveCrop,
    InterpolationMode,
    Pad,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResize,
    RandomResizedCrop,
    RandomShortestSize,
    RandomVerticalFlip,
    Resize,
    TenCrop,
    is_batched,
)
from minidl.transforms import functional as F
from minidl.transforms.functional.resampling import RUN
from minidl.transforms.interpolation import check_interpolation, to_pillow
from tests.elsewhere import elsewhere

FILTERS = [m for m in InterpolationMode if "nearest" not in m.value]
SIDE = st.integers(1, 3 * RUN // 2)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def black_and_white(*shape: int, seed: int = 0) -> np.ndarray:
    """The hardest images for filters that overshoot: what is clipped after the first pass matters to the second."""
    return (np.random.default_rng(seed).integers(0, 2, shape) * 255).astype(np.uint8)


def to_pil(image: np.ndarray) -> Image.Image:
    """A PIL image of an array (C, H, W); float32 of one channel is mode F."""
    return Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))


def from_pil(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())


# -- all transforms: the three forms of an image agree ------------------------------------------------------------------

ALL = [
    RandomHorizontalFlip(),
    RandomVerticalFlip(p=0.3),
    Pad((1, 2, 3, 0), fill=(1, 2, 3)),
    Pad(2, padding_mode="edge"),
    Pad((2, 1), padding_mode="reflect"),
    CenterCrop((4, 9)),
    CenterCrop((30, 3)),
    RandomCrop((3, 7), padding=(1, 2), fill=7),
    RandomCrop((22, 5), pad_if_needed=True, padding_mode="symmetric"),
    Resize(12),
    Resize((7, RUN + 6), interpolation=InterpolationMode.BICUBIC),
    Resize(9, InterpolationMode.NEAREST),
    RandomResizedCrop(12),
    RandomResizedCrop((5, 17), scale=(0.3, 2.0), interpolation=InterpolationMode.LANCZOS),
    RandomResizedCrop((3, RUN + 9), ratio=(0.1, 0.2), interpolation=InterpolationMode.BICUBIC),
    RandomResizedCrop(8, interpolation=InterpolationMode.NEAREST),
    Compose([RandomResizedCrop(16), RandomHorizontalFlip(), RandomCrop(13, padding=1), RandomVerticalFlip()]),
]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_a_batch_is_its_images_alone_and_as_pil_images(transform, dtype):
    indices = [4, 17, 8, 8, 21, 3]
    pixels = black_and_white(6, 3, 20, 15)
    images = pixels if dtype == "uint8" else (pixels * np.float32(1 / 255))
    untouched = images.copy()
    with draws.fetching(0, 2, indices):
        batch = transform(images)
    assert batch.dtype == images.dtype and len(batch) == 6
    for image, index, row in zip(images, indices, batch, strict=True):
        with draws.fetching(0, 2, [index]):
            assert same(transform(image), row)
        with draws.fetching(0, 2, [index]):
            assert same(transform(image[None]), row[None])
        if dtype == "uint8":
            with draws.fetching(0, 2, [index]):
                assert same(from_pil(transform(to_pil(image))), row)
    assert same(images, untouched)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("transform", ALL, ids=repr)
@pytest.mark.parametrize("shape", [(3, 20, 15), (4, 3, 20, 15)])
def test_a_device_array_is_transformed_as_on_the_cpu(transform, shape, dtype):
    images = noise(*shape).astype(dtype)
    random.manual_seed(0)
    want = transform(images)
    random.manual_seed(0)
    got = transform(Tensor.wrap(elsewhere.from_numpy(images)))
    assert got.backend is elsewhere
    np.testing.assert_allclose(elsewhere.to_numpy(got.array), want, rtol=0, atol=0 if dtype == "uint8" else 1e-3)
    assert got.dtype == want.dtype


@pytest.mark.parametrize(
    "transform", [t for t in ALL if not isinstance(t, Compose) and getattr(t, "fill", 0) != (1, 2, 3)], ids=repr
)
def test_parameters_are_replayed_on_a_mask(transform):
    images = np.tile(noise(1, 1, 20, 15), (5, 3, 1, 1))  # three equal channels
    random.manual_seed(1)
    params = transform.make_params(images.shape)
    image, mask = transform.transform(images, params), transform.transform(images[:, :1], params)
    assert (image[:, 1:2] == mask).all()


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_of_no_images_there_are_none(transform):
    images = noise(2, 3, 20, 15)
    assert same(transform(images[:0]), transform(images)[:0])


# -- flips --------------------------------------------------------------------------------------------------------------

MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "HSV", "YCbCr", "I", "F", "I;16"]


def any_pil(mode: str, width: int = 7, height: int = 5) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.random.default_rng(0).integers(0, 1 << 16, (height, width)).astype(np.uint16))
    image = to_pil(noise(3, height, width))
    return image.quantize(9) if mode == "P" else image.convert("RGBA" if mode == "LA" else mode).convert(mode)


@pytest.mark.parametrize("mode", MODES)
def test_flips_crops_and_pads_of_pil_images_of_every_mode(mode):
    image = any_pil(mode)
    pixels = np.asarray(image)
    cases = {
        F.horizontal_flip: pixels[:, ::-1],
        F.vertical_flip: pixels[::-1],
        lambda x: F.crop(x, 1, 2, 3, 4): pixels[1:4, 2:6],
        lambda x: F.pad(x, (1, 2, 3, 4)): np.pad(pixels, [(2, 4), (1, 3), (0, 0)][: pixels.ndim]),
        lambda x: F.pad(x, 3, padding_mode="symmetric"): np.pad(
            pixels, [(3, 3), (3, 3), (0, 0)][: pixels.ndim], mode="symmetric"
        ),
    }
    for function, want in cases.items():
        got = function(image)
        assert got.mode == mode and same(np.asarray(got), np.ascontiguousarray(want))
        assert got.getpalette() == image.getpalette()
    assert same(np.asarray(image), pixels)


@given(shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)), batch=st.booleans())
@settings(max_examples=30, deadline=None)
def test_flipping_twice_is_the_identity(shape, batch):
    image = noise(*((2,) * batch), *shape)
    for flip in (F.hflip, F.vflip):
        assert same(np.asarray(flip(flip(image))), image)
    assert same(F.hflip(F.vflip(image)), np.rot90(image, 2, axes=(-2, -1)))


def test_flips_with_the_same_parameters_flip_the_same_images():
    images = noise(20, 1, 3, 4)
    flip = RandomHorizontalFlip()
    params = flip.make_params(images.shape)
    assert 0 < params["flip"].sum() < 20
    assert same(flip.transform(flip.transform(images, params), params), images)


# -- padding and crops --------------------------------------------------------------------------------------------------


def test_fill_of_pil_images():
    assert F.pad(Image.new("RGB", (1, 1)), 1, fill=(7, 8, 9)).getpixel((0, 0)) == (7, 8, 9)
    assert F.pad(Image.new("RGB", (1, 1)), 1, fill=7.9).getpixel((0, 0)) == (7, 7, 7)
    assert F.pad(Image.new("F", (1, 1)), 1, fill=0.5).getpixel((0, 0)) == 0.5
    assert F.pad(Image.new("L", (1, 1)), (1, 0), fill=[9]).getpixel((0, 0)) == 9
    with pytest.raises(ValueError, match="2 values for images of 3 channels"):
        F.pad(Image.new("RGB", (1, 1)), 1, fill=(1, 2))


WINDOW = st.tuples(st.integers(-9, 9), st.integers(-9, 9), st.integers(0, 9), st.integers(0, 9))


@given(windows=st.lists(WINDOW, min_size=1, max_size=4), height=st.integers(1, 7), width=st.integers(1, 7))
@settings(max_examples=150, deadline=None)
def test_crop_gives_zeros_outside(windows, height, width):
    images = 1 + noise(len(windows), 2, height, width) // 2
    tops, lefts = (np.array([w[i] for w in windows]) for i in (0, 1))
    h, w = windows[0][2:]
    surrounded = np.pad(images, [(0, 0), (0, 0), (20, 20), (20, 20)])
    corners = zip(surrounded, tops + 20, lefts + 20, strict=True)
    want = np.stack([s[:, top : top + h, left : left + w] for s, top, left in corners])
    assert same(F.crop(images, tops, lefts, h, w), want)
    assert same(F.crop(images, tops, lefts, np.full(len(images), h), np.full(len(images), w)), want)
    assert same(F.crop(images[0], tops[0], int(lefts[0]), h, w), want[0])
    assert same(F.crop(images, tops[:1], int(lefts[0]), h, w)[:1], want[:1])
    if h and w:
        assert same(from_pil(F.crop(to_pil(images[0, :1]), tops[:1], lefts[0], h, w)), want[0, :1])


def test_windows_of_a_batch_may_differ_in_one_coordinate():
    images = noise(3, 1, 5, 6)
    some, other = np.array([1, 1, 1]), np.array([0, 2, 1])
    assert same(
        F.crop(images, some, other, 3, 3), np.stack([i[:, 1:4, k : k + 3] for i, k in zip(images, other, strict=True)])
    )
    assert same(
        F.crop(images, other, some, 3, 3), np.stack([i[:, k : k + 3, 1:4] for i, k in zip(images, other, strict=True)])
    )


def test_random_crop_pads_as_it_was_told():
    images = np.full((50, 1, 4, 4), 9, np.uint8)
    for image in (images, images[0], to_pil(images[0])):
        for mode, values in (("edge", {9}), ("constant", {5, 9})):
            crop = RandomCrop(4, padding=3, fill=5, padding_mode=mode)
            seen = set()
            for _ in range(20):
                seen |= set(np.asarray(crop(image)).ravel().tolist())
            assert seen == values


def test_crop_refuses_windows_that_do_not_stack():
    images = noise(2, 1, 5, 5)
    with pytest.raises(ValueError, match=r"one height and width, got heights \[2, 3\] and widths \[2, 2\]"):
        F.crop(images, 0, 0, np.array([2, 3]), np.array([2, 2]))
    for image in (images, to_pil(images[0])):
        with pytest.raises(ValueError, match="not be negative, got 2 and -1"):
            F.crop(image, 0, 0, 2, -1)
    with pytest.raises(TypeError, match="expected a PIL image, a Tensor or an array, got list"):
        F.crop([[1]], 0, 0, 1, 1)


@given(height=st.integers(1, 9), width=st.integers(1, 9), h=st.integers(1, 12), w=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_center_crop_of_pil_images_and_arrays(height, width, h, w):
    image = noise(3, height, width)
    got = F.center_crop(image, (h, w))
    assert got.shape == (3, h, w) and same(from_pil(F.center_crop(to_pil(image), (h, w))), got)
    assert same(F.center_crop(image[None], [h, w])[0], got)


@pytest.mark.parametrize(("length", "size", "first"), [(3, 2, 0), (5, 2, 2), (7, 2, 2), (9, 2, 4), (6, 2, 2)])
def test_the_middle_is_rounded_to_even(length, size, first):
    image = noise(1, length, length)
    assert same(F.center_crop(image, size), image[:, first : first + size, first : first + size])


@pytest.mark.parametrize("vertical", [False, True])
def test_five_and_ten_crops(vertical):
    images = noise(2, 3, 7, 8)
    corners = [
        images[..., :4, :5],
        images[..., :4, 3:],
        images[..., 3:, :5],
        images[..., 3:, 3:],
        images[..., 2:6, 2:7],
    ]
    five = FiveCrop((4, 5))(images)
    assert isinstance(five, tuple) and all(map(same, five, corners))
    ten = TenCrop((4, 5), vertical_flip=vertical)(images)
    mirrored = images[:, :, ::-1] if vertical else images[..., ::-1]
    assert (
        len(ten) == 10 and all(map(same, ten[:5], corners)) and all(map(same, ten[5:], F.five_crop(mirrored, (4, 5))))
    )
    for got, want in zip(TenCrop((4, 5), vertical)(to_pil(images[0])), ten, strict=True):
        assert same(from_pil(got), want[0])
    for function in (F.five_crop, F.ten_crop):
        with pytest.raises(ValueError, match=r"crop size \(8, 8\) is larger than the image size \(7, 8\)"):
            function(images, 8)


def test_sizes():
    for image in (noise(2, 3, 4, 5), noise(3, 4, 5), to_pil(noise(3, 4, 5)), Tensor(noise(3, 4, 5))):
        assert F.get_dimensions(image) == [3, 4, 5] and F.get_num_channels(image) == 3
        assert F.get_size(image) == [4, 5] and F.get_image_size(image) == [5, 4]
    assert F.get_dimensions(noise(4, 5)) == [1, 4, 5] and F.get_num_channels(any_pil("LA")) == 2
    for wrong in ("image", noise(4)):
        with pytest.raises(TypeError, match="expected a PIL image"):
            F.get_size(wrong)


# -- resizing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", InterpolationMode)
@given(old=st.tuples(SIDE, SIDE), new=st.tuples(SIDE, SIDE), seed=st.integers(0, 99))
@example(old=(2, 2), new=(49, 49), seed=1)  # the middle falls between two pixels: BOX takes what rounding gives it
@example(old=(90, 30), new=(20, 29), seed=0)  # Pillow 13 goes down first
@settings(max_examples=60, deadline=None)
def test_uint8_arrays_are_resized_exactly_as_pillow_does(mode, old, new, seed):
    image = (noise if seed % 2 else black_and_white)(1 if seed % 3 else 3, *old, seed=seed)
    want = from_pil(to_pil(image).resize(new[::-1], to_pillow(mode)))
    assert same(F.resize(image, new, mode), want)
    assert same(from_pil(F.resize(to_pil(image), new, mode)), want)
    both = np.stack([255 - image, image])
    assert same(F.resize(both, new, mode)[1], want)


@pytest.mark.parametrize("mode", InterpolationMode)
@given(old=st.tuples(SIDE, SIDE), new=st.tuples(SIDE, SIDE))
@settings(max_examples=20, deadline=None)
def test_float_arrays_are_resized_as_pillows_mode_f(mode, old, new):
    image = np.random.default_rng(0).random((1, *old), np.float32)
    want = from_pil(to_pil(image).resize(new[::-1], to_pillow(mode)))
    for dtype, tolerance in ((np.float32, 3e-6), (np.float64, 3e-6), (np.float16, 4e-3)):
        got = F.resize(image.astype(dtype), new, mode)
        assert got.dtype == dtype
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance)


def plainly(image: np.ndarray, out: int, mode: InterpolationMode) -> np.ndarray:
    """The last axis pixel by pixel: what is at the new pixel's centre, where the outermost pixels go on beyond the edge."""
    length = image.shape[-1]
    result = np.zeros((*image.shape[:-1], out))
    for i in range(out):
        source = (i + 0.5) * length / out - 0.5
        for tap in range(math.floor(source) - 1, math.floor(source) + 3):
            x = abs(source - tap)
            if mode is InterpolationMode.BILINEAR:
                weight = max(1 - x, 0)
            elif x < 1:
                weight = 1.25 * x**3 - 2.25 * x**2 + 1
            else:
                weight = -0.75 * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0
            result[..., i] += weight * image[..., min(max(tap, 0), length - 1)]
    return result


PLAIN = [InterpolationMode.BILINEAR, InterpolationMode.BICUBIC]


@pytest.mark.parametrize("mode", PLAIN)
@given(old=st.tuples(SIDE, SIDE), new=st.tuples(SIDE, SIDE))
@settings(max_examples=15, deadline=None)
def test_without_antialiasing_values_are_interpolated(mode, old, new):
    image = noise(2, *old)
    want = plainly(plainly(image.astype(np.float64), new[1], mode).swapaxes(1, 2), new[0], mode).swapaxes(1, 2)
    np.testing.assert_allclose(F.resize(image.astype(np.float64), new, mode, antialias=False), want, atol=1e-9)
    if mode is InterpolationMode.BILINEAR:  # else clipping after the first pass makes a difference
        assert np.abs(F.resize(image, new, mode, antialias=False) - want).max() <= 1.001


@pytest.mark.parametrize(
    ("mode", "width", "want"),  # by torch.nn.functional.interpolate(…, align_corners=False)
    [
        ("bilinear", 3, [2.333333, 2.0, 4.666667]),
        ("bilinear", 8, [1.0, 2.75, 4.8125, 2.9375, 3.875, 7.625, 5.1875, 3.0]),
        ("bicubic", 3, [2.425926, 2.0, 4.907407]),
        ("bicubic", 8, [0.628662, 2.961487, 4.999268, 2.413818, 3.673584, 7.899658, 5.633545, 2.535828]),
    ],
)
def test_plain_interpolation_is_pytorchs(mode, width, want):
    image = np.array([[[1.0, 5.0, 2.0, 8.0, 3.0]]])
    got = F.resize(image, (1, width), InterpolationMode(mode), antialias=False)
    np.testing.assert_allclose(got[0, 0], want, atol=1e-6)


@pytest.mark.parametrize("mode", [m for m in FILTERS if m not in PLAIN])
def test_other_filters_are_always_antialiased(mode):
    image = noise(1, 40, 40)
    assert same(F.resize(image, (7, 9), mode, antialias=False), F.resize(image, (7, 9), mode))


def test_other_dtypes_are_resized_too():
    image = (noise(1, 9, 9).astype(np.int64) - 100) * 200
    got = F.resize(image.astype(np.int16), (5, 5))
    np.testing.assert_allclose(got, F.resize(image.astype(np.float64), (5, 5)), atol=0.5 + 1e-9)
    assert got.dtype == np.int16 and got.min() < 0
    over = F.resize(np.where(image > 5000, 127, -128).astype(np.int8), (30, 30), InterpolationMode.LANCZOS)
    assert over.dtype == np.int8 and over.max() == 127 and over.min() == -128  # clipped, not wrapped round
    assert same(F.resize(image > 0, (4, 5), InterpolationMode.NEAREST), F.resize(image, (4, 5), 0) > 0)
    with pytest.raises(TypeError, match="bool images can be resized with NEAREST only"):
        F.resize(image > 0, (4, 5))


@pytest.mark.parametrize("image", [Image.new("P", (6, 4)), Image.new("1", (6, 4)), Image.new("RGBA", (6, 4))])
def test_pil_images_of_other_modes_are_resized_by_pillow(image):
    assert F.resize(image, 2).size == (3, 2) and F.resize(image, 2).mode == image.mode


@pytest.mark.parametrize(
    ("size", "max_size", "old", "new"),
    [
        (10, None, (20, 31), (10, 15)),
        ([10], None, (31, 20), (15, 10)),
        (30, None, (20, 20), (30, 30)),
        (10, 12, (20, 31), (8, 12)),
        (10, 12, (31, 20), (12, 8)),
        (10, 16, (20, 31), (10, 15)),
        (None, 62, (20, 31), (40, 62)),
        (None, 7, (31, 20), (7, 4)),
        ((3, 8), None, (20, 31), (3, 8)),
        (np.int64(10), None, (20, 31), (10, 15)),
    ],
)
def test_sizes_follow_torchvisions_rule(size, max_size, old, new):
    image = noise(3, *old)
    for form in (image, image[None], to_pil(image)):
        for resized in (F.resize(form, size, max_size=max_size), Resize(size, max_size=max_size)(form)):
            assert F.get_size(resized) == list(new)


@pytest.mark.parametrize(
    ("size", "max_size", "message"),
    [
        ((3, 4, 5), None, "one or two positive whole numbers"),
        (0, None, "one or two positive whole numbers"),
        (2.5, None, "one or two positive whole numbers"),
        ((), None, "one or two positive whole numbers"),
        ((3, 4), 9, "goes with the length of the shorter side"),
        (8, 8, "greater than the shorter side, got 8 and 8"),
        (None, None, "max_size should be given"),
        (3, 0, "max_size should be a positive whole number"),
    ],
)
def test_wrong_sizes_are_refused(size, max_size, message):
    with pytest.raises(ValueError, match=message):
        Resize(size, max_size=max_size)
    with pytest.raises(ValueError, match=message):
        F.resize(noise(1, 5, 5), size, max_size=max_size)


def test_images_that_cannot_be_resized_are_refused():
    with pytest.raises(ValueError, match="has no pixels"):
        F.resize(noise(1, 0, 5), 3)
    with pytest.raises(ValueError, match="would lose all pixels"):
        F.resize(noise(1, 1, 50), None, max_size=20)
    with pytest.raises(TypeError, match="got str"):
        F.resize("image", 3)
    with pytest.warns(UserWarning, match="antialias=False is ignored"):
        F.resize(Image.new("L", (4, 4)), 2, antialias=False)
    assert F.resize(noise(0, 3, 8, 8), 5).shape == (0, 3, 5, 5)


def test_interpolation_modes():
    for mode in InterpolationMode:
        assert check_interpolation(mode) is mode and check_interpolation(mode.value) is mode
        if mode is not InterpolationMode.NEAREST_EXACT:
            assert check_interpolation(int(to_pillow(mode))) is mode
    assert check_interpolation(Image.Resampling.BICUBIC) is InterpolationMode.BICUBIC
    assert Resize(3, "bicubic").interpolation is InterpolationMode.BICUBIC
    assert same(F.resize(noise(1, 8, 8), 5, "nearest-exact"), F.resize(noise(1, 8, 8), 5, InterpolationMode.NEAREST))
    for wrong in ("cubic", "BILINEAR", 17, None, 2.0):
        with pytest.raises(ValueError, match="interpolation should be"):
            Resize(3, interpolation=wrong)


def test_nothing_is_done_when_the_size_is_right():
    image = noise(1, 4, 6)
    assert F.resize(image, (4, 6)) is image and F.resize(image, 4) is image
    assert F.resize(to_pil(image), 4).tobytes() == image.tobytes()


def test_resize_hands_its_arguments_on():
    image = noise(1, 40, 50)
    for mode in PLAIN:
        got = Resize(12, mode, max_size=13, antialias=False)(image)
        assert same(got, F.resize(image, (10, 13), mode, antialias=False)) and not same(
            got, F.resize(image, (10, 13), mode)
        )
    crop = RandomResizedCrop(7, antialias=False, interpolation=Image.Resampling.BICUBIC)
    params = crop.make_params(image.shape)
    assert same(
        crop.transform(image, params), F.resized_crop(image, **params, size=(7, 7), interpolation=3, antialias=False)
    )


# -- resized crops ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", InterpolationMode)
@given(data=st.data(), old=st.tuples(SIDE, SIDE), new=st.tuples(SIDE, SIDE), outside=st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_batch_of_resized_crops_is_one_crop_after_the_other(mode, data, old, new, outside):
    count = data.draw(st.integers(1, 4))
    images = black_and_white(count, 1, *old)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    height, width = (rng.integers(1, side + 1 + 9 * outside, count) for side in old)
    top = (rng.random(count) * (old[0] - height + 1)).astype(int)
    left = (rng.random(count) * (old[1] - width + 1)).astype(int)
    got = F.resized_crop(images, top, left, height, width, new, mode)
    for i, image in enumerate(images):
        window = top[i], left[i], height[i], width[i]
        want = F.resize(F.crop(image, *window), new, mode)
        assert same(got[i], want)
        assert same(F.resized_crop(image, *window, new, mode), want)
        assert same(from_pil(F.resized_crop(to_pil(image), *window, new, mode)), want)


@pytest.mark.parametrize("mode", FILTERS)
@pytest.mark.parametrize("antialias", [True, False])
def test_resized_crops_of_floats(mode, antialias):
    images = np.random.default_rng(0).random((5, 2, 90, 70))
    height, width = np.array([90, 20, 3, 50, 1]), np.array([7, 70, 66, 1, 30])
    top, left = np.array([0, 70, 3, 11, 89]), np.array([60, 0, 4, 69, 40])
    got = F.resized_crop(images, top, left, height, width, (30, RUN + 7), mode, antialias)
    for i, window in enumerate(zip(top, left, height, width, strict=True)):
        want = F.resize(F.crop(images[i], *window), (30, RUN + 7), mode, antialias=antialias)
        np.testing.assert_allclose(got[i], want, atol=1e-12)
        assert same(F.resized_crop(images[i], *window, (30, RUN + 7), mode, antialias), got[i])


def test_a_batch_done_in_blocks_is_the_same(monkeypatch):
    images = noise(9, 2, 40, 30)
    height, width = np.arange(9) * 4 + 3, np.arange(9)[::-1] * 3 + 4
    top, left = np.arange(9), np.arange(9) // 3
    for mode in (InterpolationMode.BILINEAR, InterpolationMode.LANCZOS):
        want = F.resized_crop(images, top, left, height, width, (20, 70), mode)
        with monkeypatch.context() as patch:
            patch.setattr(BlockKernels, "block_bytes", 1 << 16)
            assert same(F.resized_crop(images, top, left, height, width, (20, 70), mode), want)
            assert same(F.resize(images, (20, 70), mode), np.stack([F.resize(i, (20, 70), mode) for i in images]))


def test_resized_crops_take_one_window_for_all_and_any_size():
    images = noise(3, 1, 9, 12)
    assert same(F.resized_crop(images, 1, 2, 6, 8, 3), F.resize(images[:, :, 1:7, 2:10], 3))
    assert F.resized_crop(images, 0, 0, np.array([2, 4, 6]), np.array([3, 6, 9]), 4).shape == (3, 1, 4, 6)
    with pytest.raises(ValueError, match=r"equally large, got \[\(4, 4\), \(4, 6\)\] with size=4"):
        F.resized_crop(images, 0, 0, np.array([2, 4, 6]), np.array([3, 6, 6]), 4)


@given(height=st.integers(1, 60), width=st.integers(1, 60), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_random_resized_crop_takes_permitted_windows(height, width, seed):
    crop = RandomResizedCrop(8, scale=(0.2, 0.7), ratio=(0.5, 2.0))
    with draws.fetching(seed, 0, range(50)):
        params = crop.make_params((50, 3, height, width))
    top, left, h, w = (params[name] for name in ("top", "left", "height", "width"))
    assert (top >= 0).all() and (left >= 0).all() and (h > 0).all() and (w > 0).all()
    assert (top + h <= height).all() and (left + w <= width).all()
    if 20 < height < 2 * width < 4 * height and width > 20:  # rounding to whole pixels matters little
        area, ratio = h * w / (height * width), w / h
        assert (area > 0.2 - 0.05).all() and (area < 0.7 + 0.05).all()
        assert (ratio > 0.5 - 0.1).all() and (ratio < 2.0 + 0.4).all()


def test_random_resized_crop_draws_as_it_says():
    crop = RandomResizedCrop(8, scale=(0.1, 0.3), ratio=(0.5, 3.0))
    with draws.fetching(0, 0, range(4000)):
        params = crop.make_params((4000, 1, 1000, 1000))
    top, left, h, w = (params[name] for name in ("top", "left", "height", "width"))
    ratio = np.log(w / h)
    assert abs(np.corrcoef(h * w, ratio)[0, 1]) < 0.06
    assert abs(np.corrcoef(top / (1000 - h), left / (1000 - w))[0, 1]) < 0.06
    for values, low, high in (
        (h * w / 1e6, 0.1, 0.3),
        (ratio, -math.log(2), math.log(3)),
        (top / (1000 - h), 0, 1),
        (left / (1000 - w), 0, 1),
    ):
        counts, _ = np.histogram(values, 8, (low, high))
        assert ((counts - 500) ** 2 / 500).sum() < 40  # chi-squared, 7 degrees


def test_random_resized_crop_tries_ten_times():
    """With these scales one attempt in about 2.5 fits, and the first that does is taken."""
    crop = RandomResizedCrop(8, scale=(0.5, 2.0), ratio=(1.0, 1.0))
    with draws.fetching(0, 0, range(500)):
        params = crop.make_params((500, 1, 100, 100))
    u = np.concatenate([draws.uniform_for(0, 0, range(500), n, stream) for stream, n in enumerate((4, 36))], axis=1)
    u = u.reshape(500, 10, 4)
    side = np.rint(np.sqrt(10000 * (0.5 + 1.5 * u[..., 0])))
    want = [next((s for s in sides if s <= 100), 100) for sides in side]
    assert (params["height"] == want).all() and (params["width"] == want).all()
    assert (side > 100).all(axis=1).any()  # the middle was taken at times


@pytest.mark.parametrize(
    ("shape", "window"),  # as torchvision's fallback
    [((10, 40), (0, 13, 10, 13)), ((40, 10), (13, 0, 13, 10)), ((10, 12), (0, 0, 10, 12)), ((1, 1), (0, 0, 1, 1))],
)
def test_random_resized_crop_falls_back_to_the_middle(shape, window):
    params = RandomResizedCrop(8, scale=(50, 60)).make_params((2, 1, *shape))
    for name, value in zip(("top", "left", "height", "width"), window, strict=True):
        assert params[name].tolist() == [value] * 2


def test_every_transform_draws_the_same_however_it_ends():
    """What comes after it in a pipeline then gets the same numbers, for any size of image."""
    images = [noise(1, 40, 30), noise(1, 3, 90)]
    for transform in (RandomResizedCrop(4), RandomCrop(3), RandomHorizontalFlip(), RandomResize(3, 9)):
        after = []
        for image in images:
            random.manual_seed(3)
            transform(image)
            after.append(draws.uniform(1, 1).item())
        assert after[0] == after[1]
        with draws.fetching(0, 0, [5]):
            transform(images[0])
            after.append(draws.uniform(1, 1).item())
        with draws.fetching(0, 0, [5]):
            transform(images[1])
            assert draws.uniform(1, 1).item() == after[2]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: RandomResizedCrop(0), ValueError, "size should be one or two positive"),
        (lambda: RandomResizedCrop((1, 2, 3)), ValueError, "size should be"),
        (lambda: RandomResizedCrop(2.5), ValueError, "size should be"),
        (lambda: RandomResizedCrop(4, scale=1.0), TypeError, "scale should be a sequence"),
        (lambda: RandomResizedCrop(4, scale=(-1, 1)), ValueError, "scale should be two positive"),
        (lambda: RandomResizedCrop(4, ratio=(0, 1)), ValueError, "ratio should be two positive"),
        (lambda: RandomResizedCrop(4, ratio=(1, 2, 3)), ValueError, "ratio should be two positive"),
        (lambda: FiveCrop("ab"), ValueError, "FiveCrop: size should be"),
        (lambda: TenCrop(-1), ValueError, "TenCrop: size should be"),
        (lambda: RandomHorizontalFlip(-0.1), ValueError, r"\[0, 1\], got -0.1"),
        (lambda: RandomResize(5, 5), ValueError, "min_size < max_size, got 5 and 5"),
        (lambda: RandomResize(3.5, 9), TypeError, "RandomResize: expected whole numbers, got 3.5 and 9"),
        (lambda: RandomShortestSize([]), ValueError, "one or more positive"),
        (lambda: RandomShortestSize("a"), TypeError, "min_size should be one or more positive numbers, got 'a'"),
        (lambda: RandomShortestSize(None), TypeError, "one or more positive numbers, got None"),
        (lambda: Pad(1, fill="red"), TypeError, "Pad: fill should be a number, .* got 'red'"),
        (lambda: RandomCrop(3, padding=1, fill="red"), TypeError, "RandomCrop: fill should be a number"),
        (lambda: RandomShortestSize([3, 0]), ValueError, "one or more positive"),
    ],
)
def test_wrong_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_scale_in_the_wrong_order_is_pointed_out():
    with pytest.warns(UserWarning, match=r"should be \(least, most\)"):
        RandomResizedCrop(4, scale=(1.0, 0.5))


# -- random sizes -------------------------------------------------------------------------------------------------------


def test_random_resize():
    resize = RandomResize(5, 9)
    image = noise(3, 20, 30)
    sizes = {tuple(F.get_size(resize(image))) for _ in range(100)}
    assert sizes == {(s, int(s * 1.5)) for s in (5, 6, 7, 8)}
    random.manual_seed(0)
    alone = resize(image)
    random.manual_seed(0)
    assert same(from_pil(resize(to_pil(image))), alone)


def test_random_shortest_size():
    image = noise(3, 20, 30)
    resize = RandomShortestSize([5, 8, 20], max_size=24)
    assert {tuple(F.get_size(resize(image))) for _ in range(100)} == {(5, 7), (8, 12), (16, 24)}
    assert F.get_size(RandomShortestSize(10)(to_pil(image))) == [10, 15]


@pytest.mark.parametrize("resize", [RandomResize(5, 9), RandomShortestSize([5, 8, 20])])
def test_a_batch_cannot_become_differently_large(resize):
    assert not is_batched(resize)
    with pytest.raises(ValueError, match="would become differently large"):
        resize(noise(50, 1, 20, 30))
    assert resize(noise(1, 1, 20, 30)).shape[0] == 1


def test_scales_may_be_numpys_numbers():
    crop = RandomResizedCrop(8, scale=np.array([0.1, 1.0], np.float16), ratio=np.array([0.75, 1.5], np.float16))
    assert crop.make_params((3, 9000, 8000))["height"][0] > 0 and {type(v) for v in crop.scale + crop.ratio} == {float}


@pytest.mark.parametrize("shape", [(375, 500), (500, 90), (1, 1), (30, 4000)])
def test_windows_drawn_for_one_image_are_those_of_a_batch(shape):
    crop, n = RandomResizedCrop(8, scale=(0.4, 1.0)), 200
    with draws.fetching(3, 1, range(n)):
        many = crop.make_params((n, 3, *shape))
    for i in range(n):
        with draws.fetching(3, 1, [i]):
            one = crop.make_params((3, *shape))
            following = draws.uniform(1, 1)
        assert {name: value.tolist() for name, value in one.items()} == {
            k: v[i : i + 1].tolist() for k, v in many.items()
        }
        assert following == draws.uniform_for(3, 1, [i], 1, stream=2)
