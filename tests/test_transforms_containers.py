"""RandomApply, RandomChoice, RandomOrder, Lambda, Identity and Compose: each image of a batch gets what it would get alone."""

from __future__ import annotations

import pickle
from collections import Counter, namedtuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minidl import random
from minidl.data import DataLoader, draws
from minidl.datasets import FashionMini
from minidl.tensor import Tensor
from minidl.transforms import (
    CenterCrop,
    Compose,
    CutMix,
    FiveCrop,
    Identity,
    Lambda,
    MixUp,
    Normalize,
    Pad,
    RandomApply,
    RandomChoice,
    RandomCrop,
    RandomHorizontalFlip,
    RandomOrder,
    RandomResizedCrop,
    RandomVerticalFlip,
    Resize,
    ToDtype,
    is_batched,
)
from tests.elsewhere import elsewhere


def numbered(*shape: int, dtype: object = np.float32) -> np.ndarray:
    return np.arange(1, 1 + int(np.prod(shape))).reshape(shape).astype(dtype)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())


def doubled(image):
    return image * 2


def raised(image):
    return image + 1


doubled.batched = raised.batched = True
DOUBLE, RAISE = (
    Lambda(change, np.ndarray, Tensor) for change in (doubled, raised)
)  # leave the number of a class alone

ALL = [
    RandomApply([RandomCrop((6, 5), padding=1), RandomHorizontalFlip()], p=0.4),
    RandomApply([Resize((6, 5))], p=1.0),
    RandomApply([RandomResizedCrop(4)], p=0.0),
    RandomChoice([RandomHorizontalFlip(), RandomCrop((6, 5), padding=2), Identity()]),
    RandomChoice([CenterCrop(3), RandomCrop(3), RandomResizedCrop(3)], p=[1, 5, 2]),
    RandomOrder([RandomHorizontalFlip(), RandomCrop((6, 5), padding=1), RandomVerticalFlip()]),
    RandomOrder([RandomCrop(5, padding=1), RandomResizedCrop(5), DOUBLE, RAISE]),
    RandomApply([RandomChoice([RandomOrder([DOUBLE, RAISE]), RandomHorizontalFlip()]), RandomCrop((6, 5), padding=1)]),
    Compose([RandomApply([RandomCrop((6, 5), padding=1)]), RandomHorizontalFlip(), RandomChoice([DOUBLE, RAISE])]),
]
IDS = [f"{i}-{type(t).__name__}" for i, t in enumerate(ALL)]


@pytest.mark.parametrize("transform", ALL, ids=IDS)
@given(indices=st.lists(st.integers(0, 50), min_size=1, max_size=7), epoch=st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_a_batch_is_its_images_transformed_one_by_one(transform, indices, epoch):
    images = numbered(51, 3, 6, 5)[indices]
    untouched = images.copy()
    with draws.fetching(0, epoch, indices):
        batch = transform(images)
        after = draws.uniform(len(indices), 1)
    for row, image, index, number in zip(batch, images, indices, after, strict=True):
        with draws.fetching(0, epoch, [index]):
            assert same(transform(image), row)
            assert draws.uniform(1, 1)[0] == number  # what comes after in a pipeline agrees too
    with draws.fetching(0, epoch, indices):
        as_tensor = transform(Tensor(images))
    assert isinstance(as_tensor, Tensor) and same(as_tensor.array, batch)
    assert same(images, untouched)


@pytest.mark.parametrize("transform", ALL[:6], ids=IDS[:6])
def test_pil_images_get_what_arrays_get(transform):
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 6, 5)).astype(np.uint8)
    with draws.fetching(0, 0, range(8)):
        batch = transform(images)
    for i, image in enumerate(images):
        with draws.fetching(0, 0, [i]):
            pil = transform(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))))
        assert same(np.asarray(pil).transpose(2, 0, 1), batch[i])


