"""Warps against Pillow, against plain per-pixel code, and batches against single images."""

from __future__ import annotations

import inspect
import math
import platform

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minidl import random
from minidl.data import draws
from minidl.tensor import Tensor
from minidl.transforms.fields import MOST, uniform_field
from minidl.transforms.functional.warp import (
    _inverse_affine,
    affine,
    elastic,
    perspective,
    perspective_coefficients,
    rotate,
)
from minidl.transforms.interpolation import InterpolationMode
from minidl.transforms.warps import ElasticTransform, RandomAffine, RandomPerspective, RandomRotation
from tests.elsewhere import elsewhere

NEAREST, BILINEAR, BICUBIC = InterpolationMode.NEAREST, InterpolationMode.BILINEAR, InterpolationMode.BICUBIC
MODES = (NEAREST, BILINEAR, BICUBIC)
SIZES = [(32, 32), (13, 27), (8, 5), (1, 1), (1, 9), (7, 1)]  # (height, width)
SAME_ARITHMETIC = platform.machine().lower() in ("x86_64", "amd64")  # as Pillow's: elsewhere it may fuse operations


def picture(*shape: int, dtype: object = np.uint8, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 256, shape)
    return values.astype(dtype) if np.dtype(dtype).kind != "f" else (values / 255).astype(dtype)


def smooth(size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size
    return np.stack([0.5 + 0.4 * np.sin(5 * x + 3 * y), 0.5 + 0.4 * np.cos(4 * x * y + 1)])


def to_pil(array: np.ndarray) -> Image.Image:
    return Image.fromarray(array[0] if len(array) == 1 else np.ascontiguousarray(array.transpose(1, 2, 0)))


def from_pil(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def assert_agree(array: np.ndarray, image: Image.Image, mode: InterpolationMode = BILINEAR) -> None:
    """uint8: the same on x86; elsewhere 1 grey level, or another pixel for NEAREST, but for a row that just misses the image."""
    want = from_pil(image)
    assert array.shape == want.shape and array.dtype == np.uint8
    apart = np.abs(array.astype(int) - want)
    if SAME_ARITHMETIC:
        assert not apart.any()
    else:
        assert np.mean(apart > (mode is not NEAREST)) <= 0.1 or apart.size < 200


# -- what the functions do ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float32, np.float64, np.bool_])
def test_parameters_that_change_nothing(mode, size, dtype):
    image = picture(3, *size, dtype=dtype)
    unmoved = [
        affine(image, 0, (0, 0), 1, 0, mode, fill=7),
        affine(image, 0.0, np.zeros((1, 2)), 1.0, [0.0, 0.0], mode, center=(2, 1.5)),
        rotate(image, 0, mode),
        rotate(image, 360.0, mode, expand=True, fill=7),
        perspective(image, None, None, mode, fill=7, coefficients=[1, 0, 0, 0, 1, 0, 0, 0]),
        elastic(image, np.zeros((1, *size, 2)), mode, fill=7),
    ]
    for out in unmoved:
        assert out.dtype == image.dtype and out.shape == image.shape and (out == image).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(5, 5), (6, 6), (4, 7), (3, 2), (1, 1), (1, 8)])
@pytest.mark.parametrize("turns", [-1, 1, 2, 3, 5, 4 * 10**9 + 1])
def test_quarter_turns_are_those_of_numpy(mode, size, turns):
    image = picture(3, *size)
    want = np.rot90(image, turns, axes=(1, 2))
    assert (rotate(image, 90 * turns, mode, expand=True) == want).all()
    assert (from_pil(rotate(to_pil(image), 90 * turns, mode, expand=True)) == want).all()
    if size[0] == size[1]:
        assert (rotate(image, 90 * turns, mode) == want).all()
        turned = affine(image, -90 * (turns % 4), (0, 0), 1, 0, mode).astype(int)  # its cosines are not rounded
        assert np.abs(turned - want).max() <= 1


def test_whole_shifts():
    image = np.arange(1, 13).reshape(1, 3, 4)
    out = affine(image, 0, (1, -2), 1, 0, fill=-5)
    assert out.tolist() == [[[-5, 9, 10, 11], [-5, -5, -5, -5], [-5, -5, -5, -5]]]
    half = affine(np.array([[[0.0, 4.0, 8.0]]]), 0, (0.5, 0), 1, 0, BILINEAR, fill=9)
    assert half.tolist() == [[[0.0, 2.0, 6.0]]]  # the border's pixel goes on for half a pixel, then comes the fill
    half = affine(np.array([[[0.0, 4.0, 8.0]]]), 0, (0.75, 0), 1, 0, BILINEAR, fill=9)
    assert half.tolist() == [[[9.0, 1.0, 5.0]]]


