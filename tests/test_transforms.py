"""minidl.transforms against plain per-image code, and batches against single images."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minidl import random
from minidl.data import draws
from minidl.tensor import Tensor
from minidl.transforms import (
    CenterCrop,
    Compose,
    Normalize,
    Pad,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomVerticalFlip,
    ToDtype,
    Transform,
    is_batched,
)
from tests.elsewhere import elsewhere


def numbered(*shape: int, dtype: object = np.float32) -> np.ndarray:
    return np.arange(1, 1 + int(np.prod(shape))).reshape(shape).astype(dtype)


ALL = [
    RandomCrop(5),
    RandomCrop((3, 7), padding=(1, 2), fill=7),
    RandomCrop(4, padding=2, padding_mode="reflect"),
    RandomCrop((12, 5), pad_if_needed=True),
    RandomHorizontalFlip(),
    RandomVerticalFlip(p=0.3),
    CenterCrop((4, 9)),
    Pad((1, 2, 3, 0), fill=(1, 2, 3)),
    Pad(2, padding_mode="edge"),
    Normalize([1.0, 2.0, 3.0], [2.0, 4.0, 8.0]),
    ToDtype(np.float64),
    Compose([RandomHorizontalFlip(), RandomCrop(6, padding=1), RandomVerticalFlip()]),
]


@pytest.mark.parametrize("transform", ALL, ids=repr)
@given(indices=st.lists(st.integers(0, 50), min_size=1, max_size=5), epoch=st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_a_batch_is_its_images_transformed_one_by_one(transform, indices, epoch):
    images = numbered(51, 3, 8, 7)[indices]
    untouched = images.copy()
    with draws.fetching(0, epoch, indices):
        batch = transform(images)
    for row, image, index in zip(batch, images, indices, strict=True):
        with draws.fetching(0, epoch, [index]):
            alone = transform(image)
        assert alone.dtype == row.dtype and alone.shape == row.shape and (alone == row).all()
    with draws.fetching(0, epoch, indices):
        as_tensor = transform(Tensor(images))
    assert isinstance(as_tensor, Tensor) and (as_tensor.array == batch).all()
    assert (images == untouched).all()


@pytest.mark.parametrize("transform", ALL, ids=repr)
@pytest.mark.parametrize("shape", [(3, 8, 7), (4, 3, 8, 7)])
def test_a_device_array_is_transformed_as_on_the_cpu(transform, shape):
    images = numbered(*shape)
    random.manual_seed(0)
    want = transform(images)
    random.manual_seed(0)
    got = transform(Tensor.wrap(elsewhere.from_numpy(images)))
    assert got.backend is elsewhere
    assert (elsewhere.to_numpy(got.array) == want).all() and got.dtype == want.dtype


@pytest.mark.parametrize("transform", [RandomHorizontalFlip(), RandomVerticalFlip(0.3), RandomResizedCrop(9)], ids=repr)
@pytest.mark.parametrize("keyed", [True, False])
def test_the_short_cut_for_pil_images_is_none_in_what_it_does(transform, keyed):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
    for index in range(20):
        results = []
        for call in (transform, lambda x: transform.transform(x, transform.make_params((3, 30, 40)))):
            random.manual_seed(index)
            with draws.fetching(0, 1, [5, index]) if keyed else contextlib.nullcontext(), draws.only(1):
                results.append((np.asarray(call(image)).tobytes(), draws.uniform(1, 3).tolist()))
        assert results[0] == results[1]


def test_a_derived_class_has_no_short_cut_round_its_own_methods():
    class Never(RandomHorizontalFlip):
        def make_params(self, shape):
            return {"flip": np.array([False])}

    class Same(RandomResizedCrop):
        def transform(self, image, params):
            return image

    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    assert Never(1.0)(image) is image and Same(2)(image) is image
    assert RandomHorizontalFlip(1.0)(image).tobytes() != image.tobytes()


@pytest.mark.parametrize(("transform", "axis"), [(RandomHorizontalFlip, 2), (RandomVerticalFlip, 1)])
def test_flips(transform, axis):
    images = numbered(200, 3, 4, 5)
    out = transform(p=0.5)(images)
    flipped = np.array([(o == np.flip(i, axis)).all() for o, i in zip(out, images, strict=True)])
    kept = np.array([(o == i).all() for o, i in zip(out, images, strict=True)])
    assert (flipped ^ kept).all() and 50 < flipped.sum() < 150
    assert (transform(p=1)(images) == np.flip(images, axis + 1)).all()
    assert (transform(p=0)(images) == images).all()
    assert (transform(p=1)(images[0]) == np.flip(images[0], axis)).all()
    with pytest.raises(ValueError, match=r"\[0, 1\], got 1.5"):
        transform(p=1.5)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_pad_is_numpys(mode):
    images = numbered(2, 3, 5, 6, dtype=np.uint8)
    assert (Pad(2, padding_mode=mode)(images) == np.pad(images, [(0, 0), (0, 0), (2, 2), (2, 2)], mode=mode)).all()
    left, top, right, bottom = 1, 2, 3, 4
    want = np.pad(images, [(0, 0), (0, 0), (top, bottom), (left, right)], mode=mode)
    assert (Pad((left, top, right, bottom), padding_mode=mode)(images) == want).all()
    want = np.pad(images[0], [(0, 0), (1, 1), (3, 3)], mode=mode)
    assert (Pad((3, 1), padding_mode=mode)(images[0]) == want).all()


def test_fill_is_for_all_channels_or_for_each():
    image = numbered(3, 1, 1)
    assert Pad((1, 0, 0, 0), fill=9)(image).tolist() == [[[9, 1]], [[9, 2]], [[9, 3]]]
    assert Pad((1, 0, 0, 0), fill=(7, 8, 9))(image).tolist() == [[[7, 1]], [[8, 2]], [[9, 3]]]
    with pytest.raises(ValueError, match="2 values for images of 3 channels"):
        Pad(1, fill=(1, 2))(image)


def test_center_crop():
    image = numbered(1, 5, 5)
    assert (CenterCrop(3)(image) == image[:, 1:4, 1:4]).all()
    assert (CenterCrop((1, 5))(image) == image[:, 2:3]).all()
    wide = CenterCrop((3, 8))(image)  # 3 columns are missing: 1 goes to the left and 2 to the right
    assert (wide == np.pad(image[:, 1:4], [(0, 0), (0, 0), (1, 2)])).all()


def test_random_crop_takes_every_window_equally_often():
    image = numbered(1, 4, 5)
    out = RandomCrop((3, 2))(np.tile(image, (8000, 1, 1, 1)))
    places = out[:, 0, 0, 0].astype(int) - 1
    assert (out == numbered(1, 4, 5).reshape(-1)[places[:, None, None] + [[0, 1], [5, 6], [10, 11]]][:, None]).all()
    values, counts = np.unique(places, return_counts=True)
    assert values.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert ((counts - 1000) ** 2 / 1000).sum() < 29.9  # chi-squared, 7 degrees, 1 in 10,000


def test_random_crop_pads_first():
    image = numbered(1, 2, 2)
    out = RandomCrop(2, padding=1, fill=0)(np.tile(image, (500, 1, 1, 1)))
    padded = np.pad(image[0], 1)
    windows = {padded[i : i + 2, j : j + 2].tobytes() for i in range(3) for j in range(3)}
    assert {o.tobytes() for o in out} == windows


def test_random_crop_of_small_images():
    image = numbered(1, 2, 6)
    with pytest.raises(ValueError, match=r"crop size \(4, 4\) is larger than the image size \(2, 6\)"):
        RandomCrop(4)(image)
    with pytest.raises(ValueError, match=r"larger than the padded image size \(2, 10\)"):
        RandomCrop(4, padding=(2, 0))(image)
    crop = RandomCrop(4, pad_if_needed=True)
    assert crop.make_params(image.shape)["padding"] == (0, 2, 0, 2)
    assert crop(image).shape == (1, 4, 4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomCrop(0),
        lambda: RandomCrop((1, 2, 3)),
        lambda: RandomCrop(2, padding=-1),
        lambda: RandomCrop(2, padding=(1, 2, 3)),
        lambda: Pad(1, padding_mode="wrap"),
    ],
)
def test_wrong_sizes_and_paddings_are_refused(make):
    with pytest.raises(ValueError, match="should be"):
        make()


def test_parameters_can_be_applied_to_an_image_and_its_mask():
    image, mask = numbered(4, 3, 6, 6), numbered(4, 1, 6, 6)
    crop = RandomCrop(3)
    params = crop.make_params(image.shape)
    a, b = crop.transform(image, params), crop.transform(mask, params)
    tops, lefts = params["top"], params["left"]
    for n in range(4):
        window = np.s_[:, tops[n] : tops[n] + 3, lefts[n] : lefts[n] + 3]
        assert (a[n] == image[n][window]).all() and (b[n] == mask[n][window]).all()


def test_normalize():
    images = random.rand(4, 2, 3, 3).array
    mean, std = np.array([0.1, 0.2], np.float32), np.array([0.3, 0.7], np.float32)
    want = (images - mean[:, None, None]) / std[:, None, None]
    got = Normalize(mean, std)(images)
    assert got.dtype == np.float32 and (got == want).all()
    assert (Normalize([0.5], [2.0])(images) == (images - np.float32(0.5)) / np.float32(2)).all()
    with pytest.raises(TypeError, match="uint8; apply ToDtype first"):
        Normalize([0.5], [0.5])(np.zeros((1, 2, 2), np.uint8))
    with pytest.raises(ValueError, match="3 means for images of 2 channels"):
        Normalize([0.0] * 3, [1.0] * 3)(images)
    with pytest.raises(ValueError, match="zero"):
        Normalize([0.0, 0.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="mean has 1 values and std has 2"):
        Normalize([0.0], [1.0, 1.0])


def test_to_dtype_scales_between_integers_and_floats():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    floats = ToDtype(np.float32, scale=True)(pixels)
    assert (
        floats.dtype == np.float32
        and (floats == np.arange(256, dtype=np.float32).reshape(1, 16, 16) / np.float32(255)).all()
    )
    back = ToDtype(np.uint8, scale=True)(floats)
    assert back.dtype == np.uint8 and (back == pixels).all()
    assert (ToDtype(np.float32)(pixels) == pixels).all()
    assert (ToDtype(np.float64, scale=True)(floats) == floats).all()
    wide = ToDtype(np.int32, scale=True)(pixels)
    assert wide.dtype == np.int32 and (wide == pixels.astype(np.int32) * 2**23).all()
    assert (ToDtype(np.uint8, scale=True)(wide) == pixels).all()
    with pytest.raises(RuntimeError, match="from float32 to int32"):
        ToDtype(np.int32, scale=True)(floats)


def test_each_transform_of_a_pipeline_draws_its_own_numbers():
    images = numbered(400, 1, 2, 2)
    with draws.fetching(0, 0, range(400)):
        out = Compose([RandomHorizontalFlip(), RandomVerticalFlip()])(images)
    first = out[:, 0, 0, 0] - images[:, 0, 0, 0]  # 0: as it was, 1: left-right, 2: upside down, 3: both
    assert (np.bincount(first.astype(int), minlength=4) > 60).all()


def test_a_seed_fixes_what_is_drawn_outside_a_loader():
    images = numbered(10, 1, 6, 6)
    crop = RandomCrop(3)
    random.manual_seed(0)
    a = crop(images)
    assert not (crop(images) == a).all()
    random.manual_seed(0)
    assert (crop(images) == a).all()


def test_wrong_images_are_refused():
    with pytest.raises(ValueError, match=r"CenterCrop: expected shape .* got \(4, 4\)"):
        CenterCrop(2)(np.zeros((4, 4)))
    with pytest.raises(TypeError, match="got list"):
        CenterCrop(2)([[1]])


def test_compose_and_what_takes_batches():
    assert is_batched(None) and is_batched(Pad(1)) and is_batched(Compose([Pad(1), Compose([Pad(2)])]))
    assert not is_batched(np.negative) and not is_batched(Compose([Pad(1), np.negative]))
    assert Compose([Pad(1), np.negative])(numbered(1, 1, 1)).tolist() == [[[0, 0, 0], [0, -1, 0], [0, 0, 0]]]
    with pytest.raises(ValueError, match="at least one"):
        Compose([])
    for wrong in (Pad(1), [1, 2]):
        with pytest.raises(TypeError, match="sequence of callables"):
            Compose(wrong)
    assert repr(Compose([RandomHorizontalFlip()])) == "Compose(\n    RandomHorizontalFlip(p=0.5)\n)"


def test_a_transform_of_ones_own_gets_what_the_base_class_does():
    class Add(Transform):
        def make_params(self, shape):
            return {"by": (draws.uniform(shape[0] if len(shape) == 4 else 1, 1)[:, 0] * 10).astype(np.float32)}

        def apply(self, xp, array, params):
            by = xp.from_numpy(params["by"])
            return array + (by[:, None, None, None] if array.ndim == 4 else by[0])

    images = numbered(3, 1, 2, 2)
    with draws.fetching(0, 0, [4, 5, 6]):
        batch = Add()(images)
    with draws.fetching(0, 0, [5]):
        assert (Add()(images[1]) == batch[1]).all()