@pytest.mark.parametrize("transform", ALL, ids=IDS)
@pytest.mark.parametrize("shape", [(3, 6, 5), (9, 3, 6, 5)])
def test_a_device_array_is_transformed_as_on_the_cpu(transform, shape):
    images = numbered(*shape, dtype=np.uint8)
    random.manual_seed(0)
    want = transform(images)
    random.manual_seed(0)
    got = transform(Tensor.wrap(elsewhere.from_numpy(images)))
    assert got.backend is elsewhere and same(elsewhere.to_numpy(got.array), want)


@pytest.mark.parametrize("transform", ALL[:8], ids=IDS[:8])
def test_parameters_can_be_replayed(transform):
    images = np.tile(numbered(9, 1, 6, 5), (1, 2, 1, 1))
    params = transform.make_params(images.shape)
    image, mask = transform.transform(images, params), transform.transform(images[:, :1], params)
    assert same(image[:, 1:], mask)
    assert same(transform.transform(images, params), image)
    first = {name: value[:1] for name, value in params.items()}
    assert same(transform.transform(images[0], first), image[0])
    assert same(transform.transform(images, first)[0], image[0])  # one decision for all
    a, b = transform((images[0], 7)), transform({"image": Tensor(images[0]), "label": 7})
    assert a[1] == 7 and b["label"] == 7 and isinstance(b["image"], Tensor)


@pytest.mark.parametrize("transform", ALL, ids=IDS)
def test_containers_can_be_sent_to_worker_processes(transform):
    images = numbered(9, 3, 6, 5)
    random.manual_seed(0)
    want = transform(images)
    random.manual_seed(0)
    assert same(pickle.loads(pickle.dumps(transform))(images), want)


def test_parameters_for_another_number_of_images_are_refused():
    apply = RandomApply([RandomHorizontalFlip()])
    with pytest.raises(ValueError, match="parameters for 3 images, but 2 images"):
        apply.transform(numbered(2, 1, 2, 2), apply.make_params((3, 1, 2, 2)))


def test_random_apply_applies_all_or_nothing():
    images = np.ones((4000, 1, 1, 1))
    out = RandomApply([DOUBLE, DOUBLE, RAISE], p=0.3)(images).ravel()
    assert set(out) == {1.0, 5.0} and abs((out == 5).mean() - 0.3) < 0.03
    assert (RandomApply([DOUBLE], p=1)(images) == 2).all()
    assert RandomApply([DOUBLE], p=0)(images) is images


def test_random_choice_chooses_by_probability():
    images = np.ones((4000, 1, 1, 1))
    counts = Counter(RandomChoice([DOUBLE, Identity(), Lambda(lambda x: x * 9)], p=[1, 3, 0])(images).ravel().tolist())
    assert set(counts) == {1.0, 2.0} and abs(counts[1.0] / 4000 - 0.75) < 0.03
    counts = Counter(RandomChoice([DOUBLE, Identity()])(images).ravel().tolist())
    assert abs(counts[1.0] / 4000 - 0.5) < 0.03
    choice = RandomChoice([Identity()] * 11)  # eleven elevenths do not add up to 1
    with draws.fetching(0, 0, range(3000)):
        assert np.unique(choice.make_params((3000, 1, 1, 1))["choice"]).tolist() == list(range(11))


def test_random_order_takes_every_order_equally_often():
    images = np.ones((6000, 1, 1, 1))
    steps = [Lambda(lambda x, k=k: x * 10 + k) for k in (1, 2, 3)]
    counts = Counter(RandomOrder(steps)(images).ravel().tolist())
    assert set(counts) == {1123, 1132, 1213, 1231, 1312, 1321}
    assert sum((n - 1000) ** 2 / 1000 for n in counts.values()) < 30


