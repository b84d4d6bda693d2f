"""PIL images to Tensors and back, dtypes, normalisation."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import minidl
from minidl.tensor import Tensor
from minidl.transforms import (
    Compose,
    ConvertImageDtype,
    Normalize,
    PILToTensor,
    ToDtype,
    ToImage,
    ToPILImage,
    ToTensor,
    is_batched,
)
from minidl.transforms import functional as F
from tests.elsewhere import elsewhere


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def pil(mode: str) -> Image.Image:
    if mode.startswith("I;16"):
        values = np.random.default_rng(0).integers(0, 1 << 16, (4, 5))
        raw = values.astype(">u2" if mode == "I;16B" else "<u2").tobytes()
        return Image.frombytes(mode, (5, 4), raw)
    image = Image.fromarray(noise(4, 5, 3))
    return image.quantize(9) if mode == "P" else image.convert("RGBA" if mode == "LA" else mode).convert(mode)


DTYPES = {"1": np.bool_, "I": np.int32, "F": np.float32, "I;16": np.uint16, "I;16B": np.uint16}
MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "HSV", "YCbCr", "I", "F", "I;16", "I;16B"]


@pytest.mark.parametrize("mode", MODES)
def test_pil_images_of_every_mode_become_tensors(mode):
    image = pil(mode)
    for convert in (F.pil_to_tensor, F.to_image, PILToTensor(), ToImage()):
        tensor = convert(image)
        array = tensor.array
        assert isinstance(tensor, Tensor) and array.dtype == DTYPES.get(mode, np.uint8) and array.dtype.isnative
        assert array.flags.c_contiguous and array.flags.writeable
        assert array.shape == (len(image.getbands()), 4, 5)
        for y, x in ((0, 0), (3, 4), (1, 3)):
            value = image.getpixel((x, y))
            want = np.array(value, ndmin=1) != 0 if mode == "1" else np.array(value, ndmin=1)
            assert (array[:, y, x] == want).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "CMYK", "HSV", "YCbCr", "I", "F", "I;16"])
def test_there_and_back(mode):
    image = pil(mode)
    back = F.to_pil_image(F.to_image(image), mode)
    assert back.mode == mode and back.size == image.size and back.tobytes() == image.tobytes()
    default = F.to_pil_image(F.to_image(image))
    assert default.mode == {"CMYK": "RGBA", "HSV": "RGB", "YCbCr": "RGB", "F": "L"}.get(mode, mode)
    if mode in ("L", "RGB", "RGBA"):
        assert F.to_pil_image(F.to_tensor(image)).tobytes() == image.tobytes()


@pytest.mark.parametrize(("mode", "dtype", "scale"), [("1", np.float32, 1), ("L", np.float32, 255), ("I", np.int32, 1)])
def test_to_tensor_of_pil_images(mode, dtype, scale):
    image = pil(mode)
    tensor = F.to_tensor(image)
    assert tensor.dtype == dtype and (tensor.array == np.asarray(image)[None] / dtype(scale)).all()


def test_to_tensor_of_16_bits_keeps_them_as_torchvision_does():
    tensor = ToTensor()(pil("I;16"))
    assert tensor.dtype == np.int16 and (tensor.array.view(np.uint16) == np.asarray(pil("I;16"))[None]).all()


def test_arrays_have_channels_last_and_tensors_first():
    rgb, grey, batch = noise(4, 5, 3), noise(4, 5), noise(2, 3, 4, 5)
    for convert in (F.to_image, ToImage()):
        assert (convert(rgb).array == rgb.transpose(2, 0, 1)).all() and convert(rgb).array.flags.c_contiguous
        assert (convert(grey).array == grey[None]).all() and isinstance(convert(grey), Tensor)
        assert isinstance(convert(batch), Tensor) and convert(batch).array is batch
        tensor = Tensor.wrap(noise(3, 4, 5))
        assert convert(tensor) is tensor
        assert convert(Tensor.wrap(grey)).shape == (1, 4, 5)
    image, label = ToImage()((rgb, 3))
    assert image.shape == (3, 4, 5) and label == 3
    for convert in (F.to_tensor, ToTensor()):
        for given, want in ((rgb, rgb.transpose(2, 0, 1)), (grey, grey[None]), (batch, batch)):
            got = convert(given)
            assert got.dtype == np.float32 and (got.array == want / np.float32(255)).all()
        assert (convert(Tensor.wrap(batch)).array == batch / np.float32(255)).all()
        floats = Tensor.wrap(batch.astype(np.float64))
        assert convert(floats) is floats
    assert is_batched(Compose([ToTensor(), ToImage()])) and not is_batched(ToPILImage())


def test_to_tensor_gives_the_default_dtype():
    minidl.set_default_dtype(minidl.float64)
    try:
        assert F.to_tensor(noise(4, 5)).dtype == np.float64
    finally:
        minidl.set_default_dtype(minidl.float32)


def test_what_is_no_pil_image_passes_pil_to_tensor():
    tensor = Tensor.wrap(noise(1, 2, 2))
    assert PILToTensor()(tensor) is tensor
    with pytest.raises(TypeError, match="pil_to_tensor: expected a PIL image, got Tensor"):
        F.pil_to_tensor(tensor)


@pytest.mark.parametrize("function", [F.to_image, F.to_tensor, ToImage(), ToTensor(), ToPILImage()])
def test_what_is_no_image_is_refused(function):
    with pytest.raises(TypeError, match=r"expected (a PIL image, )?a Tensor or an array"):
        function("image")
    with pytest.raises(ValueError, match=r"2 (to 4|or 3) dimensions, got shape \(3,\)"):
        function(noise(3))


def test_to_pil_image():
    assert F.to_pil_image(noise(4, 5, 3)).size == (5, 4)
    assert F.to_pil_image(Tensor(noise(3, 4, 5))).size == (5, 4)
    assert F.to_pil_image(Tensor(noise(4, 5))).mode == F.to_pil_image(noise(4, 5)).mode == "L"
    assert ToPILImage("HSV")(Tensor(noise(3, 4, 5))).mode == "HSV"
    values = np.array([[[-0.5, 0.0, 0.5, 0.999, 1.0, 1.5]]])
    assert np.asarray(F.to_pil_image(Tensor(values))).tolist() == [[0, 0, 127, 254, 255, 255]]
    kept = F.to_pil_image(Tensor(values.astype(np.float32)), "F")
    assert kept.mode == "F" and np.asarray(kept).tolist() == values[0].astype(np.float32).tolist()
    device = Tensor.wrap(elsewhere.from_numpy(noise(3, 4, 5)))
    assert F.to_pil_image(device).tobytes() == F.to_pil_image(Tensor(noise(3, 4, 5))).tobytes()
    image = Image.new("L", (2, 2))
    assert ToPILImage()(image) is image
    assert repr(ToPILImage()) == "ToPILImage()" and repr(ToPILImage("L")) == "ToPILImage(mode='L')"


@pytest.mark.parametrize(
    ("image", "mode", "error", "message"),
    [
        (noise(4, 5, 3), "L", ValueError, "mode should be RGB or YCbCr or HSV for 3 channels of uint8, got L"),
        (noise(4, 5), "RGB", ValueError, "mode should be L for 1 channels"),
        (noise(4, 5, 3).astype(np.int32), None, TypeError, "no images of 3 channels of int32"),
        (noise(4, 5).astype(np.int64), None, TypeError, "no images of 1 channels of int64"),
        (noise(4, 5, 6), None, ValueError, "1 to 4 channels, got 6"),
        (noise(2, 4, 5, 3), None, ValueError, r"one image of 2 or 3 dimensions, got shape \(2, 4, 5, 3\)"),
        (Image.new("L", (2, 2)), None, TypeError, "expected a Tensor or an array, got Image"),
    ],
)
def test_to_pil_image_refuses(image, mode, error, message):
    with pytest.raises(error, match=message):
        F.to_pil_image(image, mode)


@pytest.mark.parametrize("float_dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("integer_dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64])
def test_scaling_reaches_both_ends(float_dtype, integer_dtype):
    most = np.iinfo(integer_dtype).max
    image = np.array([[[0, most // 3, most]]], integer_dtype)
    floats = F.to_dtype(image, float_dtype, scale=True)
    assert floats.dtype == float_dtype and floats[0, 0, 0] == 0 and floats[0, 0, 2] == 1
    assert abs(floats[0, 0, 1] - most // 3 / most) < np.finfo(float_dtype).eps
    if np.iinfo(integer_dtype).bits > {2: 8, 4: 16, 8: 32}[np.dtype(float_dtype).itemsize]:
        with pytest.raises(RuntimeError, match="cannot be performed safely"):
            F.to_dtype(np.zeros((1, 1, 1), float_dtype), integer_dtype, scale=True)
        return
    back = F.convert_image_dtype(floats, integer_dtype)
    assert back.dtype == integer_dtype and back[0, 0, 0] == 0 and back[0, 0, 2] == most
    assert abs(int(back[0, 0, 1]) - most // 3) <= max(1, most // 2**22)


def test_every_integer_gets_as_wide_a_piece_of_0_to_1():
    floats = (np.arange(256 * 100).reshape(1, 1, -1) + 0.5) / (256 * 100)
    counts = np.bincount(F.to_dtype(floats, np.uint8, scale=True).ravel(), minlength=256)
    assert counts.min() >= 99 and counts.max() <= 101


def test_scaling_between_integers_moves_bits():
    image = np.array([[[0, 1, 127, 128, 255]]], np.uint8)
    assert F.to_dtype(image, np.int16, scale=True).tolist() == [[[0, 128, 16256, 16384, 32640]]]
    assert F.to_dtype(image, np.int8, scale=True).tolist() == [[[0, 0, 63, 64, 127]]]
    wide = F.to_dtype(image, np.int64, scale=True)
    assert (F.to_dtype(wide, np.uint8, scale=True) == image).all()
    assert F.to_dtype(image, np.uint8) is image
    assert F.to_dtype(image > 100, np.float32, scale=True).tolist() == [[[0, 0, 1, 1, 1]]]


def test_none_is_no_dtype():
    for name, convert in (
        ("ToDtype", ToDtype),
        ("ConvertImageDtype", ConvertImageDtype),
        ("to_dtype", lambda dtype: F.to_dtype(noise(1, 2, 2), dtype)),
    ):
        with pytest.raises(TypeError, match=f"{name}: expected a dtype, .* got None"):
            convert(None)


def test_dtypes_on_another_device():
    image = noise(2, 3, 4, 5)
    for transform in (
        ToDtype(np.float32, scale=True),
        ToDtype(np.int16, scale=True),
        ConvertImageDtype(np.float64),
        Compose([ToTensor(), Normalize([0.1, 0.2, 0.3], [1, 2, 3], inplace=True)]),
    ):
        got = transform(Tensor.wrap(elsewhere.from_numpy(image)))
        assert got.backend is elsewhere
        want = transform(Tensor(image))
        assert got.dtype == want.dtype and (elsewhere.to_numpy(got.array) == want.array).all()
    assert repr(ConvertImageDtype()) == "ConvertImageDtype(dtype=float32, scale=True)"


@pytest.mark.parametrize("transform", [ToDtype(np.float32), Normalize([0.5], [0.5])])
def test_pil_images_are_to_be_converted_first(transform):
    with pytest.raises(TypeError, match="got a PIL image; apply ToImage first"):
        transform(Image.new("L", (2, 2)))


def test_normalize_in_place():
    array = np.ones((2, 1, 2, 2), np.float32)
    tensor = Tensor.wrap(array)
    version = tensor.version.count
    assert F.normalize(tensor, [0.5], [0.25], inplace=True) is tensor
    assert (array == 2).all() and tensor.version.count == version + 1
    assert Normalize([1], [1], inplace=True)(array) is array and (array == 1).all()
    assert (Normalize([1], [1])(array) == 0).all() and (array == 1).all()
    assert (F.normalize(array, 0.5, 2) == 0.25).all()  # one number for all
    with pytest.raises(ValueError, match="normalize: std contains zero"):
        F.normalize(array, [0.5], [0.0])
