"""Random transforms of colours and levels.

The images have 1 or 3 channels (see ``minidl.transforms.functional.color``). Each image of a batch gets factors of its own, and
how many numbers are drawn for it does not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.data import draws
from minidl.transforms.functional import color as F
from minidl.transforms.functional import levels as L
from minidl.transforms.groups import by_group
from minidl.transforms.images import images_in, shape_of
from minidl.transforms.transform import Transform

_ADJUST: list[tuple[str, Callable[[Any, Any], Any]]] = [
    ("brightness_factor", F.adjust_brightness),
    ("contrast_factor", F.adjust_contrast),
    ("saturation_factor", F.adjust_saturation),
    ("hue_factor", F.adjust_hue),
]


class Grayscale(Transform):
    """Turn images grey.

    Args:
        num_output_channels: 1, or 3 for three equal channels.

    Raises:
        ValueError: when called, if it is another number.

    Example:
        >>> Grayscale()(minidl.rand(8, 3, 32, 32)).shape
        (8, 1, 32, 32)
    """

    def __init__(self, num_output_channels: int = 1) -> None:
        self.num_output_channels = num_output_channels

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return F.rgb_to_grayscale(image, self.num_output_channels)

    def extra_repr(self) -> str:
        return f"num_output_channels={self.num_output_channels}"


class _RandomApply(Transform):
    """Does something, the method ``change``, to each image with probability ``p``."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p should be a number in [0, 1], got {p}")
        self.p = p

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``{"apply": bool array (N,)}``."""
        return {"apply": draws.uniform(images_in(shape), 1)[:, 0] < self.p}

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return by_group(image, _keys(params["apply"]), lambda _, images, rows: self.change(images))

    def change(self, image: Any) -> Any:
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"p={self.p}"


def _keys(chosen: np.ndarray) -> np.ndarray:
    """Keys for ``by_group``: 0 for the images that are chosen."""
    return np.where(chosen, 0, -1)


class RandomGrayscale(_RandomApply):
    """Turn each image grey with probability ``p``; the number of channels stays.

    Raises:
        ValueError: if ``p`` lies outside [0, 1].
    """

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p)

    def change(self, image: Any) -> Any:
        return F.rgb_to_grayscale(image, shape_of(image)[-3])


class RandomInvert(_RandomApply):
    """Make a negative of each image with probability ``p``.

    Raises:
        ValueError: if ``p`` lies outside [0, 1].
    """

    def change(self, image: Any) -> Any:
        return L.invert(image)


class RandomPosterize(_RandomApply):
    """Keep the ``bits`` highest bits of the values (0 to 8), in each image with probability ``p``.

    Raises:
        ValueError: if ``p`` lies outside [0, 1].
        TypeError: when called, if ``bits`` is no integer in [0, 8].
    """

    def __init__(self, bits: int, p: float = 0.5) -> None:
        super().__init__(p)
        self.bits = bits

    def change(self, image: Any) -> Any:
        return L.posterize(image, self.bits)

    def extra_repr(self) -> str:
        return f"bits={self.bits}, p={self.p}"


class RandomSolarize(_RandomApply):
    """Invert the values from ``threshold`` upwards (in the units of the images), in each image with probability ``p``.

    Raises:
        ValueError: if ``p`` lies outside [0, 1].
        TypeError: when called with arrays, if the threshold lies above white.
    """

    def __init__(self, threshold: float, p: float = 0.5) -> None:
        super().__init__(p)
        self.threshold = threshold

    def change(self, image: Any) -> Any:
        return L.solarize(image, self.threshold)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, p={self.p}"


class RandomAdjustSharpness(_RandomApply):
    """Blur (factor 0) or sharpen (factor 2) each image with probability ``p``.

    Raises:
        ValueError: if ``p`` lies outside [0, 1]; when called, if the factor is negative.
    """

    def __init__(self, sharpness_factor: float, p: float = 0.5) -> None:
        super().__init__(p)
        self.sharpness_factor = sharpness_factor

    def change(self, image: Any) -> Any:
        return L.adjust_sharpness(image, self.sharpness_factor)

    def extra_repr(self) -> str:
        return f"sharpness_factor={self.sharpness_factor}, p={self.p}"


class RandomAutocontrast(_RandomApply):
    """Stretch the values of each image from black to white, with probability ``p``.

    Raises:
        ValueError: if ``p`` lies outside [0, 1].
    """

    def change(self, image: Any) -> Any:
        return L.autocontrast(image)


class RandomEqualize(_RandomApply):
    """Make the levels of each image equally frequent, with probability ``p``.

    Raises:
        ValueError: if ``p`` lies outside [0, 1].
    """

    def change(self, image: Any) -> Any:
        return L.equalize(image)


class ColorJitter(Transform):
    """Change brightness, contrast, saturation and hue by random factors, in random order.

    Args:
        brightness, contrast, saturation: a factor is drawn from [max(0, 1 − value), 1 + value], or from the given (low, high).
        hue: the hue is turned by a part of the circle from [−value, value], or from the given (low, high); at most 0.5.

    None, or a range that holds nothing but the factor that changes nothing, leaves a step out.

    Raises:
        ValueError: if a number is negative, or a range reaches beyond [0, ∞), or [−0.5, 0.5] for hue.
        TypeError: if something is neither a number nor two.

    Example:
        >>> jitter = ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
        >>> jitter(minidl.rand(8, 3, 32, 32)).shape
        (8, 3, 32, 32)
    """

    def __init__(
        self,
        brightness: float | Sequence[float] | None = None,
        contrast: float | Sequence[float] | None = None,
        saturation: float | Sequence[float] | None = None,
        hue: float | Sequence[float] | None = None,
    ) -> None:
        name = type(self).__name__
        self.brightness = _factors(brightness, f"{name}: brightness")
        self.contrast = _factors(contrast, f"{name}: contrast")
        self.saturation = _factors(saturation, f"{name}: saturation")
        self.hue = _factors(hue, f"{name}: hue", middle=0.0, bounds=(-0.5, 0.5))

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``fn_idx``, int array (N, 4): which adjustment is made first, second, …; and the four factors, each an array
        (N,) or None: ``brightness_factor`` (0), ``contrast_factor`` (1), ``saturation_factor`` (2), ``hue_factor`` (3)."""
        u = draws.uniform(images_in(shape), 8)
        params: dict[str, Any] = {"fn_idx": np.argsort(u[:, :4], axis=1, kind="stable")}
        ranges = (self.brightness, self.contrast, self.saturation, self.hue)
        for i, ((name, _), given) in enumerate(zip(_ADJUST, ranges, strict=True)):
            params[name] = None if given is None else _between(*given, u[:, 4 + i])
        return params

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        wanted = np.array([params[name] is not None for name, _ in _ADJUST])

        def adjust(i: int, images: Any, rows: np.ndarray) -> Any:
            name, function = _ADJUST[i]
            return function(images, params[name][rows])

        for step in range(4):
            which = params["fn_idx"][:, step]
            image = by_group(image, np.where(wanted[which], which, -1), adjust)
        return image

    def extra_repr(self) -> str:
        return f"brightness={self.brightness}, contrast={self.contrast}, saturation={self.saturation}, hue={self.hue}"


