"""Random blur, random noise, and erasing random rectangles."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from minidl.data import draws
from minidl.transforms.arguments import check_probability
from minidl.transforms.fields import normal_field, to_normal, uniform_field
from minidl.transforms.functional.blur import erase, gaussian_blur, gaussian_noise
from minidl.transforms.images import images_in, is_pil
from minidl.transforms.transform import Transform

_TRIES = 10  # rectangles that RandomErasing draws, of which it takes the first that fits


class GaussianBlur(Transform):
    """Blur each image with a Gaussian of random width; see ``functional.gaussian_blur``.

    Args:
        kernel_size: odd number of pixels that are averaged, or (horizontal, vertical).
        sigma: the standard deviation in pixels is drawn from this range; one number is always taken.

    Raises:
        ValueError: if a kernel size is not an odd positive number, or sigma is not a range of positive numbers.
        TypeError: if sigma is neither a number nor a sequence.

    Example:
        >>> GaussianBlur(5)(minidl.zeros(64, 3, 32, 32)).shape
        (64, 3, 32, 32)
    """

    def __init__(self, kernel_size: int | Sequence[int], sigma: float | Sequence[float] = (0.1, 2.0)) -> None:
        sizes: tuple[Any, ...] = tuple(kernel_size) if isinstance(kernel_size, Iterable) else (kernel_size,)
        odd = all(isinstance(k, (int, float, np.integer)) and k > 0 and k % 2 == 1 for k in sizes)
        if len(sizes) not in (1, 2) or not odd:
            raise ValueError(
                f"GaussianBlur: kernel_size should be one or two odd and positive numbers, got {kernel_size}"
            )
        self.kernel_size = tuple(int(k) for k in (sizes * 2)[:2])
        if not isinstance(sigma, (int, float, list, tuple)):
            raise TypeError(f"GaussianBlur: sigma should be a number or a sequence of two, got {sigma!r}")
        limits = (sigma,) if isinstance(sigma, (int, float)) else tuple(sigma)
        self.sigma = tuple(float(s) for s in (limits * 2 if len(limits) == 1 else limits))
        if len(self.sigma) != 2 or not 0 < self.sigma[0] <= self.sigma[1]:
            raise ValueError(f"GaussianBlur: sigma should be positive and of the form (min, max), got {sigma}")

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``{"sigma": float array (N,)}``."""
        low, high = self.sigma
        return {"sigma": low + (high - low) * draws.uniform(images_in(shape), 1)[:, 0]}

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return gaussian_blur(image, self.kernel_size, params["sigma"])

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, sigma={self.sigma}"


