"""AutoAugment, RandAugment, TrivialAugment and AugMix: random operations of random magnitude, for each image its own.

What is drawn are an operation (a number into ``OPERATIONS``, or −1 for none) and a magnitude in the operation's own units. The
images of a batch that get the same operation go through it together, each with its magnitude.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.backend import Backend
from minidl.data import draws
from minidl.transforms.arguments import check_fill
from minidl.transforms.distributions import beta, dirichlet
from minidl.transforms.functional import color as F
from minidl.transforms.functional import levels as L
from minidl.transforms.functional.blur import through_array
from minidl.transforms.functional.warp import affine, rotate
from minidl.transforms.groups import by_group
from minidl.transforms.images import images_in, is_pil, on_array
from minidl.transforms.interpolation import InterpolationMode, check_interpolation
from minidl.transforms.policies import AutoAugmentPolicy, policy_of
from minidl.transforms.transform import Transform

Fill = float | Sequence[float] | None

# The magnitude of the geometric ones is a tangent, pixels or degrees; of the next four a factor minus 1; of Posterize
# bits; of Solarize a threshold from 0 to 1. The rest has none.
_GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
_ENHANCING = ("Brightness", "Color", "Contrast", "Sharpness")
OPERATIONS = (*_GEOMETRIC, *_ENHANCING, "Posterize", "Solarize", "AutoContrast", "Equalize", "Invert")
_SIGNED = np.isin(OPERATIONS, _GEOMETRIC + _ENHANCING)  # whose magnitude is as often negative

_COLORS: dict[str, Callable[[Any, np.ndarray], Any]] = {
    "Brightness": lambda image, m: F.adjust_brightness(image, 1.0 + m),
    "Color": lambda image, m: F.adjust_saturation(image, 1.0 + m),
    "Contrast": lambda image, m: F.adjust_contrast(image, 1.0 + m),
    "Sharpness": lambda image, m: L.adjust_sharpness(image, 1.0 + m),
    "Posterize": lambda image, m: L.posterize(image, m.astype(np.int64)),
    "Solarize": lambda image, m: L.solarize(image, m * _white(image)),
    "AutoContrast": lambda image, m: L.autocontrast(image),
    "Equalize": lambda image, m: L.equalize(image),
    "Invert": lambda image, m: L.invert(image),
}


def _white(image: Any) -> float:
    return 1.0 if not is_pil(image) and image.dtype.kind == "f" else 255.0


def _magnitudes(bins: int, **highest: Any) -> np.ndarray:
    """A table (operation, bin) of magnitudes, which grow from nothing to the highest.

    Args:
        bins: how many there are.
        highest: of ``shear``, ``translate_x``, ``translate_y``, ``rotate`` and ``enhance``; and for ``posterize`` the bits at
            the lowest and at the highest magnitude.
    """
    most, least = highest["posterize"]
    table = np.zeros((len(OPERATIONS), bins))
    table[0:2] = np.linspace(0.0, highest["shear"], bins)
    table[2] = np.linspace(0.0, highest["translate_x"], bins)
    table[3] = np.linspace(0.0, highest["translate_y"], bins)
    table[4] = np.linspace(0.0, highest["rotate"], bins)
    table[5:9] = np.linspace(0.0, highest["enhance"], bins)
    table[9] = np.round(most - np.arange(bins) * (most - least) / max(bins - 1, 1))
    table[10] = np.linspace(1.0, 0.0, bins)
    return table


def _usual_magnitudes(bins: int, shape: tuple[int, ...]) -> np.ndarray:
    """Those of AutoAugment's paper (appendix); RandAugment has the same."""
    height, width = shape[-2:]
    part = 150 / 331  # of images of 331 × 331 in the paper
    return _magnitudes(
        bins, shear=0.3, translate_x=part * width, translate_y=part * height, rotate=30.0, enhance=0.9, posterize=(8, 4)
    )


def _pick(u: np.ndarray, choices: int) -> np.ndarray:
    """Integers from 0 to choices − 1, out of uniform numbers."""
    return (u * choices).astype(np.int64)


def _signs(operations: np.ndarray, u: np.ndarray) -> np.ndarray:
    return np.where(_SIGNED[operations] & (u < 0.5), -1.0, 1.0)