class RandomPhotometricDistort(Transform):
    """SSD's distortions: of brightness, contrast, saturation, hue and the order of channels, each with probability ``p``.

    Contrast comes second or, as often, last but one. Source: Liu, Anguelov, Erhan et al., "SSD: Single Shot MultiBox Detector",
    arXiv:1512.02325, section 2.2; the arguments are torchvision's.

    Args:
        brightness, contrast, saturation, hue: the range (low, high) of the factor.
        p: the probability of each of the five.

    Raises:
        ValueError: if ``p`` lies outside [0, 1], or a range is not possible.
        TypeError: if a range has not two numbers.
    """

    def __init__(
        self,
        brightness: tuple[float, float] = (0.875, 1.125),
        contrast: tuple[float, float] = (0.5, 1.5),
        saturation: tuple[float, float] = (0.5, 1.5),
        hue: tuple[float, float] = (-0.05, 0.05),
        p: float = 0.5,
    ) -> None:
        name = type(self).__name__
        if not 0 <= p <= 1:
            raise ValueError(f"{name}: p should be a number in [0, 1], got {p}")
        for what, value in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
            _factors(value, f"{name}: {what}")
        _factors(hue, f"{name}: hue", middle=0.0, bounds=(-0.5, 0.5))
        self.brightness, self.contrast, self.saturation, self.hue, self.p = brightness, contrast, saturation, hue, p

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return the four factors (N,); ``apply``, bool array (N, 5): which of them, and whether the channels are permuted;
        ``contrast_before``, bool array (N,); ``channel_permutation``, int array (N, C)."""
        u = draws.uniform(images_in(shape), 10 + shape[-3])
        ranges = (self.brightness, self.contrast, self.saturation, self.hue)
        params = {
            name: _between(*given, u[:, i]) for i, ((name, _), given) in enumerate(zip(_ADJUST, ranges, strict=True))
        }
        return {
            **params,
            "apply": u[:, 4:9] < self.p,
            "contrast_before": u[:, 9] < 0.5,
            "channel_permutation": np.argsort(u[:, 10:], axis=1, kind="stable"),
        }

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        apply, before = params["apply"], params["contrast_before"]
        contrast = apply[:, 1]
        steps = [
            (0, apply[:, 0]),
            (1, contrast & before),
            (2, apply[:, 2]),
            (3, apply[:, 3]),
            (1, contrast & ~before),
        ]

        def adjust(i: int, images: Any, rows: np.ndarray) -> Any:
            name, function = _ADJUST[i]
            return function(images, params[name][rows])

        for i, chosen in steps:
            image = by_group(image, np.where(chosen, i, -1), adjust)
        permutation = params["channel_permutation"]
        return by_group(
            image, _keys(apply[:, 4]), lambda _, images, rows: F.permute_channels(images, permutation[rows])
        )

    def extra_repr(self) -> str:
        return f"brightness={self.brightness}, contrast={self.contrast}, saturation={self.saturation}, hue={self.hue}, p={self.p}"


class RandomChannelPermutation(Transform):
    """Put the channels of each image in a random order."""

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``{"permutation": int array (N, C)}``."""
        u = draws.uniform(images_in(shape), shape[-3])
        return {"permutation": np.argsort(u, axis=1, kind="stable")}

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return F.permute_channels(image, params["permutation"])


