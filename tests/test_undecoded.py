"""JPEG files of which only the upper rows are decoded, against decoding everything."""

from __future__ import annotations

import io
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import minidl
from minidl import transforms as T
from minidl.data import DataLoader
from minidl.datasets import ImageFolder
from minidl.transforms.undecoded import Undecoded, undecoded


def noise(height, width, mode="RGB", seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def written(folder, image, name="a.jpg", **options):
    path = Path(folder) / name
    path.parent.mkdir(exist_ok=True, parents=True)
    image.save(path, "JPEG", **options)
    return path


@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 40)),
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0", "4:1:1"]),
    quality=st.integers(5, 95),
    restart=st.integers(0, 3),
    data=st.data(),
)
def test_the_upper_rows_are_the_same(size, mode, subsampling, quality, restart, data):
    with tempfile.TemporaryDirectory() as folder:
        image = noise(*size, mode)
        path = written(folder, image, quality=quality, subsampling=subsampling, restart_marker_rows=restart)
        file = undecoded(path)
        expected = np.asarray(Image.open(path).convert("RGB"))
    assert isinstance(file, Undecoded) and (file.height, file.width) == size
    rows = data.draw(st.integers(1, size[0]))
    found = file.decode(rows)
    assert found.mode == "RGB" and found.width == size[1] and rows <= found.height <= rows + 8
    np.testing.assert_array_equal(np.asarray(found)[:rows], expected[:rows])
    np.testing.assert_array_equal(np.asarray(file.decode()), expected)


def test_a_file_that_notes_much_before_its_frame(tmp_path):
    small = io.BytesIO()
    noise(8, 8).save(small, "JPEG")  # a thumbnail, with a frame and an end of its own
    exif = Image.Exif()
    exif[0x9286] = small.getvalue()
    path = written(tmp_path, noise(60, 20), exif=exif, comment=b"\xff\xc0 none \xff\xd9")
    file = undecoded(path)
    assert (file.height, file.width) == (60, 20)
    np.testing.assert_array_equal(np.asarray(file.decode(9))[:9], np.asarray(Image.open(path))[:9])
    path.write_bytes(path.read_bytes()[:-2])  # the thumbnail's end is not the file's
    assert undecoded(path) is None


def test_an_end_among_what_comes_before_the_pixels_is_none(tmp_path):
    path = written(tmp_path, noise(60, 20))
    data = path.read_bytes()
    scan = data.index(b"\xff\xda")
    path.write_bytes(data[:scan] + b"\xff\xfe\0\x06ab\xff\xd9" + data[scan:])
    np.testing.assert_array_equal(np.asarray(undecoded(path).decode(9))[:9], np.asarray(Image.open(path))[:9])
    path.write_bytes(path.read_bytes()[:-100])
    assert undecoded(path) is None


def test_others_are_left_to_pillow(tmp_path, monkeypatch):
    assert undecoded(written(tmp_path, noise(40, 20), progressive=True)) is None  # row by row only at the very end
    path = written(tmp_path, noise(40, 20))
    whole = path.read_bytes()
    for length in (0, 1, 2, 3, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert undecoded(path) is None
    at = whole.index(b"\xff\xc0") + 5
    path.write_bytes(whole[:at] + b"\0\0" + whole[at + 2 :])  # the height comes after the pixels
    assert undecoded(path) is None
    noise(4, 4).save(path, "PNG")
    assert undecoded(path) is None
    path.write_bytes(whole)
    assert undecoded(path) is not None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 799)  # Pillow warns of it
    assert undecoded(path) is None


def test_a_seventh_of_the_rows_lies_below_the_windows():
    """What the docstrings say is saved."""
    minidl.manual_seed(0)
    params = T.RandomResizedCrop(224).make_params((10_000, 3, 512, 768))
    below = 1 - (params["top"] + params["height"]).mean() / 512
    assert 1 / 8 < below < 1 / 6


@pytest.fixture
def photographs(tmp_path):
    for i in range(12):
        written(tmp_path, noise(50 + i, 40, seed=i), f"{'ab'[i % 2]}/{i:02}.jpg")
    return tmp_path


@pytest.fixture
def decoded(monkeypatch):
    """(rows asked for, rows there are) of every ``Undecoded`` that this process decodes."""
    calls = []
    kept = Undecoded.decode
    monkeypatch.setattr(
        Undecoded, "decode", lambda self, rows=None: (calls.append((rows, self.height)), kept(self, rows))[1]
    )
    return calls


@pytest.fixture
def one_thread():
    """As in a worker: no other thread decodes."""
    before = minidl.get_num_threads()
    minidl.set_num_threads(1)
    yield
    minidl.set_num_threads(before)


def batches(dataset, **options):
    return [images.numpy() for images, _ in DataLoader(dataset, 4, seed=1, shuffle=True, **options)]


class Turned(T.RandomResizedCrop):
    def transform(self, image, params):
        return super().transform(image.transpose(Image.Transpose.ROTATE_180), params)


class Called(T.RandomResizedCrop):
    def __call__(self, image):
        return super().__call__(image.transpose(Image.Transpose.ROTATE_180))


class TurnedBefore:
    def __call__(self, image):
        return super().__call__(image.transpose(Image.Transpose.ROTATE_180))


class Mixed(TurnedBefore, T.RandomResizedCrop):
    pass


class Kept(T.RandomResizedCrop):
    """Nothing but a name of its own."""


@pytest.mark.parametrize(
    ("first", "parts"),
    [
        (T.RandomResizedCrop(8), True),
        (T.RandomResizedCrop(8, scale=(1.0, 1.0)), True),
        (Turned(8), False),
        (Called(8), False),
        (Mixed(8), False),
        (Kept(8), True),
        (T.Resize((8, 8)), False),
        (lambda image: image.resize((8, 8)), False),
    ],
    ids=["random", "large", "other transform", "other call", "mixed in", "derived", "not a window", "a function"],
)
@pytest.mark.usefixtures("one_thread")
def test_batches_of_photographs(photographs, decoded, first, parts):
    rest = [T.RandomHorizontalFlip(), T.ToTensor()]
    expected = [np.stack([images[i] for i in range(len(images))]) for images in batches(
        ImageFolder(photographs, T.Compose([first, *rest]), loader=lambda path: Image.open(path).convert("RGB"))
    )]  # fmt: skip
    assert not decoded
    found = batches(ImageFolder(photographs, T.Compose([first, *rest])))
    for some, others in zip(found, expected, strict=True):
        np.testing.assert_array_equal(some, others)
    assert len(decoded) == 12
    assert all((rows is not None and rows <= height) == parts for rows, height in decoded)
    if parts and first.scale[0] < 1:
        assert any(rows + 8 < height for rows, height in decoded)


def test_a_file_that_is_cut_off_is_an_error_in_a_worker_too(photographs):
    path = photographs / "a" / "04.jpg"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(OSError, match=r"cannot read sample 2, .*04\.jpg.*truncated"):
        batches(ImageFolder(photographs, T.Compose([T.RandomResizedCrop(8), T.ToTensor()])), num_workers=1)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        skipping = ImageFolder(photographs, T.Compose([T.RandomResizedCrop(8), T.ToTensor()]), on_error="skip")
        batches(skipping, num_workers=1)
    assert skipping.skipped == {str(path)}
