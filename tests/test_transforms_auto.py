"""AutoAugment, RandAugment, TrivialAugmentWide, AugMix; and the distributions that AugMix draws from."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from minidl.data import draws
from minidl.transforms.autoaugment import OPERATIONS, AugMix, AutoAugment, RandAugment, TrivialAugmentWide
from minidl.transforms.distributions import beta, dirichlet, log_gamma_quantile
from minidl.transforms.interpolation import InterpolationMode
from minidl.transforms.policies import AutoAugmentPolicy, policy_of
from tests.colored import (
    check_device,
    check_draws,
    check_rows_alone,
    difference,
    pil_differences,
    some_pictures,
    to_array,
    to_pil,
)

ALL = [
    *(AutoAugment(policy) for policy in AutoAugmentPolicy),
    AutoAugment(fill=(1, 2, 3), interpolation=InterpolationMode.BILINEAR),
    RandAugment(),
    RandAugment(num_ops=3, magnitude=4, num_magnitude_bins=5, fill=128),
    RandAugment(num_ops=0),
    TrivialAugmentWide(),
    TrivialAugmentWide(num_magnitude_bins=1),
    AugMix(),
    AugMix(severity=10, mixture_width=1, chain_depth=2, alpha=0.4, all_ops=False),
]


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_a_batch_is_its_images_transformed_one_by_one(transform):
    check_rows_alone(transform, some_pictures(24))


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_devices_floats_and_grey_images(transform):
    images = some_pictures(12)
    check_device(transform, images)
    if np.size(transform.fill) == 1:
        check_rows_alone(transform, images[:, :1])
        floats = transform(images / np.float32(255))
        assert floats.dtype == np.float32 and floats.min() >= 0 and floats.max() <= max(1, transform.fill or 0)


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_pil_images_and_arrays_come_out_alike(transform):
    apart = pil_differences(transform, some_pictures(40))
    assert (apart > 1).mean() < 0.01  # where a level more or less falls on the other side of a threshold


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_the_number_of_draws_is_fixed_and_parameters_can_be_applied_again(transform, monkeypatch):
    images = some_pictures(6)
    check_draws(transform, images, monkeypatch)
    params = transform.make_params(images.shape)
    first = transform.transform(images, params)
    assert (transform.transform(images, params) == first).all()
    alone = {key: value[3:4] for key, value in params.items()}
    assert (transform.transform(images[3], alone) == first[3]).all()


# -- what the operations do --------------------------------------------------------------------------------------------


def affine(image, matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


BY_PILLOW = {  # the operations as the papers have them
    "ShearX": lambda i, m: affine(i, (1, m, 0, 0, 1, 0)),
    "ShearY": lambda i, m: affine(i, (1, 0, 0, m, 1, 0)),
    "TranslateX": lambda i, m: affine(i, (1, 0, -int(m), 0, 1, 0)),
    "TranslateY": lambda i, m: affine(i, (1, 0, 0, 0, 1, -int(m))),
    "Rotate": lambda i, m: i.rotate(m),
    "Brightness": lambda i, m: ImageEnhance.Brightness(i).enhance(1 + m),
    "Color": lambda i, m: ImageEnhance.Color(i).enhance(1 + m),
    "Contrast": lambda i, m: ImageEnhance.Contrast(i).enhance(1 + m),
    "Sharpness": lambda i, m: ImageEnhance.Sharpness(i).enhance(1 + m),
    "Posterize": lambda i, m: ImageOps.posterize(i, int(m)),
    "Solarize": lambda i, m: ImageOps.solarize(i, 255 * m),
    "AutoContrast": lambda i, m: ImageOps.autocontrast(i),
    "Equalize": lambda i, m: ImageOps.equalize(i),
    "Invert": lambda i, m: ImageOps.invert(i),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_is_pillows(name):
    images = some_pictures(5, h=20, w=17)
    magnitudes = {
        "Rotate": [-30.0, 2.5, 0.0, 90.0, 135.0],
        "TranslateX": [-3.9, 0.5, 7.0, 20.0, -0.9],
        "TranslateY": [-3.9, 0.5, 7.0, 20.0, -0.9],
        "Posterize": [1.0, 4.0, 7.0, 8.0, 2.0],
        "Solarize": [0.0, 0.2, 0.5, 0.9, 1.0],
    }.get(name, [-0.3, 0.7, 0.0, 0.9, -0.9])
    params = {"op": np.full((5, 1), OPERATIONS.index(name)), "magnitude": np.array(magnitudes)[:, None]}
    out = RandAugment().transform(images, params)
    for image, got, m in zip(images, out, magnitudes, strict=True):
        want = BY_PILLOW[name](to_pil(image), m)
        assert difference(got, want).max() <= 1
        one = {"op": params["op"][:1], "magnitude": np.array([[m]])}
        assert difference(RandAugment().transform(to_pil(image), one), want).max() == 0


def test_operations_come_one_after_the_other_and_none_leaves_the_image():
    images = some_pictures(4)
    invert, posterize, solarize = (OPERATIONS.index(name) for name in ("Invert", "Posterize", "Solarize"))
    op = np.array([[invert, posterize], [posterize, invert], [-1, solarize], [-1, -1]])
    out = RandAugment().transform(images, {"op": op, "magnitude": np.array([[0, 1], [1, 0], [0, 0.5], [0, 0]])})
    assert (out[0] == (255 - images[0] & 128)).all() and (out[1] == 255 - (images[1] & 128)).all()
    assert (out[2] == np.where(images[2] < 127.5, images[2], 255 - images[2])).all() and (out[3] == images[3]).all()


# -- what is drawn -----------------------------------------------------------------------------------------------------


def magnitude_of(transform, name, shape=(4000, 3, 331, 662), step=0):
    """The magnitudes that were drawn for an operation, without sign, and how many were negative."""
    params = transform.make_params(shape)
    drawn = params["magnitude"][..., step][params["op"][..., step] == OPERATIONS.index(name)]
    return np.unique(abs(drawn).round(9)).tolist(), (drawn < 0).mean()


NINTH_OF_31 = {
    "ShearX": 0.09, "ShearY": 0.09, "TranslateX": 90.0, "TranslateY": 45.0, "Rotate": 9.0, "Brightness": 0.27,
    "Color": 0.27, "Contrast": 0.27, "Sharpness": 0.27, "Posterize": 7.0, "Solarize": 0.7, "AutoContrast": 0.0,
    "Equalize": 0.0,
}  # fmt: skip


def test_rand_augment_draws_all_operations_alike_with_one_magnitude():
    transform = RandAugment(num_ops=2, magnitude=9)
    for name, want in NINTH_OF_31.items():
        values, negative = magnitude_of(transform, name)
        assert values == pytest.approx([want]), name
        assert 0.3 < negative < 0.7 if name in OPERATIONS[:9] else negative == 0
    op = transform.make_params((14000, 3, 8, 8))["op"]
    assert op.shape == (14000, 2)
    for step in (0, 1):
        counts = np.bincount(op[:, step] + 1, minlength=15)
        assert counts[OPERATIONS.index("Invert") + 1] == 0
        assert ((counts[:14] - 1000) ** 2 / 1000).sum() < 39  # chi-squared, 13 degrees, 1 in 5,000
    assert abs(np.corrcoef(op.T)[0, 1]) < 0.04
    assert magnitude_of(RandAugment(magnitude=30), "Posterize")[0] == [4]
    assert magnitude_of(RandAugment(magnitude=30), "Solarize")[0] == [0]


def test_trivial_augment_draws_from_the_wide_ranges():
    transform = TrivialAugmentWide()
    highest = dict.fromkeys(OPERATIONS[:9], 0.99) | {"TranslateX": 32.0, "TranslateY": 32.0, "Rotate": 135.0}
    for name, most in highest.items():
        values, negative = magnitude_of(transform, name, (30000, 3, 8, 8))
        assert np.allclose(values, np.linspace(0, most, 31), atol=1e-8) and 0.4 < negative < 0.6
    assert magnitude_of(transform, "Posterize", (30000, 3, 8, 8))[0] == [2, 3, 4, 5, 6, 7, 8]
    assert np.allclose(magnitude_of(transform, "Solarize", (30000, 3, 8, 8))[0], np.linspace(0, 1, 31))
    assert transform.make_params((2, 3, 8, 8))["op"].shape == (2, 1)


@pytest.mark.parametrize("policy", AutoAugmentPolicy)
def test_auto_augment_follows_a_line_of_its_policy(policy, monkeypatch):
    names, probabilities, bins = policy_of(policy)
    assert len(names) == 25 and probabilities.shape == bins.shape == (25, 2)
    transform = AutoAugment(policy)
    # Image n gets line n; numbers just below the probability, and equal to it; a negative sign for the first operation.
    for offset in (1e-9, 0.0):
        below = np.maximum(probabilities - offset, 0)
        u = np.column_stack([(np.arange(25) + 0.5) / 25, below, np.full(25, 0.4), np.full(25, 0.6)])
        monkeypatch.setattr(draws, "uniform", lambda rows, count, u=u: u)
        params = transform.make_params((25, 3, 331, 331))
        for line in range(25):
            for k in (0, 1):
                name = names[line][k]
                happens = offset > 0 and probabilities[line, k] > 0
                assert params["op"][line, k] == (OPERATIONS.index(name) if happens else -1)
                part = bins[line, k] / 9
                want = {"Posterize": round(8 - 4 * part), "Solarize": 1 - part}.get(name)
                if want is None:
                    most = {"Rotate": 30, "ShearX": 0.3, "ShearY": 0.3, "TranslateX": 150, "TranslateY": 150}
                    want = most.get(name, 0.9) * part
                    want = -want if k == 0 and name in OPERATIONS[:9] else want
                if name not in ("AutoContrast", "Equalize", "Invert"):
                    assert params["magnitude"][line, k] == pytest.approx(want)


def test_policies_have_lines_of_the_papers():
    for policy, line, want in [
        (AutoAugmentPolicy.IMAGENET, 0, [("Posterize", 0.4, 8), ("Rotate", 0.6, 9)]),
        (AutoAugmentPolicy.IMAGENET, 14, [("Color", 0.6, 4), ("Contrast", 1.0, 8)]),
        (AutoAugmentPolicy.CIFAR10, 1, [("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)]),
        (AutoAugmentPolicy.CIFAR10, 24, [("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 0)]),
        (AutoAugmentPolicy.SVHN, 0, [("ShearX", 0.9, 4), ("Invert", 0.2, 0)]),
        (AutoAugmentPolicy.SVHN, 22, [("ShearX", 0.7, 9), ("TranslateY", 0.8, 3)]),
    ]:
        names, probabilities, bins = policy_of(policy)
        assert list(zip(names[line], probabilities[line], bins[line], strict=True)) == want


# -- AugMix ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", [AugMix(), AugMix(chain_depth=2, mixture_width=4, alpha=0.5)], ids=repr)
def test_augmix_is_the_weighted_sum_of_its_chains(transform):
    images = some_pictures(20)
    params = transform.make_params(images.shape)
    out = transform.transform(images, params)
    for n, image in enumerate(images):
        kept, *weights = params["weight"][n]
        total = kept * image.astype(np.float64)
        for i, weight in enumerate(weights):
            chain = {"op": params["op"][n : n + 1, i], "magnitude": params["magnitude"][n : n + 1, i]}
            total += weight * RandAugment(interpolation=InterpolationMode.BILINEAR).transform(image, chain)
        assert difference(out[n], total).max() < 0.501
    if transform.chain_depth > 0:
        assert (params["op"] >= 0).all()


def test_augmix_draws_weights_depths_and_weak_magnitudes():
    params = AugMix(severity=3).make_params((6000, 3, 30, 60))
    assert np.allclose(params["weight"].sum(axis=1), 1) and params["weight"].min() >= 0
    kept = np.sort(params["weight"][:, 0])
    assert abs(kept - np.linspace(0, 1, 6000)).max() < 2.2 / math.sqrt(6000)  # Beta(1, 1) is uniform
    share = np.sort(params["weight"][:, 2] / (1 - params["weight"][:, 0]))  # of Dirichlet(1, 1, 1): 1 − (1 − x)²
    assert abs(1 - (1 - share) ** 2 - np.linspace(0, 1, 6000)).max() < 2.2 / math.sqrt(6000)
    depth = np.bincount((params["op"] >= 0).sum(axis=2).reshape(-1), minlength=4)
    assert depth[0] == 0 and ((depth[1:] - 6000) ** 2 / 6000).sum() < 18.5  # chi-squared, 2 degrees, 1 in 10,000
    assert (np.diff((params["op"] >= 0).astype(int), axis=2) <= 0).all()
    assert set(np.unique(params["op"])) == {-1, *range(13)}
    parts = np.arange(3) / 9
    for name, want in {
        "ShearX": 0.3 * parts, "TranslateX": 20 * parts, "TranslateY": 10 * parts, "Rotate": 30 * parts,
        "Color": 0.9 * parts, "Posterize": [3, 4], "Solarize": 1 - parts[::-1],
    }.items():  # fmt: skip
        drawn = params["magnitude"][params["op"] == OPERATIONS.index(name)]
        assert np.allclose(np.unique(abs(drawn).round(9)), want), name
    few = AugMix(all_ops=False).make_params((2000, 3, 8, 8))["op"]
    assert set(np.unique(few)) == {-1, 0, 1, 2, 3, 4, 9, 10, 11, 12}


def test_augmix_of_nothing_is_the_image():
    image = some_pictures(1)[0]
    weight = np.array([[0.3, 0.2, 0.4, 0.1]])
    params = {"op": np.full((1, 3, 2), -1), "magnitude": np.zeros((1, 3, 2)), "weight": weight}
    assert (AugMix().transform(image, params) == image).all()
    assert (to_array(AugMix().transform(to_pil(image), params)) == image).all()
    assert np.allclose(AugMix().transform(image / 255, params), image / 255)


# -- distributions -----------------------------------------------------------------------------------------------------

U = st.lists(st.floats(1e-9, 1 - 1e-9), min_size=1, max_size=5).map(np.array)
CLOSED = {  # Gamma distributions with a distribution function that can be written down
    0.5: lambda x: math.erf(math.sqrt(x)),
    1: lambda x: 1 - math.exp(-x),
    2: lambda x: 1 - math.exp(-x) * (1 + x),
    6: lambda x: 1 - math.exp(-x) * sum(x**k / math.factorial(k) for k in range(6)),
}


@pytest.mark.parametrize("alpha", CLOSED)
@given(u=U)
@settings(max_examples=40, deadline=None)
def test_gamma_quantiles_invert_the_distribution_function(alpha, u):
    assert np.allclose([CLOSED[alpha](x) for x in np.exp(log_gamma_quantile(u, alpha))], u, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 3.0])
def test_beta_and_dirichlet_numbers(alpha):
    u = np.random.default_rng(0).random((4000, 3))
    b, d = beta(u[:, :2], alpha), dirichlet(u, alpha)
    assert b.min() >= 0 and b.max() <= 1 and np.allclose(d.sum(axis=1), 1)
    assert abs(b.mean() - 0.5) < 0.025 and abs(d.mean(axis=0) - 1 / 3).max() < 0.025
    assert b.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.08)
    assert d[:, 0].var() == pytest.approx(2 / 9 / (3 * alpha + 1), rel=0.08)


def test_the_ends_of_the_uniform_numbers_are_no_trouble():
    u = np.array([[0.0, 0.0], [0.0, 1 - 2**-53], [1 - 2**-53, 1 - 2**-53]])
    for alpha in (0.001, 0.3, 1, 1.5, 50):
        assert np.isfinite(beta(u, alpha)).all()
        assert beta(u, alpha)[[0, 2]].tolist() == [0.5, 0.5] and beta(u, alpha)[1] < 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AutoAugment("imagenet"), "policy should be an AutoAugmentPolicy, got 'imagenet'"),
        (lambda: AutoAugment(interpolation="cubic"), "AutoAugment: interpolation should be"),
        (lambda: RandAugment(num_ops=-1), "num_ops should be an integer >= 0, got -1"),
        (lambda: RandAugment(magnitude=31), r"magnitude should lie in \[0, 30\], got 31"),
        (lambda: TrivialAugmentWide(0), "num_magnitude_bins should be positive, got 0"),
        (lambda: AugMix(severity=11), r"severity should lie in \[1, 10\], got 11"),
        (lambda: AugMix(mixture_width=0), "mixture_width should be at least 1"),
        (lambda: AugMix(alpha=0), "alpha should be positive, got 0"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kind", [AutoAugment, RandAugment, TrivialAugmentWide, AugMix])
def test_a_fill_is_numbers(kind):
    with pytest.raises(TypeError, match=f"{kind.__name__}: fill should be a number, .* got 'red'"):
        kind(fill="red")
    assert kind(fill=np.float32(3)).fill == 3