class _Automatic(Transform):
    """What the four share: carrying out operations.

    Raises:
        ValueError: for an unknown interpolation.
        TypeError: if ``fill`` is neither a number nor a sequence.
    """

    def __init__(self, interpolation: InterpolationMode | str | int, fill: Fill) -> None:
        self.interpolation = check_interpolation(interpolation, type(self).__name__)
        self.fill = check_fill(fill, type(self).__name__)

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return self._carry_out(image, params["op"], params["magnitude"])

    def _carry_out(self, image: Any, operations: np.ndarray, magnitudes: np.ndarray) -> Any:
        """One operation after the other: arrays (N, steps)."""
        for step in range(operations.shape[1]):

            def one(i: int, images: Any, rows: np.ndarray, sizes: np.ndarray = magnitudes[:, step]) -> Any:
                return self._operate(OPERATIONS[i], images, sizes[rows])

            image = by_group(image, operations[:, step], one)
        return image

    def _operate(self, name: str, image: Any, magnitude: np.ndarray) -> Any:
        """One operation on one image, or on a batch with as many magnitudes."""
        if name in _COLORS:
            return _COLORS[name](image, magnitude)
        if name == "Rotate":
            return rotate(image, magnitude, self.interpolation, fill=self.fill)
        along = np.zeros((len(magnitude), 2))
        translate: Any = (0, 0)
        shear: Any = (0.0, 0.0)
        center = None
        if name.startswith("Shear"):
            # The paper's shear moves row y by magnitude · y. It is affine's angle whose tangent is that; the corner stays.
            along[:, "XY".index(name[-1])] = [math.degrees(math.atan(m)) for m in magnitude]
            shear, center = along, (0.0, 0.0)
        else:
            along[:, "XY".index(name[-1])] = np.trunc(magnitude)
            translate = along
        return affine(image, 0.0, translate, 1.0, shear, self.interpolation, self.fill, center)

    def _shared_repr(self) -> str:
        return f"interpolation={self.interpolation}, fill={self.fill}"


class AutoAugment(_Automatic):
    """Two operations on each image, by a line of a learned policy; their magnitudes and probabilities belong to the line.

    Args:
        policy: the data set for which the policy was found.
        interpolation, fill: for shearing, shifting and rotating, as in ``functional.affine``.

    Raises:
        ValueError: for an unknown policy or interpolation.
        TypeError: if ``fill`` is neither a number nor a sequence.

    Source: Cubuk, Zoph, Mané, Vasudevan and Le, "AutoAugment: Learning Augmentation Strategies from Data", arXiv:1805.09501.

    Example:
        >>> augment = AutoAugment(AutoAugmentPolicy.CIFAR10)
        >>> augment(np.zeros((8, 3, 32, 32), np.uint8)).shape
        (8, 3, 32, 32)
    """

    def __init__(
        self,
        policy: AutoAugmentPolicy = AutoAugmentPolicy.IMAGENET,
        interpolation: InterpolationMode | str | int = InterpolationMode.NEAREST,
        fill: Fill = None,
    ) -> None:
        super().__init__(interpolation, fill)
        self.policy = policy
        names, self._probabilities, self._bins = policy_of(policy)
        self._operations = np.array([[OPERATIONS.index(name) for name in line] for line in names])

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``op``, int array (N, 2), −1 where nothing is done, and ``magnitude``, array (N, 2)."""
        u = draws.uniform(images_in(shape), 5)
        line = _pick(u[:, 0], len(self._operations))
        op = self._operations[line]
        magnitude = _usual_magnitudes(10, shape)[op, self._bins[line]] * _signs(op, u[:, 3:5])
        return {"op": np.where(u[:, 1:3] < self._probabilities[line], op, -1), "magnitude": magnitude}

    def extra_repr(self) -> str:
        return f"policy={self.policy}, {self._shared_repr()}"


class RandAugment(_Automatic):
    """``num_ops`` operations on each image, drawn from 13 and none, all of one magnitude.

    Args:
        num_ops: how many, one after the other.
        magnitude: number of the magnitude, from 0 to ``num_magnitude_bins`` − 1.
        interpolation, fill: for shearing, shifting and rotating, as in ``functional.affine``.

    Raises:
        ValueError: for a negative ``num_ops``, a magnitude that is none, or an unknown interpolation.
        TypeError: if ``fill`` is neither a number nor a sequence.

    Source: Cubuk, Zoph, Shlens and Le, "RandAugment: Practical automated data augmentation with a reduced search space",
    arXiv:1909.13719.
    """

    _choices = np.array([-1, *range(OPERATIONS.index("Invert"))])

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: int = 9,
        num_magnitude_bins: int = 31,
        interpolation: InterpolationMode | str | int = InterpolationMode.NEAREST,
        fill: Fill = None,
    ) -> None:
        super().__init__(interpolation, fill)
        if not isinstance(num_ops, int) or num_ops < 0:
            raise ValueError(f"RandAugment: num_ops should be an integer >= 0, got {num_ops}")
        if not 0 <= magnitude < num_magnitude_bins:
            raise ValueError(f"RandAugment: magnitude should lie in [0, {num_magnitude_bins - 1}], got {magnitude}")
        self.num_ops = num_ops
        self.magnitude = magnitude
        self.num_magnitude_bins = num_magnitude_bins

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``op``, int array (N, num_ops), −1 where nothing is done, and ``magnitude``, array (N, num_ops)."""
        u = draws.uniform(images_in(shape), 2 * self.num_ops)
        op = self._choices[_pick(u[:, : self.num_ops], len(self._choices))]
        sizes = _usual_magnitudes(self.num_magnitude_bins, shape)[op, self.magnitude]
        return {"op": op, "magnitude": sizes * _signs(op, u[:, self.num_ops :])}

    def extra_repr(self) -> str:
        return (
            f"num_ops={self.num_ops}, magnitude={self.magnitude}, num_magnitude_bins={self.num_magnitude_bins}, "
            f"{self._shared_repr()}"
        )