@given(
    angle=st.floats(-400, 400), x=st.floats(-9, 9), y=st.floats(-9, 9), scale=st.floats(0.2, 4),
    shear=st.tuples(st.floats(-60, 60), st.floats(-60, 60)), center=st.tuples(st.floats(-9, 30), st.floats(-9, 30)),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_the_matrix_is_the_inverse_of_the_elementary_maps(angle, x, y, scale, shear, center):
    def shift(a, b):
        return np.array([[1, 0, a], [0, 1, b], [0, 0, 1.0]])

    turn, (sx, sy) = math.radians(angle), map(math.radians, shear)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    shear_x = np.array([[1, -np.tan(sx), 0], [0, 1, 0], [0, 0, 1]])
    shear_y = np.array([[1, 0, 0], [-np.tan(sy), 1, 0], [0, 0, 1]])
    forth = shift(x, y) @ shift(*center) @ rotation @ np.diag([scale, scale, 1]) @ shear_y @ shear_x
    forth = forth @ shift(-center[0], -center[1])
    back = np.vstack([np.reshape(_inverse_affine(center, angle, x, y, scale, *shear), (2, 3)), [0, 0, 1]])
    assert np.allclose(back @ forth, np.eye(3), atol=1e-9)


@given(angle=st.floats(-180, 180), scale=st.floats(0.7, 1.4), seed=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_there_and_back_again(angle, scale, seed):
    image = smooth(40)
    back = affine(affine(image, angle, (0, 0), scale, 0, BILINEAR), -angle, (0, 0), 1 / scale, 0, BILINEAR)
    assert np.abs(back - image)[:, 14:26, 14:26].max() < 0.01  # of values from 0.1 to 0.9
    back = rotate(rotate(image, angle, BICUBIC), -angle, BICUBIC)
    assert np.abs(back - image)[:, 12:28, 12:28].max() < 0.02  # Pillow's cubic, with a = -1, is not the smoothest
    corners = np.array([[0, 0], [39, 0], [39, 39], [0, 39]])
    moved = corners + np.random.default_rng(seed).integers(-5, 6, (4, 2))
    back = perspective(perspective(image, corners, moved), moved, corners)
    assert np.abs(back - image)[:, 10:30, 10:30].max() < 0.01


def test_directions():
    image = np.zeros((1, 9, 9))
    image[0, 4, 7] = 1.0  # right of the middle
    below, above = [[0, 7, 4]], [[0, 1, 4]]
    assert np.argwhere(affine(image, 90, (0, 0), 1, 0)).tolist() == below  # clockwise
    assert np.argwhere(rotate(image, 90)).tolist() == above  # counterclockwise
    assert np.argwhere(affine(image, 0, (-2, 1), 1, 0)).tolist() == [[0, 5, 5]]
    assert np.argwhere(rotate(image, 90, center=(7.5, 4.5))).tolist() == [[0, 4, 7]]
    one_left = np.zeros((1, 9, 9, 2)) + (2 / 9, 0)
    assert np.argwhere(elastic(image, one_left)).tolist() == [[0, 4, 6]]
    one_up = np.zeros((1, 9, 9, 2)) + (0, 2 / 9)
    assert np.argwhere(elastic(image, one_up)).tolist() == [[0, 3, 7]]
    image[0, 2, 4] = 1.0
    sheared = affine(image, 0, (0, 0), 1, 45)  # along x: what is higher goes to the right
    assert sorted(np.argwhere(sheared).tolist()) == [[0, 2, 6], [0, 4, 7]]


@given(
    start=st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=4, max_size=4),
    end=st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=4, max_size=4),
)
@settings(max_examples=40, deadline=None)
def test_four_points_come_from_where_they_should(start, end):
    corners = np.array([[0, 0], [20, 0], [20, 10], [0, 10]])
    start, end = corners + 3 * np.array(start), corners + 3 * np.array(end)
    a, b, c, d, e, f, g, h = perspective_coefficients(start, end)
    x, y = end.T
    below = g * x + h * y + 1
    assert np.allclose(np.stack([(a * x + b * y + c) / below, (d * x + e * y + f) / below], 1), start, atol=1e-6)
    two = perspective_coefficients(start, np.stack([end, start]))
    assert np.allclose(two[0], [a, b, c, d, e, f, g, h]) and np.allclose(two[1], [1, 0, 0, 0, 1, 0, 0, 0], atol=1e-6)


def test_points_that_settle_nothing_do_no_harm():
    image = picture(3, 1, 1)
    corner = [[0, 0]] * 4
    assert (perspective(image, corner, corner) == image).all()
    column = [[0, 0], [0, 0], [0, 8], [0, 8]]
    assert perspective(picture(3, 9, 1), column, column, NEAREST).shape == (3, 9, 1)