class GaussianNoise(Transform):
    """Add normally distributed noise to every pixel and channel; see ``functional.gaussian_noise``.

    Takes floating point and uint8 images, and PIL images too (torchvision has none for those).

    Args:
        mean, sigma: of the noise, where 1 is the distance from black to white.
        clip: hold the result between black and white.

    Raises:
        ValueError: if sigma is negative.

    Example:
        >>> GaussianNoise(sigma=0.05)(minidl.zeros(64, 3, 32, 32)).shape
        (64, 3, 32, 32)
    """

    def __init__(self, mean: float = 0.0, sigma: float = 0.1, clip: bool = True) -> None:
        if sigma < 0:
            raise ValueError(f"GaussianNoise: sigma shouldn't be negative, got {sigma}")
        self.mean = mean
        self.sigma = sigma
        self.clip = clip

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``{"noise": float32 array (N, C, H, W)}``, standard normal numbers."""
        rows, pixels = images_in(shape), shape[-3:]
        return {"noise": normal_field(rows, int(np.prod(pixels))).reshape(rows, *pixels)}

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return gaussian_noise(image, self.mean, self.sigma, self.clip, params["noise"])

    def extra_repr(self) -> str:
        return f"mean={self.mean}, sigma={self.sigma}, clip={self.clip}"


class RandomErasing(Transform):
    """Erase a random rectangle of each image with probability ``p``; see ``functional.erase``.

    Args:
        p: probability.
        scale: the rectangle's share of the area is drawn from this range. If ten rectangles in turn are as high or as wide
            as the image, or more, it stays as it is.
        ratio: its height by its width is drawn from this range, evenly in its logarithm.
        value: what is put there: a number, one for each channel, or "random" for another in each pixel and channel: standard
            normal in floating point (which suits normalized images), any grey level in integers and PIL images.
            (torchvision makes normal numbers into uint8, too, which leaves next to nothing of them.)
        inplace: write to the image's own memory (never with a PIL image).

    Raises:
        TypeError, ValueError: for a wrong argument; the message says which.
        ValueError: when called with images of another number of channels than ``value`` has.

    Example:
        >>> RandomErasing(p=1.0)(minidl.zeros(64, 3, 32, 32)).shape
        (64, 3, 32, 32)

    Source: Zhong et al., "Random erasing data augmentation", AAAI 2020.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: float | str | Sequence[float] = 0.0,
        inplace: bool = False,
    ) -> None:
        if not isinstance(value, (int, float, str, list, tuple)):
            raise TypeError(f"RandomErasing: value should be a number, a string or a sequence, got {value!r}")
        if isinstance(value, str) and value != "random":
            raise ValueError(f"RandomErasing: if value is a string, it should be 'random', got {value!r}")
        for name, limits in (("scale", scale), ("ratio", ratio)):
            if not isinstance(limits, (list, tuple)) or len(limits) != 2:
                raise TypeError(f"RandomErasing: {name} should be a sequence of two numbers, got {limits!r}")
            if limits[0] > limits[1]:
                warnings.warn(f"RandomErasing: {name} should be of the form (min, max), got {limits}", stacklevel=2)
        if min(scale) < 0 or max(scale) > 1:
            raise ValueError(f"RandomErasing: scale should be between 0 and 1, got {scale}")
        if min(ratio) <= 0:
            raise ValueError(f"RandomErasing: ratio should be positive, got {ratio}")
        self.p = check_probability(p, "RandomErasing")
        self.scale = tuple(scale)
        self.ratio = tuple(ratio)
        self.value = value
        self.inplace = inplace

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``{"i", "j", "h", "w": int arrays (N,)}``, with h = w = 0 where nothing is erased, and, if the value is
        random, ``"u"``: uniform numbers in the shape of the images, and one more if that is odd."""
        channels, height, width = shape[-3:]
        if isinstance(self.value, (list, tuple)) and len(self.value) not in (1, channels):
            raise ValueError(f"RandomErasing: value has {len(self.value)} numbers for images of {channels} channels")
        rows = images_in(shape)
        u = draws.uniform(rows, 3 + 2 * _TRIES)
        chosen, down, across, areas, ratios = u[:, 0] < self.p, u[:, 1], u[:, 2], u[:, 3::2], u[:, 4::2]
        areas = height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * areas)
        low, high = np.log(self.ratio)
        ratios = np.exp(low + (high - low) * ratios)
        heights, widths = np.rint(np.sqrt(areas * ratios)), np.rint(np.sqrt(areas / ratios))
        fits = (heights < height) & (widths < width)
        first = np.arange(rows), fits.argmax(axis=1)
        erased = chosen & fits.any(axis=1)
        h, w = (np.where(erased, lengths[first], 0).astype(np.int64) for lengths in (heights, widths))
        i, j = (down * (height - h + 1)).astype(np.int64), (across * (width - w + 1)).astype(np.int64)
        params: dict[str, Any] = {"i": i, "j": j, "h": h, "w": w}
        if self.value == "random":
            count = channels * height * width
            params["u"] = uniform_field(rows, count + count % 2)
        return params

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        i, j, h, w = (params[name] for name in "ijhw")
        if not (h * w).any():
            return image
        return erase(image, i, j, h, w, self._values(image, params), self.inplace)

    def _values(self, image: Any, params: dict[str, Any]) -> np.ndarray:
        if self.value != "random":
            return np.asarray(self.value, dtype=np.float64).reshape(-1, 1, 1)
        floats = image.mode == "F" if is_pil(image) else np.dtype(image.dtype).kind == "f"
        values = to_normal(params["u"]) if floats else np.floor(params["u"] * 256)
        shape = (len(image.getbands()), image.height, image.width) if is_pil(image) else image.shape
        return values[:, : int(np.prod(shape[-3:]))].reshape(shape)

    def extra_repr(self) -> str:
        return f"p={self.p}, scale={self.scale}, ratio={self.ratio}, value={self.value!r}, inplace={self.inplace}"
