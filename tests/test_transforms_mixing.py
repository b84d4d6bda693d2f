"""MixUp and CutMix."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.data import DataLoader, Dataset, default_collate, draws
from minidl.nn.functional import cross_entropy
from minidl.tensor import Tensor
from minidl.transforms.mixing import CutMix, MixUp
from tests.colored import some_pictures, to_pil
from tests.elsewhere import elsewhere


def a_batch(n=6, classes=5, h=12, w=15):
    """Images of constant value n and labels, no two neighbours alike."""
    images = np.broadcast_to(np.arange(1.0, n + 1).reshape(-1, 1, 1, 1), (n, 3, h, w)).astype(np.float32)
    return images, np.arange(n) % classes


@given(n=st.integers(1, 6), lam=st.floats(0, 1), probabilities=st.booleans())
@settings(max_examples=30, deadline=None)
def test_mixup_mixes_neighbours_and_labels_in_one_proportion(n, lam, probabilities):
    images, labels = a_batch(n)
    onehot = np.eye(5, dtype=np.float32)[labels]
    mixup = MixUp(num_classes=5)
    mixed = mixup.transform(images, {"lam": lam})
    new = mixup.mix_labels(onehot if probabilities else labels, {"lam": lam})
    assert mixed.dtype == new.dtype == np.float32
    for i in range(n):
        assert np.allclose(mixed[i], lam * images[i] + (1 - lam) * images[i - 1], atol=1e-5)
        assert np.allclose(new[i], lam * onehot[i] + (1 - lam) * onehot[i - 1], atol=1e-6)
    assert np.allclose(new.sum(axis=1), 1)


@given(seed=st.integers(0, 10**6), h=st.integers(1, 20), w=st.integers(1, 20), alpha=st.sampled_from([0.2, 1.0, 4.0]))
@settings(max_examples=60, deadline=None)
def test_cutmix_pastes_a_rectangle_and_labels_agree_with_its_area(seed, h, w, alpha):
    images, labels = a_batch(5, h=h, w=w)
    images = images.astype(np.uint8)
    cutmix = CutMix(alpha=alpha, num_classes=5)
    with draws.fetching(seed, 0, range(5)):
        params = cutmix.make_params(images.shape)
    with draws.fetching(seed, 0, range(5)):
        mixed, new = cutmix(images, labels)
    x1, y1, x2, y2 = params["box"]
    assert 0 <= x1 <= x2 <= w and 0 <= y1 <= y2 <= h
    want = images.copy()
    want[:, :, y1:y2, x1:x2] = np.roll(images, 1, axis=0)[:, :, y1:y2, x1:x2]
    assert (mixed == want).all() and mixed.dtype == np.uint8
    own = (mixed == images).mean(axis=(1, 2, 3))
    assert np.allclose(own, params["lam_adjusted"]) and np.allclose(new[np.arange(5), labels], own, atol=1e-6)
    assert new.dtype == np.float32 and np.allclose(new.sum(axis=1), 1)
    assert np.allclose(new[np.arange(5), np.roll(labels, 1)], 1 - own, atol=1e-6)


def test_cutmix_boxes_have_the_size_and_place_of_the_paper(monkeypatch):
    # λ = 0.75 leaves a box of half the height and half the width around the middle that was drawn.
    monkeypatch.setattr("minidl.transforms.mixing.beta", lambda u, alpha: np.array(0.75))
    u = np.tile([0.0, 0.0, 0.5, 0.25], (3, 1))
    monkeypatch.setattr(draws, "uniform", lambda rows, count: u)
    params = CutMix(num_classes=2).make_params((3, 1, 40, 80))
    assert params["box"] == (20, 0, 60, 20) and params["lam_adjusted"] == 1 - 40 * 20 / 3200
    u[:, 2:] = 0.99, 0.5
    assert CutMix(num_classes=2).make_params((3, 1, 40, 80))["box"] == (59, 10, 80, 30)


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_the_share_has_a_beta_distribution(alpha):
    lams = []
    for seed in range(1500):
        with draws.fetching(seed, 0, [seed % 7]):
            lams.append(MixUp(alpha=alpha).make_params((1, 3, 4, 4))["lam"])
    assert abs(np.mean(lams) - 0.5) < 0.05 and np.var(lams) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.12)
    if alpha == 1:
        assert abs(np.sort(lams) - np.linspace(0, 1, 1500)).max() < 2.2 / math.sqrt(1500)


@pytest.mark.parametrize("mix", [MixUp(num_classes=5), CutMix(num_classes=5)], ids=repr)
def test_batches_come_back_in_their_own_form(mix):
    images, labels = a_batch()

    def drawn(*inputs):
        with draws.fetching(1, 2, range(6)):
            return mix(*inputs)

    want = drawn(images, labels)
    assert type(want) is tuple
    listed = drawn([images, labels])
    assert type(listed) is list
    tensors = drawn((Tensor(images), Tensor(labels)))
    assert all(isinstance(x, Tensor) for x in tensors)
    on_device = drawn(*(Tensor.wrap(elsewhere.from_numpy(x)) for x in (images, labels)))
    assert all(x.backend is elsewhere for x in on_device)
    mapping = drawn({"label_names": labels[:2], "picture": images, "id": "a", "Labels": labels})
    assert mapping["id"] == "a"
    nested = drawn((images, {"n": 3, "my_label": labels}))
    assert nested[1]["n"] == 3
    for got in (
        listed,
        [x.array for x in tensors],
        [elsewhere.to_numpy(x.array) for x in on_device],
        (mapping["picture"], mapping["Labels"]),
        (nested[0], nested[1]["my_label"]),
    ):
        for a, b in zip(got, want, strict=True):
            assert (a == b).all() and a.dtype == b.dtype
    ours, theirs = a_batch()
    assert (images == ours).all() and (labels == theirs).all()  # what was given is left alone


def test_labels_are_found_by_a_function():
    images, labels = a_batch()
    mix = MixUp(num_classes=5, labels_getter=lambda sample: sample["target"]["class"])
    out = mix({"image": images, "target": {"class": labels}})
    assert out["target"]["class"].shape == (6, 5)
    elsewhere = MixUp(num_classes=5, labels_getter=lambda sample: labels.copy())
    with pytest.raises(ValueError, match="not in the input"):
        elsewhere(images, labels)


class Pictures(Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, index):
        return some_pictures(1, seed=index)[0] / np.float32(255), index % 3


@pytest.mark.parametrize("mix", [MixUp(num_classes=3), CutMix(num_classes=3, alpha=0.5)], ids=repr)
def test_in_a_loaders_collate_fn_batches_are_mixed_the_same_again(mix):
    def batches():
        loader = DataLoader(Pictures(), 4, collate_fn=lambda samples: mix(default_collate(samples)), seed=5)
        return [(images.array, labels.array) for images, labels in loader]

    first, again = batches(), batches()
    assert all((a == b).all() for x, y in zip(first, again, strict=True) for a, b in zip(x, y, strict=True))
    shares = [labels.max(axis=1) for _, labels in first]
    assert len({round(float(s[1]), 6) for s in shares}) > 1  # each batch has its own share
    assert all(np.allclose(s[1:], s[1], atol=1e-6) for s in shares)


def test_cross_entropy_takes_mixed_labels():
    labels = a_batch()[1]
    scores = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    mixup = MixUp(num_classes=5)
    params = {"lam": 0.3}
    mixed = mixup.mix_labels(Tensor(labels), params)
    apart = [cross_entropy(Tensor(scores), Tensor(np.roll(labels, k))).item() for k in (0, 1)]
    assert cross_entropy(Tensor(scores), mixed).item() == pytest.approx(0.3 * apart[0] + 0.7 * apart[1], rel=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, y: MixUp(alpha=0), ValueError, "alpha should be positive, got 0"),
        (lambda x, y: MixUp(labels_getter="y"), ValueError, "labels_getter should be 'default', None or a function"),
        (lambda x, y: MixUp()(x, y), ValueError, "num_classes must be passed"),
        (lambda x, y: MixUp(num_classes=9)(x, np.eye(6)), ValueError, "6 columns but num_classes is 9"),
        (lambda x, y: MixUp(num_classes=5)(x, y[:3]), ValueError, "6 images but 3 labels"),
        (
            lambda x, y: MixUp(num_classes=5)(x[0], y),
            ValueError,
            r"a batch of images \(N, C, H, W\), got shape \(3, 12",
        ),
        (lambda x, y: MixUp(num_classes=5)(x, [1, 2]), ValueError, "labels should be a Tensor or an array, got list"),
        (lambda x, y: MixUp(num_classes=5, labels_getter=None)(x, y), ValueError, "got NoneType"),
        (lambda x, y: MixUp(num_classes=5)(x, y / 2), ValueError, "should be integers, got float64"),
        (lambda x, y: MixUp(num_classes=5)(x, np.zeros((6, 1, 1))), ValueError, r"got \(6, 1, 1\)"),
        (lambda x, y: MixUp(num_classes=5)({"image": x, "target": y}), ValueError, "found no labels among"),
        (lambda x, y: MixUp(num_classes=3)(x, y), RuntimeError, "labels should be below 3, got 4"),
        (lambda x, y: CutMix(num_classes=5)(x, y - 1), RuntimeError, "labels should be non-negative, got -1"),
        (lambda x, y: MixUp(num_classes=5)((x * 9).astype(np.uint8), y), TypeError, "floating point dtype, got uint8"),
        (
            lambda x, y: CutMix(num_classes=5)(to_pil(some_pictures(1)[0]), y),
            ValueError,
            "PIL images are not supported",
        ),
        (lambda x, y: CutMix(num_classes=5)("x", y), ValueError, "found no images"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call(*a_batch())