def plain_value(image: np.ndarray, x: float, y: float, mode: InterpolationMode, fill: float) -> float:
    """One channel at one place, in the plainest code."""
    height, width = image.shape
    if not (0 <= x < width and 0 <= y < height):
        return fill
    if mode is NEAREST:
        return image[int(y), int(x)]
    x, y = x - 0.5, y - 0.5
    left, top = math.floor(x), math.floor(y)

    def weight(distance: float) -> float:
        t = abs(distance)
        if mode is BILINEAR:
            return max(0.0, 1 - t)
        return t**3 - 2 * t**2 + 1 if t <= 1 else -(t**3) + 5 * t**2 - 8 * t + 4 if t < 2 else 0.0

    total = 0.0
    for i in range(top - 1, top + 3):
        for j in range(left - 1, left + 3):
            pixel = image[min(max(i, 0), height - 1), min(max(j, 0), width - 1)]
            total += weight(y - i) * weight(x - j) * pixel
    return total


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(6, 9), (1, 4), (1, 1)])
def test_the_sampler_is_its_plain_twin(mode, size):
    image = picture(2, *size, dtype=np.float64)
    (height, width), fill = size, 51 / 255
    rng = np.random.default_rng(0)
    for coefficients in (rng.normal(size=8) * 0.3 + [1, 0, 0, 0, 1, 0, 0, 0] for _ in range(5)):
        coefficients[6:] *= 0.2
        a, b, c, d, e, f, g, h = coefficients
        want = np.empty_like(image)
        for n, i, j in np.ndindex(*image.shape):
            x, y = j + 0.5, i + 0.5
            below = g * x + h * y + 1
            place = (a * x + b * y + c) / below, (d * x + e * y + f) / below
            want[n, i, j] = plain_value(image[n], *place, mode, fill)
        assert np.allclose(perspective(image, None, None, mode, fill, coefficients), want, atol=1e-12)
    field = rng.normal(size=(1, *size, 2)) * 0.4
    framed = np.pad(image, [(0, 0), (1, 1), (1, 1)], constant_values=fill)
    for n, i, j in np.ndindex(*image.shape):
        x, y = j + 0.5 + field[0, i, j, 0] * width / 2, i + 0.5 + field[0, i, j, 1] * height / 2
        nearest = mode is NEAREST
        want[n, i, j] = plain_value(*((image[n], x, y) if nearest else (framed[n], x + 1, y + 1)), mode, fill)
    got = elastic(image, field, mode, fill)
    assert np.allclose(got, want, atol=1e-12)
    levels = elastic(np.rint(image * 255).astype(np.uint8), field, mode, 51)
    assert np.abs(levels - np.clip(want * 255, 0, 255)).max() < 0.5 + 1e-9  # rounded


def test_floating_point_images_are_as_those_of_8_bits():
    levels = picture(5, 3, 20, 17)
    floats = (levels / 255).astype(np.float32)
    arguments = (np.arange(5) * 33.3, np.arange(10).reshape(5, 2), np.linspace(0.5, 2, 5), np.arange(10).reshape(5, 2))
    for mode in MODES:
        a, b = affine(levels, *arguments, mode, fill=51), affine(floats, *arguments, mode, fill=0.2)
        below = np.clip(b, 0, 1) * 255 - a  # those of 8 bits are cut off
        assert below.min() > -1e-3 and below.max() < 1.001 and b.dtype == np.float32
        same = affine(levels.astype(np.float64), *arguments, mode, fill=51)
        assert (np.clip(same, 0, 255).astype(np.uint8) == a).all()


def test_fill_is_for_all_channels_or_for_each():
    image = picture(3, 4, 4)
    gone = (0, (9, 0), 1, 0)
    for mode in MODES:
        assert (affine(image, *gone, mode, fill=7) == 7).all()
        assert (affine(image, *gone, mode) == 0).all()
        assert (affine(image, *gone, mode, fill=(1, 2, 300)) == [[[1]], [[2]], [[255]]]).all()  # 8 bits hold no 300
        away = np.full((1, 4, 4, 2), 9.0)
        assert (elastic(image, away, mode, fill=[1, 2, 3]) == [[[1]], [[2]], [[3]]]).all()
        with pytest.raises(ValueError, match="fill has 2 values for images of 3 channels"):
            affine(image, *gone, mode, fill=(1, 2))
        with pytest.raises(ValueError, match="fill has 2 values for images of 3 channels"):
            affine(to_pil(image), *gone, mode, fill=(1, 2))
    assert (from_pil(rotate(to_pil(image), 45, fill=9.7))[:, 0, 0] == 9).all()


