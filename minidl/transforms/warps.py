"""Random warps: affine maps, rotation, perspective and elastic distortion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.backend import Backend
from minidl.data import draws
from minidl.transforms.arguments import check_fill, check_probability
from minidl.transforms.fields import uniform_field
from minidl.transforms.functional.blur import gaussian_blur
from minidl.transforms.functional.sampling import MODES
from minidl.transforms.functional.warp import Fill, affine, elastic, perspective, perspective_coefficients, rotate
from minidl.transforms.images import images_in, is_pil, on_array
from minidl.transforms.interpolation import InterpolationMode, check_interpolation
from minidl.transforms.transform import Transform


class RandomAffine(Transform):
    """Rotate, shift, scale and shear each image by random amounts; see ``functional.affine``.

    Args:
        degrees: the rotation is drawn from (−degrees, degrees), or from the range (min, max). 0 for none.
        translate: (a, b) for shifts of up to a · width and b · height, in whole pixels; None for none.
        scale: the factor is drawn from this range; None for 1.
        shear: degrees along x, drawn from (−shear, shear) or (min, max); four numbers are ranges along x and y. None for
            none.
        interpolation: NEAREST, BILINEAR or BICUBIC, its name ("bilinear"), or Pillow's constant for it.
        fill: value of pixels that come from outside of the image, a number, or one for each channel; None is 0.
        center: (x, y) of the point that rotation, scaling and shear leave where it is; None is the middle.

    Raises:
        TypeError, ValueError: for a wrong argument; the message says which.

    Example:
        >>> RandomAffine(15, translate=(0.1, 0.1), scale=(0.9, 1.1))(minidl.zeros(64, 1, 28, 28)).shape
        (64, 1, 28, 28)
    """

    def __init__(
        self,
        degrees: float | Sequence[float],
        translate: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        shear: float | Sequence[float] | None = None,
        interpolation: InterpolationMode | str | int = InterpolationMode.NEAREST,
        fill: Fill = 0,
        center: Sequence[float] | None = None,
    ) -> None:
        self.degrees = _angles(degrees, "RandomAffine: degrees")
        self.translate = None if translate is None else _numbers(translate, "RandomAffine: translate")
        if self.translate is not None and not all(0 <= t <= 1 for t in self.translate):
            raise ValueError(f"RandomAffine: translate should be two numbers between 0 and 1, got {translate}")
        self.scale = None if scale is None else _numbers(scale, "RandomAffine: scale")
        if self.scale is not None and min(self.scale) <= 0:
            raise ValueError(f"RandomAffine: scale should be positive, got {scale}")
        self.shear = None if shear is None else _angles(shear, "RandomAffine: shear", (2, 4))
        self.interpolation = _mode(interpolation, "RandomAffine")
        self.fill = check_fill(fill, "RandomAffine")
        self.center = None if center is None else _numbers(center, "RandomAffine: center")

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``{"angle": (N,), "translate": (N, 2), "scale": (N,), "shear": (N, 2)}``, as ``affine`` takes them."""
        height, width = shape[-2:]
        u = draws.uniform(images_in(shape), 6)
        right, down = self.translate or (0.0, 0.0)
        farthest = np.array([right * width, down * height])
        x0, x1, y0, y1 = (*(self.shear or (0.0, 0.0)), 0.0, 0.0)[:4]
        return {
            "angle": _between(self.degrees, u[:, 0]),
            "translate": np.rint((2 * u[:, 1:3] - 1) * farthest),
            "scale": _between(self.scale or (1.0, 1.0), u[:, 3]),
            "shear": np.stack([_between((x0, x1), u[:, 4]), _between((y0, y1), u[:, 5])], axis=1),
        }

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return affine(image, **params, interpolation=self.interpolation, fill=self.fill, center=self.center)

    def extra_repr(self) -> str:
        return (
            f"degrees={self.degrees}, translate={self.translate}, scale={self.scale}, shear={self.shear}, "
            f"interpolation={self.interpolation}, fill={self.fill}, center={self.center}"
        )


