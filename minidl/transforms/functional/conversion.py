"""From PIL images to Tensors and back, and between dtypes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from minidl import dtypes
from minidl.backend import Backend, backend_of, is_array
from minidl.tensor import Tensor
from minidl.transforms.images import is_pil, on_array, shape_of

# -- images to Tensors -------------------------------------------------------------------------------------------------


def to_image(image: Any) -> Tensor:
    """Make a Tensor of an image, in its dtype and without scaling.

    Args:
        image: a PIL image; an array (H, W) or (H, W, C), as image libraries have them, or a batch (N, C, H, W); or a Tensor.

    Returns:
        A Tensor of shape (C, H, W), or (N, C, H, W) of a batch. A Tensor is handed on as it is; only (H, W) becomes (1, H, W).

    An array of three dimensions is always taken for (H, W, C): nothing tells it from (C, H, W). Wrap one of minidl's own
    layout by ``minidl.tensor`` first.

    Raises:
        TypeError: if it is neither.
        ValueError: if it has not 2 to 4 dimensions.

    Example:
        >>> to_image(np.zeros((28, 32, 3), np.uint8)).shape
        (3, 28, 32)
    """
    if is_pil(image):
        return pil_to_tensor(image)
    if not isinstance(image, Tensor) and not is_array(image):
        raise TypeError(f"to_image: expected a PIL image, a Tensor or an array, got {type(image).__name__}")
    if not 2 <= image.ndim <= 4:
        raise ValueError(f"to_image: expected 2 to 4 dimensions, got shape {tuple(image.shape)}")
    if isinstance(image, Tensor):
        return image if image.ndim > 2 else Tensor.wrap(image.array[None])
    if image.ndim == 4:
        return Tensor.wrap(image)
    return Tensor.wrap(_channels_first(backend_of(image), image))


def _channels_first(xp: Backend, array: Any) -> Any:
    """(H, W) or (H, W, C) to (C, H, W)."""
    return array[None] if array.ndim == 2 else xp.ascontiguousarray(array.transpose(2, 0, 1))


def pil_to_tensor(image: Any) -> Tensor:
    """Copy a PIL image to a Tensor (C, H, W), without scaling.

    The dtype is uint8; of mode 1 bool, of I int32, of I;16 uint16, and of F float32. Mode P gives the numbers of the colours.

    Raises:
        TypeError: if it is not a PIL image.
    """
    if not is_pil(image):
        raise TypeError(f"pil_to_tensor: expected a PIL image, got {type(image).__name__}")
    if image.mode == "RGB":
        return Tensor.wrap(_planes(image))
    # Pillow's bools are bytes of 255, which are not equal to NumPy's.
    pixels = np.asarray(image.convert("L")) > 0 if image.mode == "1" else np.asarray(image)
    if pixels.ndim == 2:  # else it is copied below
        pixels = pixels.copy()
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)  # I;16B
    return Tensor.wrap(_channels_first(backend_of(pixels), pixels))


def _planes(image: Image.Image) -> np.ndarray:
    """``np.asarray(image).transpose(2, 0, 1)`` of an RGB image, C-contiguous: Pillow takes colours apart faster than NumPy."""
    planes = np.empty((3, image.height, image.width), np.uint8)
    for plane, colour in zip(planes, "RGB", strict=True):
        plane.reshape(-1)[:] = plane_of(image, colour)
    return planes


def plane_of(image: Image.Image, colour: str) -> np.ndarray:
    """The values of one colour, "R", "G" or "B", of an RGB image: a uint8 array (H · W)."""
    return np.frombuffer(image.tobytes("raw", colour), np.uint8)


def to_tensor(image: Any) -> Tensor:
    """Make a Tensor of an image; 8 bits, 0 to 255, become the default floating point dtype, 0 to 1.

    Args:
        image: as for ``to_image``.

    Returns:
        A Tensor (C, H, W), or (N, C, H, W) of a batch. Mode 1 becomes 0 and 1. Other dtypes than uint8 are kept, as in
        torchvision: int32 of mode I, int16 of I;16, float32 of F.

    Raises:
        TypeError, ValueError: as ``to_image``.
    """
    tensor = to_image(image)
    if is_pil(image) and image.mode == "1":
        return Tensor.wrap(tensor.array.astype(dtypes.get_default_dtype()))
    if is_pil(image) and image.mode.startswith("I;16"):
        return Tensor.wrap(tensor.array.astype(np.int16))
    return to_dtype(tensor, dtypes.get_default_dtype(), scale=True) if tensor.dtype == np.uint8 else tensor


# -- Tensors to PIL images ---------------------------------------------------------------------------------------------

_MODES = {2: ("LA",), 3: ("RGB", "YCbCr", "HSV"), 4: ("RGBA", "CMYK", "RGBX")}  # by channels; the first is the default
_GREY = {"uint8": "L", "bool": "1", "int16": "I;16", "uint16": "I;16", "int32": "I", "float32": "F"}


def to_pil_image(image: Any, mode: str | None = None) -> Image.Image:
    """Make a PIL image of a Tensor or an array.

    Args:
        image: a Tensor (C, H, W) or (H, W), or an array (H, W, C) or (H, W). Floating point values from 0 to 1 become 0 to 255
            (what lies outside is clipped), unless the mode is F.
        mode: PIL's mode. By default L for one channel (or 1, I;16, I, by dtype), LA for two, RGB for three, RGBA for four.

    Raises:
        TypeError: if it is neither, or there is no mode for its dtype.
        ValueError: if it has not 2 or 3 dimensions, has more than 4 channels, or the mode does not suit.

    Example:
        >>> to_pil_image(minidl.zeros(3, 28, 32)).size
        (32, 28)
    """
    if not isinstance(image, Tensor) and not is_array(image):
        raise TypeError(f"to_pil_image: expected a Tensor or an array, got {type(image).__name__}")
    array = image.array if isinstance(image, Tensor) else image
    if array.ndim not in (2, 3):
        raise ValueError(f"to_pil_image: expected one image of 2 or 3 dimensions, got shape {tuple(array.shape)}")
    pixels = backend_of(array).to_numpy(array)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    elif isinstance(image, Tensor):
        pixels = pixels.transpose(1, 2, 0)
    channels = pixels.shape[2]
    if not 1 <= channels <= 4:
        raise ValueError(f"to_pil_image: expected 1 to 4 channels, got {channels}")
    if pixels.dtype.kind == "f" and mode != "F":
        pixels = np.clip(pixels * 255, 0, 255).astype(np.uint8)
    if channels == 1:
        suits = tuple(filter(None, [_GREY.get(pixels.dtype.name)]))
    else:
        suits = _MODES[channels] if pixels.dtype == np.uint8 else ()
    if not suits:
        raise TypeError(f"to_pil_image: PIL has no images of {channels} channels of {pixels.dtype}")
    if mode is not None and mode not in suits:
        raise ValueError(
            f"to_pil_image: mode should be {' or '.join(suits)} for {channels} channels of {pixels.dtype}, got {mode}"
        )
    pixels = np.ascontiguousarray(pixels[:, :, 0] if channels == 1 else pixels)
    if suits == ("1",):
        return Image.fromarray(pixels)
    little_endian = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False) if suits == ("I;16",) else pixels
    return Image.frombytes(mode or suits[0], (pixels.shape[1], pixels.shape[0]), little_endian.tobytes())


# -- dtypes and values -------------------------------------------------------------------------------------------------


def to_dtype(image: Any, dtype: Any = np.float32, scale: bool = False) -> Any:
    """Convert a Tensor or array (C, H, W) or (N, C, H, W) to a dtype.

    Args:
        image: the image or images.
        dtype: the wanted dtype, such as ``minidl.float32``.
        scale: whether values keep their meaning: 0 to 255 (or the largest value of another integer dtype) corresponds
            to 0 to 1 in floating point. Between integer dtypes bits are added or dropped; between floating point dtypes, and
            from and to bool, nothing is scaled.

    Raises:
        RuntimeError: for ``scale=True`` from a floating point dtype to an integer dtype with more bits than it can tell apart.
        TypeError: for a PIL image, or if ``image`` or ``dtype`` is none.

    Example:
        >>> to_dtype(np.full((1, 1, 1), 255, np.uint8), np.float32, scale=True)
        array([[[1.]]], dtype=float32)
    """
    _refuse_pil(image, "to_dtype")
    return on_array(image, _to_dtype, check_dtype(dtype, "to_dtype"), scale)


def check_dtype(dtype: Any, name: str) -> np.dtype:
    """Return the dtype.

    Raises:
        TypeError: if it is none, None among others.
    """
    if dtype is None:  # float64 to NumPy
        raise TypeError(f"{name}: expected a dtype, such as minidl.float32, got None")
    return np.dtype(dtype)


def convert_image_dtype(image: Any, dtype: Any = np.float32) -> Any:
    """``to_dtype(image, dtype, scale=True)``."""
    return to_dtype(image, dtype, scale=True)


def _to_dtype(xp: Backend, array: Any, dtype: np.dtype, scale: bool) -> Any:
    if array.dtype == dtype:
        return array
    from_integer, to_integer = array.dtype.kind in "iu", dtype.kind in "iu"
    if not scale or not (from_integer or to_integer) or "b" in (array.dtype.kind, dtype.kind):
        return array.astype(dtype)
    if from_integer and to_integer:
        more = _bits(dtype) - _bits(array.dtype)
        return array.astype(dtype) << more if more > 0 else (array >> -more).astype(dtype)
    if from_integer:
        wide = np.promote_types(dtype, np.float32)  # float16 ends at 65504
        out = array.astype(wide)
        out /= wide.type(np.iinfo(array.dtype).max)
        return out.astype(dtype, copy=False)
    if _bits(dtype) > np.finfo(array.dtype).nmant + 1:
        raise RuntimeError(
            f"to_dtype: the cast from {array.dtype} to {dtype} cannot be performed safely with scale=True"
        )
    # Every integer gets an equally wide piece of [0, 1]; the factor is below their number so that 1.0 lands in the last.
    out = array.astype(np.float32) if array.dtype == np.float16 else array
    number = out.dtype.type(np.iinfo(dtype).max + 1.0)
    return (out * min(number - out.dtype.type(1e-3), np.nextafter(number, out.dtype.type(0)))).astype(dtype)


def _bits(dtype: np.dtype) -> int:
    """Bits of an integer dtype's value, without the sign."""
    return int(np.iinfo(dtype).max).bit_length()