# -- Pillow ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", [1, 3])
@given(
    size=st.sampled_from(SIZES), angle=st.one_of(st.floats(-400, 400), st.sampled_from([0, 90, 180, -90])),
    translate=st.tuples(st.integers(-9, 9), st.floats(-9, 9)), scale=st.floats(0.3, 3),
    shear=st.tuples(st.floats(-40, 40), st.sampled_from([0.0, 10.0])), seed=st.integers(0, 9), fill=st.integers(0, 255),
    center=st.one_of(st.none(), st.tuples(st.integers(-9, 30), st.floats(-9, 30))), expand=st.booleans(),
    coefficients=st.lists(st.floats(-0.3, 0.3), min_size=8, max_size=8),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_arrays_come_out_as_pil_images_do(
    mode, channels, size, angle, translate, scale, shear, seed, fill, center, expand, coefficients
):
    image = picture(channels, *size, seed=seed)
    pil = to_pil(image)
    arguments = (angle, translate, scale, shear, mode, fill, center)
    assert_agree(affine(image, *arguments), affine(pil, *arguments), mode)
    straight = (0, translate, scale, 0, mode, fill, center)
    assert_agree(affine(image, *straight), affine(pil, *straight), mode)
    arguments = (angle, mode, expand, center, fill)
    assert_agree(rotate(image, *arguments), rotate(pil, *arguments), mode)
    coefficients = np.array(coefficients) * [1, 1, 9, 1, 1, 9, 1, 1] + [1, 0, 0, 0, 1, 0, 0, 0]
    arguments = (None, None, mode, fill, coefficients)
    assert_agree(perspective(image, *arguments), perspective(pil, *arguments), mode)


@pytest.mark.parametrize("scale", [3.0, 1.5, 0.75, 7.0, 1.1, 0.3])
@pytest.mark.parametrize("angle", [0, 180, 30])
def test_arrays_come_out_as_pil_images_do_where_places_fall_between_two_pixels(scale, angle):
    for image in (picture(1, 2, 301), picture(1, 301, 2)):
        for shift in (0, 0.5, 1 / 3):
            arguments = (angle, (shift, shift), scale, 0, NEAREST, 7, (0, 0))
            assert_agree(affine(image, *arguments), affine(to_pil(image), *arguments), NEAREST)
        for shift in (0.1, 0.3, 0.57):  # hundredths often meet whole grey levels, to be cut off or not
            arguments = (angle, (shift, shift), 1.0, 0, BILINEAR, 7)
            assert_agree(affine(image, *arguments), affine(to_pil(image), *arguments))


@pytest.mark.parametrize("mode", MODES)
def test_a_flat_image_stays_flat(mode):
    image = np.arange(256, dtype=np.uint8).reshape(256, 1, 1, 1) + np.zeros((1, 3, 9, 9), np.uint8)
    out = rotate(image, np.linspace(0, 360, 256), mode, center=(4, 4))
    assert (out[:, :, 3:6, 3:6] == image[:, :, 3:6, 3:6]).all()
    assert (elastic(image, np.full((1, 9, 9, 2), 0.123), mode)[:, :, 3:6, 3:6] == image[:, :, 3:6, 3:6]).all()


def test_booleans_are_not_interpolated():
    image = picture(2, 9, 9) > 127
    for mode in (BILINEAR, BICUBIC):
        assert (rotate(image, 33, mode, fill=1) == rotate(image, 33, NEAREST, fill=1)).all()
        field = np.random.default_rng(0).normal(size=(1, 9, 9, 2)) * 0.3
        assert (elastic(image, field, mode) == elastic(image, field, NEAREST)).all()


def test_nothing_is_made_of_the_fill_alone():
    out = rotate(np.zeros((3, 0, 5)), 45, BILINEAR, expand=True, fill=7)
    assert out.shape == (3, 4, 5) and (out == 7).all()
    assert affine(np.zeros((3, 0, 5)), 45, (0, 0), 1, 0).shape == (3, 0, 5)


def test_a_pil_image_is_handed_to_pillow():
    pil = to_pil(picture(3, 9, 12))
    matrix = _inverse_affine((6.0, 4.5), 20, 2, 1, 1.5, 5, 0)
    want = pil.transform(pil.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=(1, 2, 3))
    assert affine(pil, 20, (2, 1), 1.5, 5, BICUBIC, (1, 2, 3)) == want
    assert affine(pil, 20, (2, 1), 1.5, (5,), Image.Resampling.BICUBIC, [1, 2, 3]) != want  # (5,) is for x and y
    want = pil.rotate(30, Image.Resampling.BILINEAR, True, (2, 3), fillcolor=(4, 4, 4))
    assert rotate(pil, np.array([30.0]), Image.Resampling.BILINEAR, True, (2, 3), 4) == want
    for mode in ("L", "RGBA", "LA", "F", "1", "P"):
        image = pil.convert(mode)
        for interpolation in (NEAREST, BILINEAR):
            out = rotate(image, 20, interpolation, fill=1)
            assert out.mode == mode and out.size == image.size
            assert perspective(image, None, None, interpolation, 0, [1, 0, 0, 0, 1, 0, 0, 0]).mode == mode
    with pytest.raises(ValueError, match="LANCZOS"):
        rotate(pil, 20, InterpolationMode.LANCZOS)


def test_elastic_distortion_of_a_pil_image():
    image = picture(3, 9, 12)
    field = np.random.default_rng(0).normal(size=(1, 9, 12, 2)) * 0.2
    for mode in MODES:
        assert (from_pil(elastic(to_pil(image), field, mode, 5)) == elastic(image, field, mode, 5)).all()


# -- batches and devices -----------------------------------------------------------------------------------------------


def on_device(*arrays: np.ndarray) -> list[Tensor]:
    return [Tensor.wrap(elsewhere.from_numpy(a)) for a in arrays]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_batch_is_its_images_one_by_one(mode, dtype):
    n, size = 40, (32, 29)  # more than are done at once
    rng = np.random.default_rng(0)
    images = picture(n, 3, *size, dtype=dtype)
    untouched = images.copy()
    angles, shifts = rng.uniform(-180, 180, n), rng.uniform(-9, 9, (n, 2))
    scales, shears = rng.uniform(0.5, 2, n), rng.uniform(-20, 20, (n, 2))
    corners = np.array([[0, 0], [28, 0], [28, 31], [0, 31]])
    points = corners + rng.integers(-5, 6, (n, 4, 2))
    field = rng.normal(size=(n, *size, 2)).astype(np.float32) * 0.1
    cases = [
        (lambda x, k: affine(x, angles[k], shifts[k], scales[k], shears[k], mode, 3)),
        (lambda x, k: affine(x, 30, (1, 2), scales[k], 5, mode)),
        (lambda x, k: affine(x, angles[k] * 0, shifts[k], scales[k], 0, mode)),
        (lambda x, k: rotate(x, angles[k], mode, fill=(1, 2, 3))),
        (lambda x, k: rotate(x, 77, mode, expand=True)),
        (lambda x, k: perspective(x, corners, points[k], mode)),
        (lambda x, k: elastic(x, field[k], mode, 3)),
        (lambda x, k: elastic(x, field[:1], mode)),
    ]
    for case in cases:
        batch = case(images, slice(None))
        for k in range(0, n, 7):
            alone = case(images[k], slice(k, k + 1))
            assert alone.dtype == batch.dtype and (alone == batch[k]).all()
        tensor = case(Tensor(images), slice(None))
        assert isinstance(tensor, Tensor) and (tensor.array == batch).all()
        (device,) = on_device(images[:3])
        got = case(device, slice(0, 3))
        assert got.backend is elsewhere and (elsewhere.to_numpy(got.array) == batch[:3]).all()
    assert (images == untouched).all()
    sideways = np.ascontiguousarray(images.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)  # not in order in memory
    assert (cases[0](sideways, slice(None)) == cases[0](images, slice(None))).all()
    assert cases[0](images[:0], slice(0, 0)).shape == (0, 3, *size)


def test_a_displacement_may_be_a_tensor_or_lie_on_the_device():
    image, field = picture(2, 3, 5, 6), np.random.default_rng(0).normal(size=(2, 5, 6, 2)) * 0.2
    want = elastic(image, field)
    assert (elastic(image, Tensor(field)) == want).all()
    device, there = on_device(image, field)
    assert (elsewhere.to_numpy(elastic(device, there).array) == want).all()


def test_a_batch_whose_images_would_differ_in_size_is_refused():
    images = picture(3, 1, 8, 8)
    with pytest.raises(
        ValueError, match=r"rotate: with expand=True .* 2 different sizes, such as \(8, 8\) and \(12, 12\)"
    ):
        rotate(images, np.array([0.0, 45.0, 90.0]), expand=True)
    assert rotate(images, np.array([45.0, -45.0, 135.0]), expand=True).shape == (3, 1, 12, 12)
    assert rotate(images[0], 45, expand=True).shape == (1, 12, 12)


# -- the transforms ----------------------------------------------------------------------------------------------------

ALL = [
    RandomAffine(30),
    RandomAffine((10, 200), (0.2, 0.4), (0.5, 2.0), (-10, 10, 5, 20), BILINEAR, (1, 2, 3), (3, 2)),
    RandomAffine(0, scale=(0.5, 2.0), interpolation=BICUBIC),
    RandomRotation(180),
    RandomRotation((90, 90), expand=True),
    RandomRotation((-20, 70), BILINEAR, center=(1, 2), fill=9),
    RandomPerspective(),
    RandomPerspective(1.0, 1.0, NEAREST, (1, 2, 3)),
    RandomPerspective(p=0.0),
    ElasticTransform(),
    ElasticTransform((9, 20), (0.5, 1.0), BILINEAR, 77),
    ElasticTransform(5, 0, NEAREST),
]


@pytest.mark.parametrize("transform", ALL, ids=repr)
@given(indices=st.lists(st.integers(0, 50), min_size=1, max_size=5), epoch=st.integers(0, 3))
@settings(max_examples=8, deadline=None)
def test_a_batch_is_its_images_transformed_one_by_one(transform, indices, epoch):
    images = picture(51, 3, 9, 8)[indices]
    untouched = images.copy()
    with draws.fetching(0, epoch, indices):
        batch = transform(images)
    for row, image, index in zip(batch, images, indices, strict=True):
        with draws.fetching(0, epoch, [index]):
            alone = transform(image)
        with draws.fetching(0, epoch, [index]):
            params = transform.make_params(image.shape)
        assert alone.dtype == row.dtype and alone.shape == row.shape and (alone == row).all()
        assert_agree(alone, transform.transform(to_pil(image), params), getattr(transform, "interpolation", NEAREST))
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
    got = transform(*on_device(images))
    assert got.backend is elsewhere and got.dtype == want.dtype
    assert (elsewhere.to_numpy(got.array) == want).all()


@pytest.mark.parametrize(
    "transform",
    [
        RandomAffine(60, (0.2, 0.2), (0.7, 1.5), 20),
        RandomRotation(180),
        RandomPerspective(0.6, 0.8, NEAREST),
        ElasticTransform(40, 3, NEAREST),
    ],
)
def test_a_mask_goes_with_its_image(transform):
    mask = picture(6, 1, 17, 14, dtype=np.int64) % 5 + 1
    image = np.repeat(mask * 10, 3, axis=1).astype(np.float32)
    params = transform.make_params(image.shape)
    moved_image, moved_mask = transform.transform(image, params), transform.transform(mask, params)
    assert moved_mask.dtype == np.int64 and set(np.unique(moved_mask)) <= set(range(6))
    assert (moved_image == moved_mask * 10).all()
    assert (moved_mask != mask).any()
    transform((image, {"label": 3}))  # and a sample with other things passes


@pytest.mark.parametrize(
    ("transform", "numbers"),
    [
        (RandomAffine(0), 6),
        (RandomAffine(10, (0.1, 0.1), (0.5, 1.0), (1, 2, 3, 4)), 6),
        (RandomRotation(10), 1),
        (RandomPerspective(p=0.0), 9),
        (RandomPerspective(p=1.0), 9),
        (ElasticTransform(), 2 * 6 * 5),
    ],
    ids=repr,
)
def test_as_many_numbers_are_drawn_whatever_comes_out(transform, numbers, monkeypatch):
    calls = []
    real = draws.uniform
    monkeypatch.setattr(draws, "uniform", lambda rows, count: calls.append((rows, count)) or real(rows, count))
    for shape, rows in (((3, 6, 5), 1), ((7, 3, 6, 5), 7)):
        params = transform.make_params(shape)
        assert calls == [(rows, numbers)]
        assert all(isinstance(p, np.ndarray) and len(p) == rows for p in params.values())
        calls.clear()


def test_what_random_affine_draws():
    transform = RandomAffine((10, 30), (0.25, 0.5), (0.5, 2.0), (-5, 10, 20, 30))
    params = transform.make_params((4000, 1, 20, 60))
    right, down = params["translate"].T
    for values, low, high in [
        (params["angle"], 10, 30), (params["scale"], 0.5, 2.0), (params["shear"][:, 0], -5, 10),
        (params["shear"][:, 1], 20, 30), (right, -15, 15), (down, -10, 10),
    ]:  # fmt: skip
        assert low <= values.min() < low + (high - low) / 100 and high - (high - low) / 100 < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < (high - low) * 0.0183  # 4 standard deviations of the mean
    assert (params["translate"] == np.rint(params["translate"])).all()
    still = RandomAffine(0).make_params((9, 1, 5, 5))
    assert not any(still[name].any() for name in ("angle", "translate", "shear")) and (still["scale"] == 1).all()
    assert not RandomAffine(0, shear=7).make_params((9, 1, 5, 5))["shear"][:, 1].any()


def test_what_random_perspective_draws():
    transform = RandomPerspective(0.5, 0.3)
    params = transform.make_params((3000, 1, 9, 21))
    assert abs(params["chosen"].mean() - 0.3) < 0.034  # 4 standard deviations
    seen = [set() for _ in range(8)]
    for a, b, c, d, e, f, g, h in params["coefficients"][:600]:
        forth = np.linalg.inv([[a, b, c], [d, e, f], [g, h, 1]])
        for k, corner in enumerate([(0, 0), (20, 0), (20, 8), (0, 8)]):
            x, y, z = forth @ (*corner, 1)
            assert abs(x / z - round(x / z)) < 1e-6 and abs(y / z - round(y / z)) < 1e-6
            seen[2 * k].add(round(x / z))
            seen[2 * k + 1].add(round(y / z))
    left, right, top, bottom = set(range(6)), set(range(15, 21)), set(range(3)), set(range(6, 9))
    assert seen == [left, top, right, top, right, bottom, left, bottom]
    images = picture(50, 1, 9, 21)
    params = transform.make_params(images.shape)
    kept = (transform.transform(images, params) == images).all(axis=(1, 2, 3))
    assert (kept >= ~params["chosen"]).all() and not kept.all()
    assert RandomPerspective(p=0.0)(images) is images


def test_what_elastic_transform_draws():
    random.manual_seed(0)
    raw = ElasticTransform((8.0, 30.0), 0.0).make_params((20, 1, 16, 10))["displacement"]
    assert raw.shape == (20, 16, 10, 2) and raw.dtype == np.float32
    for axis, most in ((0, 8 / 10), (1, 30 / 16)):  # in halves of the width and of the height
        assert 0.98 * most < np.abs(raw[..., axis]).max() <= most and abs(raw[..., axis].mean()) < 0.05 * most
    random.manual_seed(0)
    blurred = ElasticTransform((8.0, 30.0), (2.0, 1.0)).make_params((20, 1, 16, 10))["displacement"]
    offsets = np.arange(-8, 9)
    for axis, taps in ((0, 8), (1, 4)):  # the kernels reach 8 σ / 2 to each side
        want = raw[..., axis].astype(np.float64)
        for dim, sigma in ((2, 2.0), (1, 1.0)):
            kernel = np.exp(-(offsets**2) / (2 * sigma**2)) * (np.abs(offsets) <= taps)
            widths = [(0, 0)] * 3
            widths[dim] = (8, 8)
            padded = np.pad(want, widths, mode="reflect")
            places = np.arange(want.shape[dim])
            want = sum(k * np.take(padded, 8 + o + places, dim) for k, o in zip(kernel, offsets, strict=True))
            want /= kernel.sum()
        assert np.allclose(blurred[..., axis], want, atol=1e-6)


def test_fields_larger_than_one_draw():
    with draws.fetching(0, 0, [4, 5]):
        field = uniform_field(2, MOST + 1000)
    assert field.shape == (2, MOST + 1000)
    with draws.fetching(0, 0, [5]):
        assert (uniform_field(1, MOST + 1000) == field[1:]).all()
    assert not (field[:, MOST:] == field[:, :1000]).any()
    assert np.unique(field).size > 0.999 * field.size


def test_a_small_cache_makes_no_difference(monkeypatch):
    images = picture(7, 3, 9, 8)
    want = rotate(images, np.arange(7) * 20.0, BILINEAR), elastic(images, np.full((7, 9, 8, 2), 0.1))
    monkeypatch.setattr(elsewhere, "block_bytes", 1)
    (device,) = on_device(images)
    got = rotate(device, np.arange(7) * 20.0, BILINEAR), elastic(device, np.full((7, 9, 8, 2), 0.1))
    for a, b in zip(want, got, strict=True):
        assert (elsewhere.to_numpy(b.array) == a).all()


# -- wrong arguments ---------------------------------------------------------------------------------------------------

IMAGE = np.zeros((3, 4, 5))
BATCH = np.zeros((2, 3, 4, 5))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: affine(IMAGE, "1", (0, 0), 1, 0), TypeError, "affine: angle should be a number"),
        (lambda: affine(IMAGE, [1, 2], (0, 0), 1, 0), TypeError, r"affine: angle should be .* got \[1, 2\]"),
        (lambda: affine(IMAGE, 1, 3, 1, 0), TypeError, "affine: translate should be two numbers"),
        (lambda: affine(IMAGE, 1, (1, 2, 3), 1, 0), ValueError, r"affine: translate should be two .* got \(1, 2, 3\)"),
        (lambda: affine(IMAGE, 1, (0, 0), 0, 0), ValueError, "affine: scale should be positive, got 0"),
        (lambda: affine(IMAGE, 1, (0, 0), 1, (1, 2, 3)), ValueError, "affine: shear should be two numbers"),
        (lambda: affine(IMAGE, 1, (0, 0), 1, "no"), TypeError, "affine: shear should be"),
        (lambda: affine(IMAGE, 1, (0, 0), 1, 0, "cubic"), ValueError, "affine: interpolation should be"),
        (lambda: affine(IMAGE, 1, (0, 0), 1, 0, InterpolationMode.BOX), ValueError, "NEAREST.*BICUBIC, got .*BOX"),
        (lambda: affine(IMAGE, 1, (0, 0), 1, 0, center=3), TypeError, "affine: center should be .* got 3"),
        (lambda: affine(IMAGE[0], 1, (0, 0), 1, 0), ValueError, r"affine: expected shape .* got \(4, 5\)"),
        (lambda: affine([1], 1, (0, 0), 1, 0), TypeError, "affine: expected a PIL image.* got list"),
        (lambda: affine(BATCH, np.ones(3), (0, 0), 1, 0), ValueError, r"of 3 images for 2 image\(s\)"),
        (lambda: affine(BATCH, np.ones(3), (0, 0), np.ones(2), 0), ValueError, "affine: scale has 2 rows .* has 3"),
        (lambda: affine(Image.new("L", (4, 4)), np.ones(2), (0, 0), 1, 0), ValueError, r"of 2 images for 1 image\(s\)"),
        (lambda: rotate(BATCH, np.ones(3)), ValueError, r"rotate: parameters of 3 images for 2 image\(s\)"),
        (lambda: rotate(BATCH, None), TypeError, "rotate: angle should be a number, or an array .* got None"),
        (lambda: rotate(BATCH, 3, center=(1, 2, 3)), TypeError, "rotate: center"),
        (lambda: perspective(IMAGE, None, None), ValueError, "either startpoints and endpoints, or coefficients"),
        (lambda: perspective(IMAGE, [[0, 0]] * 4, None), ValueError, "either startpoints and endpoints"),
        (lambda: perspective(IMAGE, [[0, 0]] * 4, [[0, 0]] * 4, coefficients=[0] * 8), ValueError, "either"),
        (lambda: perspective(IMAGE, [[0, 0]] * 3, [[0, 0]] * 4), ValueError, r"shape \(4, 2\) .* got \(3, 2\) and"),
        (lambda: perspective(IMAGE, None, None, coefficients=[1] * 6), ValueError, r"shape \(8,\) or .* got \(6,\)"),
        (lambda: perspective(BATCH, None, None, coefficients=np.ones((3, 8))), ValueError, "of 3 images for 2"),
        (lambda: elastic(IMAGE, 3.0), TypeError, "displacement should be an array or a Tensor, got float"),
        (lambda: elastic(IMAGE, np.ones((4, 5, 2))), ValueError, r"shape \(1 or N, 4, 5, 2\), got \(4, 5, 2\)"),
        (lambda: elastic(IMAGE, np.ones((2, 4, 5, 2))), ValueError, r"of 2 images for 1 image\(s\)"),
        (lambda: elastic(BATCH, np.ones((1, 5, 4, 2))), ValueError, r"shape \(1 or N, 4, 5, 2\), got \(1, 5, 4, 2\)"),
        (lambda: RandomAffine(-1), ValueError, "RandomAffine: degrees: if it is a single number, it must be >= 0"),
        (lambda: RandomAffine("a"), TypeError, "RandomAffine: degrees should be a sequence of 2 numbers, got 'a'"),
        (lambda: RandomAffine((1, 2, 3)), ValueError, "degrees should be a sequence of 2 numbers, got 3"),
        (lambda: RandomAffine(0, (0.1, 2)), ValueError, "translate should be two numbers between 0 and 1"),
        (lambda: RandomAffine(0, 0.1), TypeError, "RandomAffine: translate should be a sequence of 2"),
        (lambda: RandomAffine(0, scale=(0, 1)), ValueError, "RandomAffine: scale should be positive"),
        (lambda: RandomAffine(0, shear=(1, 2, 3)), ValueError, "shear should be a sequence of 2 or 4 numbers, got 3"),
        (lambda: RandomAffine(0, fill="red"), TypeError, "RandomAffine: fill should be a number, .* got 'red'"),
        (lambda: RandomAffine(0, center=1), TypeError, "RandomAffine: center should be a sequence of 2"),
        (lambda: RandomAffine(0, interpolation=InterpolationMode.BOX), ValueError, "RandomAffine: interpolation"),
        (lambda: RandomRotation(-3), ValueError, "RandomRotation: degrees: if it is a single number"),
        (lambda: RandomRotation(3, interpolation=17), ValueError, "RandomRotation: interpolation should be .* got 17"),
        (lambda: RandomPerspective(1.5), ValueError, "distortion_scale should be between 0 and 1, got 1.5"),
        (lambda: RandomPerspective(p=-0.1), ValueError, r"RandomPerspective: p should be .* got -0.1"),
        (lambda: ElasticTransform("a"), TypeError, "ElasticTransform: alpha should be a sequence of 1 or 2"),
        (lambda: ElasticTransform(sigma=-1), ValueError, "sigma should be positive, or 0 for no blur, got -1"),
        (lambda: ElasticTransform(sigma=(0, 1)), ValueError, r"sigma should be positive, or 0 .* got \(0, 1\)"),
    ],
)
def test_wrong_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_names_order_and_defaults_are_those_of_torchvision():
    def arguments(function):
        named = list(inspect.signature(function).parameters.values())
        return [(p.name, *([] if p.default is p.empty else [p.default])) for p in named if p.name != "self"]

    fills = [("interpolation", NEAREST), ("fill", None), ("center", None)]
    assert arguments(affine) == [("image",), ("angle",), ("translate",), ("scale",), ("shear",), *fills]
    assert arguments(rotate) == [
        ("image",), ("angle",), ("interpolation", NEAREST), ("expand", False), ("center", None), ("fill", None),
    ]  # fmt: skip
    assert arguments(perspective) == [
        ("image",), ("startpoints",), ("endpoints",), ("interpolation", BILINEAR), ("fill", None), ("coefficients", None),
    ]  # fmt: skip
    assert arguments(elastic) == [("image",), ("displacement",), ("interpolation", BILINEAR), ("fill", None)]
    assert arguments(RandomAffine) == [
        ("degrees",), ("translate", None), ("scale", None), ("shear", None), ("interpolation", NEAREST), ("fill", 0),
        ("center", None),
    ]  # fmt: skip
    assert arguments(RandomRotation) == [
        ("degrees",), ("interpolation", NEAREST), ("expand", False), ("center", None), ("fill", 0),
    ]  # fmt: skip
    assert arguments(RandomPerspective) == [
        ("distortion_scale", 0.5), ("p", 0.5), ("interpolation", BILINEAR), ("fill", 0),
    ]  # fmt: skip
    assert arguments(ElasticTransform) == [("alpha", 50.0), ("sigma", 5.0), ("interpolation", BILINEAR), ("fill", 0)]