class RandomRotation(Transform):
    """Rotate each image counterclockwise by a random angle; see ``functional.rotate``.

    Args:
        degrees: the angle is drawn from (−degrees, degrees), or from the range (min, max).
        interpolation, fill: as in ``RandomAffine``.
        expand: make the result as large as needed to hold the whole image. A batch of images that would then differ in
            size is refused.
        center: (x, y) of the point that stays where it is; None is the middle.

    Raises:
        TypeError, ValueError: for a wrong argument; the message says which.
        ValueError: when called with ``expand=True``, if the images of a batch would differ in size.

    Example:
        >>> RandomRotation((90, 90), expand=True)(minidl.zeros(2, 1, 3, 5)).shape
        (2, 1, 5, 3)
    """

    def __init__(
        self,
        degrees: float | Sequence[float],
        interpolation: InterpolationMode | str | int = InterpolationMode.NEAREST,
        expand: bool = False,
        center: Sequence[float] | None = None,
        fill: Fill = 0,
    ) -> None:
        self.degrees = _angles(degrees, "RandomRotation: degrees")
        self.interpolation = _mode(interpolation, "RandomRotation")
        self.expand = expand
        self.center = None if center is None else _numbers(center, "RandomRotation: center")
        self.fill = check_fill(fill, "RandomRotation")

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``{"angle": float array (N,)}``, in degrees."""
        return {"angle": _between(self.degrees, draws.uniform(images_in(shape), 1)[:, 0])}

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return rotate(image, params["angle"], self.interpolation, self.expand, self.center, self.fill)

    def extra_repr(self) -> str:
        return (
            f"degrees={self.degrees}, interpolation={self.interpolation}, expand={self.expand}, center={self.center}, "
            f"fill={self.fill}"
        )


class RandomPerspective(Transform):
    """See each image from another side with probability ``p``: its corners move inwards; see ``functional.perspective``.

    Args:
        distortion_scale: how far the corners go at most, from 0 to 1, where 1 is to the middle.
        p: probability.
        interpolation, fill: as in ``RandomAffine``.

    Raises:
        TypeError, ValueError: for a wrong argument; the message says which.

    Example:
        >>> RandomPerspective(p=1.0)(minidl.zeros(2, 1, 28, 28)).shape
        (2, 1, 28, 28)
    """

    def __init__(
        self,
        distortion_scale: float = 0.5,
        p: float = 0.5,
        interpolation: InterpolationMode | str | int = InterpolationMode.BILINEAR,
        fill: Fill = 0,
    ) -> None:
        if not 0 <= distortion_scale <= 1:
            raise ValueError(f"RandomPerspective: distortion_scale should be between 0 and 1, got {distortion_scale}")
        self.distortion_scale = distortion_scale
        self.p = check_probability(p, "RandomPerspective")
        self.interpolation = _mode(interpolation, "RandomPerspective")
        self.fill = check_fill(fill, "RandomPerspective")

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``{"chosen": bool array (N,), "coefficients": float array (N, 8)}``."""
        height, width = shape[-2:]
        rows = images_in(shape)
        u = draws.uniform(rows, 9)
        most = np.array([int(self.distortion_scale * (length // 2)) + 1 for length in (width, height)])
        inwards = np.floor(u[:, 1:].reshape(rows, 4, 2) * most)  # whole pixels, below ``most``
        corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]])
        directions = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
        return {
            "chosen": u[:, 0] < self.p,
            "coefficients": perspective_coefficients(corners, corners + directions * inwards),
        }

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        def change(images: Any, rows: np.ndarray) -> Any:
            return perspective(images, None, None, self.interpolation, self.fill, params["coefficients"][rows])

        return _change_chosen(image, params["chosen"], change)

    def extra_repr(self) -> str:
        return f"distortion_scale={self.distortion_scale}, p={self.p}, interpolation={self.interpolation}, fill={self.fill}"


class ElasticTransform(Transform):
    """Distort each image as if it were seen through moving water; see ``functional.elastic``.

    Every pixel gets a random displacement across and down; these are blurred, so that neighbours go together.

    Args:
        alpha: strength: before blurring, displacements reach up to alpha / 2 pixels. Two numbers are for across and down.
        sigma: standard deviation of the blur, in pixels; two numbers are for across and down. 0 for no blur.
        interpolation, fill: as in ``RandomAffine``.

    Raises:
        TypeError, ValueError: for a wrong argument; the message says which.

    Example:
        >>> ElasticTransform(alpha=34.0, sigma=4.0)(minidl.zeros(2, 1, 28, 28)).shape
        (2, 1, 28, 28)

    Source: Simard, Steinkraus and Platt, "Best practices for convolutional neural networks applied to visual document
    analysis", 2003.
    """

    def __init__(
        self,
        alpha: float | Sequence[float] = 50.0,
        sigma: float | Sequence[float] = 5.0,
        interpolation: InterpolationMode | str | int = InterpolationMode.BILINEAR,
        fill: Fill = 0,
    ) -> None:
        self.alpha = _pair(alpha, "ElasticTransform: alpha")
        self.sigma = _pair(sigma, "ElasticTransform: sigma")
        if min(self.sigma) < 0 or (min(self.sigma) == 0 < max(self.sigma)):
            raise ValueError(f"ElasticTransform: sigma should be positive, or 0 for no blur, got {sigma}")
        self.interpolation = _mode(interpolation, "ElasticTransform")
        self.fill = check_fill(fill, "ElasticTransform")

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``{"displacement": float32 array (N, H, W, 2)}``, in halves of the image's width and height."""
        rows, size = images_in(shape), shape[-2:]
        noise = uniform_field(rows, 2 * size[0] * size[1]).astype(np.float32).reshape(rows, 2, *size) * 2 - 1
        for axis, (alpha, sigma, length) in enumerate(zip(self.alpha, self.sigma, size[::-1], strict=True)):
            if sigma:
                taps = int(8 * sigma + 1) // 2 * 2 + 1
                noise[:, axis : axis + 1] = gaussian_blur(noise[:, axis : axis + 1], taps, self.sigma)
            noise[:, axis] *= alpha / length
        return {"displacement": noise.transpose(0, 2, 3, 1)}

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return elastic(image, params["displacement"], self.interpolation, self.fill)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, sigma={self.sigma}, interpolation={self.interpolation}, fill={self.fill}"


# -- what they share ---------------------------------------------------------------------------------------------------


def _change_chosen(image: Any, chosen: np.ndarray, change: Callable[[Any, np.ndarray], Any]) -> Any:
    """``change`` the chosen images of a batch, given them and their numbers; or the one image."""
    rows = np.flatnonzero(chosen)
    if not len(rows):
        return image
    if is_pil(image) or len(image.shape) == 3 or len(rows) == len(chosen):
        return change(image, rows)

    def change_some(xp: Backend, array: Any) -> Any:
        which = xp.from_numpy(rows)
        out = array.copy()
        out[which] = change(array[which], rows)
        return out

    return on_array(image, change_some)


def _between(limits: Sequence[float], u: np.ndarray) -> np.ndarray:
    return limits[0] + (limits[1] - limits[0]) * u


def _numbers(value: Sequence[float], what: str, lengths: tuple[int, ...] = (2,)) -> tuple[float, ...]:
    wanted = " or ".join(map(str, lengths))
    if not isinstance(value, (list, tuple, np.ndarray)):
        raise TypeError(f"{what} should be a sequence of {wanted} numbers, got {value!r}")
    if len(value) not in lengths:
        raise ValueError(f"{what} should be a sequence of {wanted} numbers, got {len(value)}")
    return tuple(float(x) for x in value)


def _angles(value: float | Sequence[float], what: str, lengths: tuple[int, ...] = (2,)) -> tuple[float, ...]:
    if isinstance(value, (int, float)):
        if value < 0:
            raise ValueError(f"{what}: if it is a single number, it must be >= 0, got {value}")
        return -float(value), float(value)
    return _numbers(value, what, lengths)


def _pair(value: float | Sequence[float], what: str) -> tuple[float, ...]:
    if isinstance(value, (int, float)):
        return float(value), float(value)
    pair = _numbers(value, what, (1, 2))
    return pair if len(pair) == 2 else pair * 2


def _mode(interpolation: InterpolationMode | str | int, name: str) -> InterpolationMode:
    mode = check_interpolation(interpolation, name)
    if mode not in MODES:
        raise ValueError(f"{name}: interpolation should be NEAREST, BILINEAR or BICUBIC, got {mode}")
    return mode