class ColorCast(Transform):
    """Give each image a tint: x · (1 + scale) + shift, with random numbers for each channel, cut off at black and white.

    Args:
        shift: drawn from [−shift, shift], or from the given (low, high); in fractions of the full range.
        scale: likewise.
        p: the probability that an image is changed.

    Raises:
        ValueError: if ``p`` lies outside [0, 1], or a range outside [−1, 1].
        TypeError: if a range is neither a number nor two.

    Not in torchvision. Source: Wu, Yan, Shan, Dang and Sun, "Deep Image: Scaling up Image Recognition", arXiv:1501.02876, on
    data augmentation, where a number from −20 to 20 (of 255) is added to some of the channels.

    Example:
        >>> ColorCast(shift=0.08, scale=0)(minidl.rand(8, 3, 32, 32)).shape
        (8, 3, 32, 32)
    """

    def __init__(
        self, shift: float | Sequence[float] = 0.1, scale: float | Sequence[float] = 0.1, p: float = 1.0
    ) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"ColorCast: p should be a number in [0, 1], got {p}")
        self.shift, self.scale = (
            _range(v, f"ColorCast: {name}", middle=0.0, bounds=(-1.0, 1.0))
            for name, v in (("shift", shift), ("scale", scale))
        )
        self.p = p

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``apply``, bool array (N,), and ``shift`` and ``scale``, arrays (N, C)."""
        channels = shape[-3]
        u = draws.uniform(images_in(shape), 1 + 2 * channels)
        return {
            "apply": u[:, 0] < self.p,
            "shift": _between(*self.shift, u[:, 1 : 1 + channels]),
            "scale": _between(*self.scale, u[:, 1 + channels :]),
        }

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return by_group(
            image,
            _keys(params["apply"]),
            lambda _, images, rows: F.cast_color(images, params["shift"][rows], params["scale"][rows]),
        )

    def extra_repr(self) -> str:
        return f"shift={self.shift}, scale={self.scale}, p={self.p}"


def _between(low: float, high: float, u: np.ndarray) -> np.ndarray:
    return low + u * (high - low)


def _range(value: Any, what: str, middle: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """(low, high) from that, or from a number: the middle ± it."""
    if isinstance(value, (int, float)):
        if value < 0:
            raise ValueError(f"{what} should be >= 0 if it is a single number, got {value}")
        low, high = middle - value, middle + value
        if bounds[0] == 0:
            low = max(low, 0.0)
    elif isinstance(value, Sequence) and len(value) == 2:
        low, high = value
    else:
        raise TypeError(f"{what} should be a number or two, (low, high), got {value!r}")
    if not bounds[0] <= low <= high <= bounds[1]:
        raise ValueError(f"{what} should be a range within {bounds}, got {(low, high)}")
    return float(low), float(high)


def _factors(
    value: Any, what: str, middle: float = 1.0, bounds: tuple[float, float] = (0.0, float("inf"))
) -> tuple[float, float] | None:
    """The range of a factor; None where there is nothing to draw."""
    given = None if value is None else _range(value, what, middle, bounds)
    return None if given == (middle, middle) else given