def test_the_same_transform_twice_draws_twice():
    flip = RandomHorizontalFlip()
    images = np.tile(numbered(1, 1, 1, 2), (400, 1, 1, 1))
    out = RandomApply([flip, flip], p=1)(images)[:, 0, 0, 0]
    assert 100 < (out == 2).sum() < 300
    # and what one container draws within says nothing about what another one does
    pair = Compose([RandomApply([RandomHorizontalFlip()], p=1), RandomApply([RandomVerticalFlip()], p=1)])
    with draws.fetching(0, 0, range(400)):
        corners = pair(np.tile(numbered(1, 1, 2, 2), (400, 1, 1, 1)))[:, 0, 0, 0]
    assert all(50 < (corners == k).sum() < 150 for k in (1, 2, 3, 4))


def test_images_that_do_not_stack_are_refused():
    images = numbered(50, 1, 6, 6)
    with pytest.raises(ValueError, match=r"some became shape \(1, 3, 3\) of float32 and shape \(1, 6, 6\) of float32"):
        RandomApply([CenterCrop(3)])(images)
    with pytest.raises(ValueError, match=r"must keep one shape and dtype.*float32.*float64"):
        RandomChoice([ToDtype(np.float64), Identity()])(images)
    with pytest.raises(TypeError, match="RandomApply: a transform made tuple of a batch of"):
        RandomApply([FiveCrop(3)])(images)
    assert {RandomApply([CenterCrop(3)])(images[0]).shape for _ in range(50)} == {(1, 3, 3), (1, 6, 6)}
    assert RandomApply([CenterCrop(3)])(images[:0]).shape == (0, 1, 6, 6)


@pytest.mark.parametrize("container", [Compose, RandomApply, RandomChoice, RandomOrder])
def test_wrong_transforms_are_refused(container):
    for wrong in (Pad(1), [1, 2], "ab"):
        with pytest.raises(TypeError, match=f"{container.__name__}: expected a sequence of callables"):
            container(wrong)
    with pytest.raises(ValueError, match=f"{container.__name__}: pass at least one"):
        container([])
    assert is_batched(container([Pad(1)])) and not is_batched(container([Pad(1), np.negative]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomApply([Pad(1)], p=1.5), r"\[0, 1\], got 1.5"),
        (lambda: RandomChoice([Pad(1)], p=[0.5, 0.5]), "2 probabilities for 1 transforms"),
        (lambda: RandomChoice([Pad(1), Pad(2)], p=[-1, 2]), ">= 0 and not all"),
        (lambda: RandomChoice([Pad(1), Pad(2)], p=[0, 0]), ">= 0 and not all"),
        (lambda: RandomChoice([Pad(1), Pad(2)], p=[1, float("nan")]), ">= 0 and not all"),
    ],
)
def test_wrong_probabilities_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_containers_are_printed_with_their_parts():
    assert repr(RandomApply([RandomHorizontalFlip()], p=0.3)) == (
        "RandomApply(\n    p=0.3\n    RandomHorizontalFlip(p=0.5)\n)"
    )
    assert repr(RandomOrder([Identity()])) == "RandomOrder(\n    Identity()\n)"


def test_a_loader_gives_every_image_the_same_alone_and_in_batches():
    augment = Compose(
        [
            RandomApply([RandomCrop(28, padding=4), RandomHorizontalFlip()], p=0.6),
            RandomChoice([RandomVerticalFlip(), Normalize([0.3], [0.4])]),
        ]
    )
    whole = FashionMini(train=False, transform=augment)
    one_by_one = FashionMini(train=False, transform=lambda image: augment(image))
    assert is_batched(augment)
    for (a, _), (b, _), _ in zip(
        DataLoader(whole, 16, seed=5), DataLoader(one_by_one, 16, seed=5), range(3), strict=False
    ):
        assert same(a.array, b.array)