class TrivialAugmentWide(_Automatic):
    """One operation on each image, drawn from 13 and none, of a random magnitude from a wide range.

    Args:
        num_magnitude_bins: how many magnitudes there are.
        interpolation, fill: for shearing, shifting and rotating, as in ``functional.affine``.

    Raises:
        ValueError: if there is not one magnitude, or for an unknown interpolation.
        TypeError: if ``fill`` is neither a number nor a sequence.

    Source: Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", arXiv:2103.10158.
    """

    _choices = RandAugment._choices

    def __init__(
        self,
        num_magnitude_bins: int = 31,
        interpolation: InterpolationMode | str | int = InterpolationMode.NEAREST,
        fill: Fill = None,
    ) -> None:
        super().__init__(interpolation, fill)
        if num_magnitude_bins < 1:
            raise ValueError(f"TrivialAugmentWide: num_magnitude_bins should be positive, got {num_magnitude_bins}")
        self.num_magnitude_bins = num_magnitude_bins
        self._table = _magnitudes(
            num_magnitude_bins,
            shear=0.99,
            translate_x=32.0,
            translate_y=32.0,
            rotate=135.0,
            enhance=0.99,
            posterize=(8, 2),
        )

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``op``, int array (N, 1), −1 where nothing is done, and ``magnitude``, array (N, 1)."""
        u = draws.uniform(images_in(shape), 3)
        op = self._choices[_pick(u[:, 0:1], len(self._choices))]
        sizes = self._table[op, _pick(u[:, 1:2], self.num_magnitude_bins)]
        return {"op": op, "magnitude": sizes * _signs(op, u[:, 2:3])}

    def extra_repr(self) -> str:
        return f"num_magnitude_bins={self.num_magnitude_bins}, {self._shared_repr()}"


class AugMix(_Automatic):
    """A mixture of each image with several results of random chains of operations.

    Args:
        severity: how many of the ten magnitudes, from the weakest, there are to draw from.
        mixture_width: how many chains.
        chain_depth: how many operations a chain has; if not positive, each has 1 to 3 at random.
        alpha: parameter of the weights' distributions: Beta(alpha, alpha) for the image itself, and Dirichlet(alpha, …) for
            the chains. See ``minidl.transforms.distributions`` for how they are drawn.
        all_ops: whether brightness, colour, contrast and sharpness are among the operations.
        interpolation, fill: for shearing, shifting and rotating, as in ``functional.affine``.

    Raises:
        ValueError: for a severity outside [1, 10], a width below 1, an ``alpha`` that is not positive, or an unknown
            interpolation.
        TypeError: if ``fill`` is neither a number nor a sequence.

    As in torchvision, a PIL image is done as an array. uint8 results are rounded to the nearest (torchvision drops the
    fraction).

    Source: Hendrycks, Mu, Cubuk, Zoph, Gilmer and Lakshminarayanan, "AugMix: A Simple Data Processing Method to Improve
    Robustness and Uncertainty", arXiv:1912.02781.
    """

    def __init__(
        self,
        severity: int = 3,
        mixture_width: int = 3,
        chain_depth: int = -1,
        alpha: float = 1.0,
        all_ops: bool = True,
        interpolation: InterpolationMode | str | int = InterpolationMode.BILINEAR,
        fill: Fill = None,
    ) -> None:
        super().__init__(interpolation, fill)
        if not 1 <= severity <= 10:
            raise ValueError(f"AugMix: severity should lie in [1, 10], got {severity}")
        if mixture_width < 1:
            raise ValueError(f"AugMix: mixture_width should be at least 1, got {mixture_width}")
        if not alpha > 0:
            raise ValueError(f"AugMix: alpha should be positive, got {alpha}")
        self.severity = severity
        self.mixture_width = mixture_width
        self.chain_depth = chain_depth
        self.alpha = alpha
        self.all_ops = all_ops
        names = [name for name in OPERATIONS[:-1] if all_ops or name not in _ENHANCING]
        self._choices = np.array([OPERATIONS.index(name) for name in names])

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``op``, int array (N, mixture_width, depth), −1 beyond a chain's end, and ``magnitude``, likewise;
        ``weight``, array (N, 1 + mixture_width): of the image itself and of the chains, 1 together."""
        rows, width, depth = images_in(shape), self.mixture_width, self.chain_depth if self.chain_depth > 0 else 3
        u = draws.uniform(rows, 2 + width + width + 3 * width * depth)
        kept = beta(u[:, :2], self.alpha)[:, None]
        shares = dirichlet(u[:, 2 : 2 + width], self.alpha)
        lengths = depth if self.chain_depth > 0 else 1 + _pick(u[:, 2 + width : 2 + 2 * width, None], depth)
        which, size, sign = u[:, 2 + 2 * width :].reshape(rows, 3, width, depth).transpose(1, 0, 2, 3)
        op = self._choices[_pick(which, len(self._choices))]
        height, wide = shape[-2:]
        table = _magnitudes(
            10, shear=0.3, translate_x=wide / 3, translate_y=height / 3, rotate=30.0, enhance=0.9, posterize=(4, 0)
        )
        return {
            "op": np.where(np.arange(depth) < lengths, op, -1),
            "magnitude": table[op, _pick(size, self.severity)] * _signs(op, sign),
            "weight": np.concatenate([kept, shares * (1 - kept)], axis=1),
        }

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        if is_pil(image):
            return through_array(image, lambda array: on_array(array, self._mix, params))
        return on_array(image, self._mix, params)

    def _mix(self, xp: Backend, array: Any, params: dict[str, Any]) -> Any:
        images = array if array.ndim == 4 else array[None]
        n, width, depth = params["op"].shape
        # All chains run together, as a batch of width · N images: first chain 0 of every image, then chain 1, …
        op, magnitude = (params[key].transpose(1, 0, 2).reshape(width * n, depth) for key in ("op", "magnitude"))
        chains = self._carry_out(xp.concatenate([images] * width), op, magnitude).reshape(width, *images.shape)
        dtype = np.dtype(np.float32) if array.dtype == np.uint8 else array.dtype
        weights = xp.from_numpy(params["weight"].T.astype(dtype)[..., None, None, None])
        out = images * weights[0]
        for chain, weight in zip(chains, weights[1:], strict=True):
            out += chain * weight
        out = xp.rint(out).astype(np.uint8) if array.dtype == np.uint8 else out
        return out if array.ndim == 4 else out[0]

    def extra_repr(self) -> str:
        return (
            f"severity={self.severity}, mixture_width={self.mixture_width}, chain_depth={self.chain_depth}, "
            f"alpha={self.alpha}, all_ops={self.all_ops}, {self._shared_repr()}"
        )