def normalize(image: Any, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> Any:
    """Subtract a mean from each channel of a floating point image and divide by a standard deviation.

    Args:
        image: a Tensor or array (C, H, W) or (N, C, H, W).
        mean, std: one number for each channel, or one for all, in the units of the image.
        inplace: whether to write the result into ``image``.

    Raises:
        ValueError: if a standard deviation is zero, or the numbers of means, deviations and channels do not fit.
        TypeError: for images of an integer dtype (convert them with ``to_dtype`` first) or PIL images.

    Example:
        >>> normalize(np.ones((1, 1, 1), np.float32), [0.5], [0.25])
        array([[[2.]]], dtype=float32)
    """
    _refuse_pil(image, "normalize")
    means, stds = check_mean_std(mean, std, "normalize")
    result = on_array(image, _normalize, means, stds, inplace)
    if inplace and isinstance(image, Tensor):
        image.bump_version("normalize")
        return image
    return result


def check_mean_std(mean: Any, std: Any, name: str) -> tuple[list[float], list[float]]:
    """Return both as lists.

    Raises:
        ValueError: if their lengths differ, or a standard deviation is zero.
    """
    means, stds = (np.asarray(v, np.float64).reshape(-1).tolist() for v in (mean, std))
    if len(means) != len(stds):
        raise ValueError(f"{name}: mean has {len(means)} values and std has {len(stds)}")
    if 0 in stds:
        raise ValueError(f"{name}: std contains zero, which would lead to division by zero: {stds}")
    return means, stds


def _normalize(xp: Backend, array: Any, means: list[float], stds: list[float], inplace: bool) -> Any:
    if array.dtype.kind != "f":
        raise TypeError(f"normalize: expected images of a floating point dtype, got {array.dtype}; apply ToDtype first")
    if len(means) not in (1, array.shape[-3]):
        raise ValueError(f"normalize: {len(means)} means for images of {array.shape[-3]} channels, shape {array.shape}")
    mean, std = (xp.from_numpy(np.array(v, dtype=array.dtype).reshape(-1, 1, 1)) for v in (means, stds))
    out = xp.subtract(array, mean, out=array) if inplace else array - mean
    out /= std
    return out


def _refuse_pil(image: Any, name: str) -> None:
    if is_pil(image):
        raise TypeError(f"{name}: expected a Tensor or an array, got a PIL image; apply ToImage first")
    shape_of(image, name)
