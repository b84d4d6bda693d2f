"""Transforms of colours: against Pillow, against plain formulas, batches against single images."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from minidl.data import draws
from minidl.transforms.color import (
    ColorCast,
    ColorJitter,
    Grayscale,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomChannelPermutation,
    RandomEqualize,
    RandomGrayscale,
    RandomInvert,
    RandomPhotometricDistort,
    RandomPosterize,
    RandomSolarize,
)
from minidl.transforms.functional import color as F
from minidl.transforms.functional import levels as L
from minidl.transforms.groups import by_group
from tests.colored import (
    check_device,
    check_draws,
    check_rows_alone,
    difference,
    pictures,
    pil_differences,
    some_pictures,
    to_array,
    to_pil,
)
from tests.elsewhere import agrees, elsewhere

# -- the functions -----------------------------------------------------------------------------------------------------


def gamma_by_pillow(image, gamma):
    table = [min(int((255 + 1 - 1e-3) * (i / 255) ** gamma), 255) for i in range(256)]
    return image.point(table * len(image.getbands()))


def hue_by_pillow(image, factor):
    if image.mode == "L":
        return image
    hsv = np.array(image.convert("HSV"))
    hsv[..., 0] = (hsv[..., 0].astype(int) + int(factor * 255)) % 256
    return Image.fromarray(hsv, "HSV").convert("RGB")


FACTORS = st.floats(0, 3) | st.sampled_from([0.0, 0.5, 1.0, 2.0])
BY_FACTOR = {  # name: function, the same by Pillow, what factors there are, by how much arrays may differ from Pillow
    "brightness": (F.adjust_brightness, lambda i, f: ImageEnhance.Brightness(i).enhance(f), FACTORS, 1),
    "contrast": (F.adjust_contrast, lambda i, f: ImageEnhance.Contrast(i).enhance(f), FACTORS, 1),
    "saturation": (F.adjust_saturation, lambda i, f: ImageEnhance.Color(i).enhance(f), FACTORS, 1),
    "sharpness": (L.adjust_sharpness, lambda i, f: ImageEnhance.Sharpness(i).enhance(f), FACTORS, 1),
    "hue": (F.adjust_hue, hue_by_pillow, st.floats(-0.5, 0.5), 20),
    "gamma": (F.adjust_gamma, gamma_by_pillow, FACTORS, 1),
    "solarize": (L.solarize, ImageOps.solarize, st.floats(0, 255) | st.integers(0, 255), 0),
    "posterize": (L.posterize, ImageOps.posterize, st.integers(1, 8), 0),
}
WITHOUT = {
    "autocontrast": (L.autocontrast, ImageOps.autocontrast, 1),
    "equalize": (L.equalize, ImageOps.equalize, 0),
    "invert": (L.invert, ImageOps.invert, 0),
    "grey": (F.rgb_to_grayscale, lambda i: i.convert("L"), 0),
}


@pytest.mark.parametrize("name", BY_FACTOR)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_functions_of_a_factor_agree_with_pillow(name, data):
    function, by_pillow, factors, bound = BY_FACTOR[name]
    image, factor = data.draw(pictures()), data.draw(factors)
    want = by_pillow(to_pil(image), factor)
    assert difference(function(to_pil(image), factor), want).max() == 0
    got = function(image, factor)
    assert got.dtype == np.uint8 and difference(got, want).max() <= bound


@pytest.mark.parametrize("name", WITHOUT)
@given(image=pictures())
@settings(max_examples=40, deadline=None)
def test_functions_without_a_factor_agree_with_pillow(name, image):
    function, by_pillow, bound = WITHOUT[name]
    want = by_pillow(to_pil(image))
    assert difference(function(to_pil(image)), want).max() == 0
    got = function(image)
    assert got.dtype == np.uint8 and difference(got, want).max() <= bound


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "sharpness", "gamma"])
def test_most_pixels_are_pillows_exactly(name):
    function, by_pillow, _, _ = BY_FACTOR[name]
    images, factors = some_pictures(30), np.random.default_rng(0).uniform(0, 2, 30)
    want = np.stack([to_array(by_pillow(to_pil(image), f)) for image, f in zip(images, factors, strict=True)])
    assert (function(images, factors) != want).mean() < 0.002


def test_hue_of_arrays_is_near_pillows_over_all_colours():
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps)).reshape(3, 18, -1)
    worst = [difference(F.adjust_hue(to_pil(cube), f), F.adjust_hue(cube, f)) for f in np.linspace(-0.5, 0.5, 31)]
    assert np.max(worst) <= 20 and np.mean(worst) < 1.3 and max(d.mean() for d in worst) < 2.5


@given(image=pictures(channels=(3,)), factor=st.floats(-0.5, 0.5))
@settings(max_examples=30, deadline=None)
def test_hue_is_turned_as_colorsys_turns_it(image, factor):
    x = image / 255.0
    want = np.empty_like(x)
    for at in np.ndindex(x.shape[1:]):
        h, s, v = colorsys.rgb_to_hsv(*x[:, *at])
        want[:, *at] = colorsys.hsv_to_rgb((h + factor) % 1.0, s, v)
    assert abs(F.adjust_hue(x, factor) - want).max() < 1e-9
    assert difference(F.adjust_hue(image, factor), want * 255).max() <= 0.51  # rounded
    assert abs(F.adjust_hue(x.astype(np.float32), factor) - want).max() < 1e-5


@given(image=pictures(smallest=3), factor=st.floats(0, 3))
@settings(max_examples=30, deadline=None)
def test_floats_are_blended_by_the_plain_formulas(image, factor):
    x = image / 255.0
    grey = np.tensordot([0.299, 0.587, 0.114], x, 1)[None] if len(x) == 3 else x
    middle = x[:, 1:-1, 1:-1]
    blurred = x.copy()
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    blurred[:, 1:-1, 1:-1] = (windows.sum(axis=(-2, -1)) + 4 * middle) / 13
    others = {
        F.adjust_brightness: 0 * x,
        F.adjust_contrast: np.full_like(x, grey.mean()),
        F.adjust_saturation: grey,
        L.adjust_sharpness: blurred,
    }
    for function, other in others.items():
        want = np.clip(factor * x + (1 - factor) * other, 0, 1)
        assert abs(function(x, factor) - want).max() < 1e-12
        single = function(x.astype(np.float32), factor)
        assert single.dtype == np.float32 and abs(single - want).max() < 1e-5
    assert abs(F.rgb_to_grayscale(x) - grey).max() < 1e-12


@given(image=pictures(), bits=st.integers(0, 8), threshold=st.floats(0, 1), gamma=st.floats(0, 3), gain=st.floats(0, 2))
@settings(max_examples=30, deadline=None)
def test_floats_have_levels_and_histograms_too(image, bits, threshold, gamma, gain):
    x = image / 255.0
    assert (L.invert(x) == 1 - x).all()
    assert (L.solarize(x, threshold) == np.where(x < threshold, x, 1 - x)).all()
    assert (L.posterize(x, bits) == np.minimum(np.floor(x * 2**bits), 2**bits - 1) / 2**bits).all()
    assert abs(F.adjust_gamma(x, gamma, gain) - np.minimum(gain * x**gamma, 1)).max() < 1e-12
    assert abs(255 * L.equalize(x) - L.equalize(image)).max() < 1e-9
    stretched = L.autocontrast(x)
    for channel, out in zip(x, stretched, strict=True):
        low, high = channel.min(), channel.max()
        assert abs(out - ((channel - low) / (high - low) if high > low else channel)).max() < 1e-12


@given(image=pictures(), dtype=st.sampled_from(["uint8", "float32", "float64"]))
@settings(max_examples=20, deadline=None)
def test_factor_1_changes_nothing(image, dtype):
    x = image if dtype == "uint8" else (image / 255).astype(dtype)
    same = F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, L.adjust_sharpness, F.adjust_gamma
    for function in same:
        assert (function(x, 1.0) == x).all() and difference(function(to_pil(image), 1.0), image).max() == 0
    hue = F.adjust_hue(x, 0.0)
    assert (hue == x).all() if dtype == "uint8" else abs(hue - x).max() < 1e-6
    assert (L.invert(L.invert(image)) == image).all() and (L.posterize(image, 8) == image).all()


def per_image(n):
    """Every function with parameters for n images."""
    rng = np.random.default_rng(0)
    yield from ((f, (rng.uniform(0, 2.5, n),)) for f in (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation))
    yield F.adjust_hue, (rng.uniform(-0.5, 0.5, n),)
    yield F.adjust_gamma, (rng.uniform(0.2, 2, n), rng.uniform(0.5, 2, n))
    yield L.adjust_sharpness, (rng.uniform(0, 3, n),)
    yield L.posterize, (rng.integers(0, 9, n),)
    yield L.solarize, (rng.uniform(0, 1, n),)
    yield F.cast_color, (rng.uniform(-0.3, 0.3, (n, 3)), rng.uniform(-0.3, 0.3, (n, 3)))
    yield F.permute_channels, (np.argsort(rng.random((n, 3)), axis=1),)
    yield from ((f, ()) for f in (L.autocontrast, L.equalize, L.invert, F.rgb_to_grayscale))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(("function", "parameters"), [*per_image(5)], ids=lambda x: getattr(x, "__name__", ""))
def test_each_image_of_a_batch_has_its_own_parameters(function, parameters, dtype):
    images = some_pictures(5)
    if dtype == "float32":
        images = images / np.float32(255)
    elif function is L.solarize:
        parameters = (parameters[0] * 255,)
    batch = function(images, *parameters)
    on_device = function(elsewhere.from_numpy(images), *parameters)
    assert batch.dtype == images.dtype and agrees(on_device, batch)
    for n, image in enumerate(images):
        one = [p[n : n + 1] for p in parameters]
        assert (function(image, *one) == batch[n]).all()
        plain = [p[n].item() if p.ndim == 1 else p[n] for p in parameters]
        assert (function(image, *plain) == batch[n]).all()
        if dtype == "uint8" and function is not F.adjust_hue:
            assert difference(function(to_pil(image), *one), batch[n]).max() <= 1


def test_grey_in_three_channels_and_grey_images():
    image = some_pictures(1)[0]
    assert (F.rgb_to_grayscale(image, 3) == F.rgb_to_grayscale(image)).all()
    assert F.rgb_to_grayscale(image, 3).shape == image.shape
    assert F.rgb_to_grayscale(to_pil(image), 3).mode == "RGB" and F.rgb_to_grayscale(to_pil(image)).mode == "L"
    grey = image[:1]
    assert (F.rgb_to_grayscale(grey) == grey).all() and F.rgb_to_grayscale(grey, 3).shape == image.shape
    assert (F.adjust_hue(grey, 0.3) == grey).all() and (F.adjust_saturation(grey, 0.3) == grey).all()
    assert F.to_grayscale is F.rgb_to_grayscale


def test_images_with_transparency_keep_it():
    colors, alpha = some_pictures(1)[0], some_pictures(1, c=1, seed=1)[0]
    image = to_pil(np.concatenate([colors, alpha]))
    cast = np.array([0.1, 0.2, -0.1, 0.5])
    for out in (F.adjust_brightness(image, 0.5), F.adjust_contrast(image, 2), F.adjust_saturation(image, 0)):
        assert out.mode == "RGBA" and (to_array(out)[3:] == alpha).all()
    out = to_array(F.cast_color(image, cast, cast))
    assert (out[3:] == alpha).all() and (out[:3] == F.cast_color(colors, cast[:3], cast[:3])).all()


def test_permuted_channels():
    image = some_pictures(1)[0]
    assert (F.permute_channels(image, [2, 0, 1]) == image[[2, 0, 1]]).all()
    assert difference(F.permute_channels(to_pil(image), [2, 0, 1]), image[[2, 0, 1]]).max() == 0
    with pytest.raises(ValueError, match="a permutation of 2 for images of 3 channels"):
        F.permute_channels(image, [0, 1])


@given(image=pictures(), data=st.data())
@settings(max_examples=20, deadline=None)
def test_colour_casts(image, data):
    numbers = st.lists(st.floats(-1, 1), min_size=len(image), max_size=len(image)).map(np.array)
    shift, scale = data.draw(numbers), data.draw(numbers)
    want = np.clip(image / 255 * (1 + scale)[:, None, None] + shift[:, None, None], 0, 1)
    got = F.cast_color(image, shift, scale)
    assert difference(got, want * 255).max() <= 0.501 and (F.cast_color(image / 255, shift, scale) == want).all()
    assert difference(F.cast_color(to_pil(image), shift, scale), got).max() == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: F.adjust_brightness(x, -0.1), ValueError, "brightness_factor should be >= 0, got -0.1"),
        (lambda x: F.adjust_contrast(x, np.array([1.0, -2])), ValueError, "contrast_factor should be >= 0, got -2"),
        (lambda x: F.adjust_saturation(to_pil(x), -1), ValueError, "saturation_factor should be >= 0"),
        (lambda x: L.adjust_sharpness(x, -1), ValueError, "sharpness_factor should be >= 0"),
        (lambda x: F.adjust_gamma(x, -1), ValueError, "gamma should be >= 0"),
        (lambda x: F.adjust_hue(x, 0.6), ValueError, r"hue_factor should lie in \[-0.5, 0.5\], got 0.6"),
        (lambda x: F.adjust_hue(x, np.array([0.1, -0.7])), ValueError, "got -0.7"),
        (lambda x: F.rgb_to_grayscale(x, 2), ValueError, "should be 1 or 3, got 2"),
        (lambda x: F.adjust_brightness(x[:2], 1), TypeError, "of 1 or 3 channels, got 2"),
        (lambda x: L.autocontrast(x[:2]), TypeError, "of 1 or 3 channels, got 2"),
        (lambda x: F.adjust_hue(x.astype(np.int32), 0), TypeError, "uint8 or floating point, got int32"),
        (lambda x: L.invert(x.astype(bool)), TypeError, "got bool"),
        (lambda x: L.posterize(x, 9), TypeError, r"in \[0, 8\], got 9"),
        (lambda x: L.posterize(x, 2.5), TypeError, "got 2.5"),
        (lambda x: L.solarize(x, 256), TypeError, "at most 255 for images of uint8, got 256"),
        (lambda x: L.solarize(x / 255, 2), TypeError, "at most 1.0 for images of float64"),
        (lambda x: F.cast_color(x, np.zeros(2), np.zeros(3)), ValueError, "shift should have one number for each of 3"),
        (lambda x: F.adjust_brightness([[1]], 1), TypeError, "got list"),
        (lambda x: F.adjust_brightness(x[0], 1), ValueError, r"\(C, H, W\)"),
    ],
)
def test_wrong_arguments_of_functions(call, error, message):
    with pytest.raises(error, match=message):
        call(some_pictures(1)[0])


# -- the transforms ----------------------------------------------------------------------------------------------------

RANDOM = [
    RandomGrayscale(0.5),
    RandomInvert(),
    RandomPosterize(3),
    RandomSolarize(0.4),
    RandomAdjustSharpness(2.5),
    RandomAutocontrast(),
    RandomEqualize(),
    ColorJitter(0.5, 0.5, 0.5, 0.5),
    ColorJitter(contrast=(0, 2)),
    RandomPhotometricDistort(),
    RandomChannelPermutation(),
    ColorCast(),
    ColorCast(shift=(0, 0.5), scale=0.5, p=0.4),
]


@pytest.mark.parametrize("transform", [Grayscale(3), *RANDOM], ids=repr)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_batch_is_its_images_transformed_one_by_one(transform, dtype):
    images = some_pictures(9)
    images = images if dtype == "uint8" else images / np.float32(255)
    check_rows_alone(transform, images)
    check_device(transform, images)


@pytest.mark.parametrize("transform", RANDOM, ids=repr)
def test_the_number_of_draws_is_fixed(transform, monkeypatch):
    check_draws(transform, some_pictures(4), monkeypatch)


@pytest.mark.parametrize("transform", RANDOM, ids=repr)
def test_pil_images_and_arrays_come_out_alike(transform):
    if isinstance(transform, RandomSolarize):
        transform = RandomSolarize(100)
    apart = pil_differences(transform, some_pictures(20))
    if getattr(transform, "hue", None) is None:
        assert apart.max() <= 4  # a level, and what the adjustments after it make of it
    else:
        assert apart.max() <= 45 and apart.mean() < 2  # 20 levels of hue, and likewise
    assert pil_differences(transform, some_pictures(6, c=1)).max() <= 4


@pytest.mark.parametrize("transform", [RandomInvert(0.3), RandomGrayscale(), RandomEqualize(0.9)], ids=repr)
def test_each_image_is_changed_with_probability_p(transform, monkeypatch):
    images = some_pictures(600, h=16, w=20)
    changed = (transform(images) != images).any(axis=(1, 2, 3)).sum()
    assert abs(changed - 600 * transform.p) < 4.5 * math.sqrt(600 * transform.p * (1 - transform.p))
    always, never = type(transform)(p=1), type(transform)(p=0)
    assert (always(images) == always.change(images)).all() and never(images) is images
    with pytest.raises(ValueError, match=r"p should be a number in \[0, 1\], got -0.1"):
        type(transform)(-0.1)
    monkeypatch.setattr(draws, "uniform", lambda rows, count: np.zeros((rows, count)))
    assert not never.make_params(images.shape)["apply"].any()


def test_what_is_applied_with_probability_1():
    x = some_pictures(3)
    for transform, want in [
        (RandomInvert(1), L.invert(x)),
        (RandomPosterize(3, 1), L.posterize(x, 3)),
        (RandomSolarize(77, 1), L.solarize(x, 77)),
        (RandomAdjustSharpness(0.3, 1), L.adjust_sharpness(x, 0.3)),
        (RandomAutocontrast(1), L.autocontrast(x)),
        (RandomEqualize(1), L.equalize(x)),
        (RandomGrayscale(1), F.rgb_to_grayscale(x, 3)),
        (Grayscale(), F.rgb_to_grayscale(x)),
    ]:
        assert (transform(x) == want).all()
    assert Grayscale()(x).shape == (3, 1, 13, 11)


def test_color_jitter_makes_the_drawn_adjustments_in_the_drawn_order():
    images = some_pictures(40)
    jitter = ColorJitter(brightness=0.5, contrast=(0.2, 2), saturation=0.9, hue=0.4)
    params = jitter.make_params(images.shape)
    out = jitter.transform(images, params)
    functions = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]
    names = ["brightness_factor", "contrast_factor", "saturation_factor", "hue_factor"]
    for n, image in enumerate(images):
        for i in params["fn_idx"][n]:
            image = functions[i](image, params[names[i]][n].item())
        assert (out[n] == image).all()


def test_color_jitter_draws_from_its_ranges_and_all_orders_alike():
    jitter = ColorJitter(brightness=0.5, contrast=2, saturation=(0.2, 0.4), hue=(-0.1, 0.3))
    params = jitter.make_params((12000, 3, 8, 8))
    for name, low, high in [
        ("brightness_factor", 0.5, 1.5),
        ("contrast_factor", 0, 3),
        ("saturation_factor", 0.2, 0.4),
        ("hue_factor", -0.1, 0.3),
    ]:
        u = np.sort((params[name] - low) / (high - low))
        assert u[0] >= 0 and u[-1] <= 1
        assert abs(u - np.linspace(0, 1, 12000)).max() < 2.2 / math.sqrt(12000)  # Kolmogorov–Smirnov, 1 in 8,000
    factors = [params[name] for name in params if name != "fn_idx"]
    assert abs(np.corrcoef([*factors, *params["fn_idx"].T])[:4] - np.eye(4, 8)).max() < 0.05
    orders, counts = np.unique(params["fn_idx"], axis=0, return_counts=True)
    assert len(orders) == 24 and ((counts - 500) ** 2 / 500).sum() < 57  # chi-squared, 23 degrees, 1 in 10,000


def test_color_jitter_leaves_out_what_is_not_asked_for():
    images = some_pictures(5)
    params = ColorJitter(saturation=0.5, brightness=0).make_params(images.shape)
    assert params["brightness_factor"] is None and params["hue_factor"] is None
    want = F.adjust_saturation(images, params["saturation_factor"])
    assert (ColorJitter(saturation=0.5).transform(images, params) == want).all()
    assert (ColorJitter()(images) == images).all()


def test_photometric_distortion_is_that_of_ssd():
    images = some_pictures(60)
    distort = RandomPhotometricDistort(hue=(-0.2, 0.2))
    params = distort.make_params(images.shape)
    assert params["apply"].any(axis=0).all() and not params["apply"].all(axis=0).any()
    out = distort.transform(images, params)
    for n, image in enumerate(images):
        b, c, s, h, p = params["apply"][n]
        first = params["contrast_before"][n]
        if b:
            image = F.adjust_brightness(image, params["brightness_factor"][n].item())
        if c and first:
            image = F.adjust_contrast(image, params["contrast_factor"][n].item())
        if s:
            image = F.adjust_saturation(image, params["saturation_factor"][n].item())
        if h:
            image = F.adjust_hue(image, params["hue_factor"][n].item())
        if c and not first:
            image = F.adjust_contrast(image, params["contrast_factor"][n].item())
        if p:
            image = image[params["channel_permutation"][n]]
        assert (out[n] == image).all()


def test_colour_casts_of_a_batch():
    images = some_pictures(200) / np.float32(255)
    cast = ColorCast(shift=(0.05, 0.1), scale=0.3, p=0.7)
    params = cast.make_params(images.shape)
    assert params["shift"].shape == params["scale"].shape == (200, 3) and 110 < params["apply"].sum() < 170
    assert params["shift"].min() >= 0.05 and params["shift"].max() <= 0.1 and abs(params["scale"]).max() <= 0.3
    assert params["scale"].min() < -0.25 and params["scale"].max() > 0.25
    out = cast.transform(images, params)
    want = np.clip(images * (1 + params["scale"])[..., None, None] + params["shift"][..., None, None], 0, 1)
    want = np.where(params["apply"][:, None, None, None], want, images)
    assert abs(out - want).max() < 1e-6


def test_parameters_can_be_applied_again():
    images = some_pictures(6)
    for transform in RANDOM:
        params = transform.make_params(images.shape)
        first = transform.transform(images, params)
        assert (first == transform.transform(images, params)).all()
        assert (
            first[2] == transform.transform(images[2], {k: v if v is None else v[2:3] for k, v in params.items()})
        ).all()


def test_samples_with_labels():
    image = some_pictures(1)[0]
    out, label = RandomInvert(1)((image, 3))
    assert (out == 255 - image).all() and label == 3
    with draws.fetching(0, 0, [5]):
        pil, label = ColorJitter(0.5)(to_pil(image), "cat")
    assert isinstance(pil, Image.Image) and label == "cat"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ColorJitter(brightness=-1), ValueError, "brightness should be >= 0 .* got -1"),
        (lambda: ColorJitter(contrast=(2, 1)), ValueError, "contrast should be a range"),
        (lambda: ColorJitter(saturation=(-0.5, 1)), ValueError, r"within \(0.0, inf\)"),
        (lambda: ColorJitter(hue=0.6), ValueError, r"hue should be a range within \(-0.5, 0.5\)"),
        (lambda: ColorJitter(hue="red"), TypeError, "'red'"),
        (lambda: ColorJitter(brightness=(1, 2, 3)), TypeError, "a number or two"),
        (lambda: ColorCast(shift=1.5), ValueError, "shift should be a range"),
        (lambda: ColorCast(scale=(0.2, 0.1)), ValueError, "scale should be a range"),
        (lambda: ColorCast(p=2), ValueError, r"p should be a number in \[0, 1\]"),
        (lambda: RandomPhotometricDistort(p=-1), ValueError, r"p should be a number in \[0, 1\]"),
        (lambda: RandomPhotometricDistort(hue=(0, 1)), ValueError, "hue should be a range"),
        (lambda: Grayscale(2)(some_pictures(1)), ValueError, "1 or 3, got 2"),
    ],
)
def test_wrong_arguments_of_transforms(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_groups():
    images = some_pictures(7)
    seen = []

    def function(key, group, rows):
        seen.append((key, rows.tolist()))
        return group // (key + 2)

    out = by_group(images, np.array([1, -1, 0, 1, 1, -1, 0]), function)
    assert seen == [(0, [2, 6]), (1, [0, 3, 4])]
    assert (out[[1, 5]] == images[[1, 5]]).all() and (out[[2, 6]] == images[[2, 6]] // 2).all()
    assert (out[[0, 3, 4]] == images[[0, 3, 4]] // 3).all()
    assert by_group(images, np.full(7, -1), function) is images
    assert by_group(images[:0], np.zeros(0, int), function).shape == (0, 3, 13, 11)