def test_lambda_applies_to_what_is_of_its_types():
    plus = Lambda(lambda x: x + 1)
    assert plus(3) == 3 + 1 and plus(1, [2, {"a": 3}]) == (2, [3, {"a": 4}])
    Pair = namedtuple("Pair", "image label")
    pair = Lambda(lambda x: -x, np.ndarray)(Pair(np.ones(2), 5))
    assert isinstance(pair, Pair) and pair.image.tolist() == [-1, -1] and pair.label == 5
    assert not is_batched(plus) and is_batched(DOUBLE)
    assert repr(DOUBLE) == "Lambda(doubled, types=[ndarray, Tensor])"
    with pytest.raises(TypeError, match="expected a function, got int"):
        Lambda(3)


@pytest.mark.parametrize("container", [Compose, RandomApply, RandomChoice, RandomOrder])
def test_what_takes_labels_gets_whole_samples(container):
    plus = Lambda(lambda x: x + 1, int)
    sure = {"p": 1.0} if container is RandomApply else {}
    transform = container([plus, *[Compose([plus])] * (container is not RandomChoice)], **sure)
    more = 1 if container is RandomChoice else 2
    image, array = Image.new("L", (2, 3)), numbered(1, 3, 2)
    assert transform((image, 3)) == transform(image, 3) == (image, 3 + more) == transform((image, 3))
    out = transform({"image": array, "label": 5})
    assert out["image"] is array and out["label"] == 5 + more and transform(image) is image
    assert transform.takes_labels and not container([Pad(1), np.negative]).takes_labels
    assert container([RandomChoice([CutMix(num_classes=3)])]).takes_labels


def test_a_batch_is_mixed_in_one_of_two_ways_with_its_labels():
    images, labels = numbered(6, 2, 8, 8), np.arange(6)
    ways = CutMix(num_classes=6), MixUp(num_classes=6)
    seen = set()
    for index in range(8):
        with draws.fetching(1, 0, range(index, index + 6), stream=draws.COLLATE_STREAM):
            out, mixed = RandomChoice(ways)(images, labels)
            after = draws.uniform(6, 1)
        with draws.fetching(1, 0, range(index, index + 6), stream=draws.COLLATE_STREAM):
            both = RandomChoice(ways)((images, labels))
            assert isinstance(both, tuple) and same(both[0], out) and same(both[1], mixed)
            assert same(draws.uniform(6, 1), after)
        assert out.shape == images.shape and mixed.shape == (6, 6) and np.allclose(mixed.sum(1), 1)
        share = 1 - mixed[1, 0]
        whole = np.allclose(out, share * images + (1 - share) * np.roll(images, 1, axis=0), rtol=1e-4)
        inside = (out == np.roll(images, 1, axis=0))[:, 0].mean()
        assert whole or inside == pytest.approx(1 - share)
        seen.add(bool(whole))
    assert seen == {True, False}


def test_a_batch_with_labels_is_decided_on_as_a_whole():
    apply = RandomApply([RandomCrop((6, 5), padding=2), Lambda(lambda x: x + 100, np.ndarray), RandomVerticalFlip()])
    images, labels = numbered(40, 1, 6, 5), np.arange(40)
    for seed in range(6):
        with draws.fetching(seed, 0, range(40)):
            chosen = apply.make_params(images.shape)["apply"]
        with draws.fetching(seed, 0, range(40)):
            out, changed = apply(images, labels)
        assert (changed == labels + 100 * chosen[0]).all() and (chosen[0] or out is images)
        with draws.fetching(seed, 0, range(40)):  # each image draws for itself what the transforms within draw
            assert not chosen[0] or same(out[chosen], apply(images)[chosen])
    assert apply(images[:0], labels[:0])[0].shape == (0, 1, 6, 5)
    with pytest.raises(TypeError, match="RandomApply: expected a PIL image, .*, got int, str"):
        apply(3, "a")


def test_identity():
    image = numbered(1, 2, 2)
    assert Identity()(image) is image and Identity()(image, 3) == (image, 3) and is_batched(Identity())


def test_compose_is_found_where_it_used_to_be():
    from minidl.transforms import transform

    assert transform.Compose is Compose
    with pytest.raises(AttributeError, match="has no attribute 'Decompose'"):
        transform.Decompose  # noqa: B018
