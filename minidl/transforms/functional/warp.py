"""Moving pixels about: affine maps, rotation, perspective and elastic distortion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from minidl.backend import Backend
from minidl.tensor import Tensor
from minidl.transforms.functional.blur import through_array
from minidl.transforms.functional.sampling import (
    NEAREST_MODES,
    affine_places,
    displaced_places,
    fill_values,
    perspective_places,
    warp,
)
from minidl.transforms.images import images_in, is_pil, number, on_array, shape_of
from minidl.transforms.interpolation import InterpolationMode, check_interpolation, to_pillow

Fill = float | Sequence[float] | None

# -- affine maps -------------------------------------------------------------------------------------------------------


def affine(
    image: Any,
    angle: Any,
    translate: Any,
    scale: Any,
    shear: Any,
    interpolation: InterpolationMode | str | int = InterpolationMode.NEAREST,
    fill: Fill = None,
    center: Sequence[float] | None = None,
) -> Any:
    """Shear, scale and rotate an image about a point, and then shift it; the size stays.

    On a PIL image it is Pillow's ``transform``. uint8 arrays come out as PIL images do, but for images with transparency
    that are interpolated (Pillow weighs their colours by it, arrays have no colours). That is so on x86; where
    Pillow is compiled with fused multiplication and addition, a pixel may be one grey level off now and then, and one that
    comes from the very edge of the image may be the fill.

    Args:
        image: a PIL image, an array (C, H, W) or a batch (N, C, H, W).
        angle: of rotation, clockwise, in degrees: a number, or an array (N,) with one for each image.
        translate: how far to the right and down, in pixels: two numbers, or an array (N, 2).
        scale: positive factor: a number, or an array (N,).
        shear: angles in degrees along x and y: a number (x only), two numbers, or an array (N, 2).
        interpolation: NEAREST (or NEAREST_EXACT, the same), BILINEAR or BICUBIC; its name ("bilinear"), or Pillow's constant.
        fill: value of pixels that come from outside of the image, in its units: a number, or one for each channel.
            None is 0.
        center: (x, y) of the point that stays where it is, from the upper left corner; None is the middle.

    Raises:
        TypeError, ValueError: for a wrong argument; the message says which.

    Example:
        >>> affine(np.arange(3.0).reshape(1, 1, 3), angle=0, translate=(1, 0), scale=1, shear=0, fill=9).tolist()
        [[[9.0, 0.0, 1.0]]]
    """
    mode = check_interpolation(interpolation, "affine")
    *_, height, width = shape = shape_of(image, "affine")
    middle = (width * 0.5, height * 0.5) if center is None else _point("affine", center)
    if isinstance(shear, (list, tuple)) and len(shear) == 1:
        shear = [shear[0], shear[0]]
    elif isinstance(shear, (int, float)):
        shear = [shear, 0.0]
    rows = _together(
        "affine",
        angle=_rows("affine: angle", angle, 1),
        translate=_rows("affine: translate", translate, 2),
        scale=_rows("affine: scale", scale, 1),
        shear=_rows("affine: shear", shear, 2),
    )
    if not (rows[:, 3] > 0).all():
        raise ValueError(f"affine: scale should be positive, got {scale}")
    matrices = [_inverse_affine(middle, *row) for row in rows.tolist()]
    _check_count("affine", matrices, shape)
    if is_pil(image):
        kind, filling = Image.Transform.AFFINE, _pil_fill(image, fill)
        return image.transform(image.size, kind, matrices[0], to_pillow(mode), fillcolor=filling)
    return on_array(image, _affine, matrices, (height, width), mode, fill)


def rotate(
    image: Any,
    angle: Any,
    interpolation: InterpolationMode | str | int = InterpolationMode.NEAREST,
    expand: bool = False,
    center: Sequence[float] | None = None,
    fill: Fill = None,
) -> Any:
    """Rotate an image about a point.

    On a PIL image it is Pillow's ``rotate``. uint8 arrays come out as PIL images do, as said at ``affine``.

    Args:
        image: a PIL image, an array (C, H, W) or a batch (N, C, H, W).
        angle: counterclockwise, in degrees: a number, or an array (N,) with one for each image.
        interpolation, fill: as in ``affine``.
        expand: make the result as large as needed to hold the whole image, if it is rotated about its middle.
        center: (x, y) of the point that stays where it is, from the upper left corner; None is the middle.

    Raises:
        TypeError, ValueError: for a wrong argument; the message says which.
        ValueError: for ``expand=True``, if the images of a batch would differ in size.

    Example:
        >>> rotate(np.arange(4).reshape(1, 2, 2), 90).tolist()
        [[[1, 3], [0, 2]]]
    """
    mode = check_interpolation(interpolation, "rotate")
    *_, height, width = shape = shape_of(image, "rotate")
    middle = None if center is None else _point("rotate", center)
    angles = _together("rotate", angle=_rows("rotate: angle", angle, 1))[:, 0].tolist()
    _check_count("rotate", angles, shape)
    if is_pil(image):
        return image.rotate(angles[0], to_pillow(mode), expand, middle, fillcolor=_pil_fill(image, fill))
    maps = [_rotation(a, (height, width), middle, expand) for a in angles]
    sizes = sorted({size for _, size in maps}) or [(height, width)]
    if len(sizes) > 1:
        raise ValueError(
            f"rotate: with expand=True the images of this batch would have {len(sizes)} different sizes, such as {sizes[0]} "
            f"and {sizes[-1]}, so that they make no batch any more; rotate them one by one, or without expand"
        )
    return on_array(image, _affine, [matrix for matrix, _ in maps], sizes[0], mode, fill)


def _affine(
    xp: Backend, array: Any, matrices: list[list[float]], size: tuple[int, int], mode: InterpolationMode, fill: Fill
) -> Any:
    rows = np.array(matrices, dtype=np.float64).reshape(-1, 6)
    return warp(xp, array, affine_places(xp, rows, size, mode), size, mode, fill)


def _inverse_affine(
    center: tuple[float, float], angle: float, right: float, down: float, scale: float, shear_x: float, shear_y: float
) -> list[float]:
    """(a, b, c, d, e, f): where pixels of the result come from.

    The map itself is T·C·M·C⁻¹, with the shift T, the shift C from the corner to the center, and, as torchvision has it,
    M = scale · rotation · shear along y · shear along x, in which scale apart the determinant is 1.
    """
    turn, sx, sy = math.radians(angle), math.radians(shear_x), math.radians(shear_y)
    p = math.cos(turn - sy) / math.cos(sy)
    q = -(p * math.tan(sx) + math.sin(turn))
    r = math.sin(turn - sy) / math.cos(sy)
    s = math.cos(turn) - r * math.tan(sx)
    a, b, d, e = s / scale, -q / scale, -r / scale, p / scale  # M⁻¹
    cx, cy = center
    x, y = cx + right, cy + down  # where the center goes
    return [a, b, cx - a * x - b * y, d, e, cy - d * x - e * y]


def _rotation(
    angle: float, size: tuple[int, int], center: tuple[float, float] | None, expand: bool
) -> tuple[list[float], tuple[int, int]]:
    """Where pixels of the result come from, and its size (height, width); both as Pillow works them out.

    Pillow's shortcuts, for multiples of 90° about the middle, need no code of their own: the cosines are rounded to 15
    digits, so that the matrix is one of 0 and ±1. Only the size that it finds there has to be said.
    """
    height, width = size
    cx, cy = (width / 2, height / 2) if center is None else center
    angle %= 360.0
    cos, sin = (round(f(-math.radians(angle)), 15) for f in (math.cos, math.sin))

    def back(x: float, y: float, c: float, f: float) -> tuple[float, float]:
        return cos * x + sin * y + c, -sin * x + cos * y + f

    c, f = back(-cx, -cy, 0.0, 0.0)
    c, f = c + cx, f + cy
    if expand:
        if center is None and angle % 90 == 0:
            new_height, new_width = (height, width) if angle % 180 == 0 else (width, height)
        else:
            corners = [back(x, y, c, f) for x, y in ((0, 0), (width, 0), (width, height), (0, height))]
            xs, ys = zip(*corners, strict=True)
            new_width, new_height = (math.ceil(max(s)) - math.floor(min(s)) for s in (xs, ys))
        c, f = back(-(new_width - width) / 2.0, -(new_height - height) / 2.0, c, f)
        height, width = new_height, new_width
    return [cos, sin, c, -sin, cos, f], (height, width)


# -- perspective -------------------------------------------------------------------------------------------------------


def perspective(
    image: Any,
    startpoints: Any,
    endpoints: Any,
    interpolation: InterpolationMode | str | int = InterpolationMode.BILINEAR,
    fill: Fill = None,
    coefficients: Any = None,
) -> Any:
    """Map an image in perspective, so that four given points go to four others; the size stays.

    On a PIL image it is Pillow's ``transform``. uint8 arrays come out as PIL images do, as said at ``affine``.

    Args:
        image: a PIL image, an array (C, H, W) or a batch (N, C, H, W).
        startpoints, endpoints: four points [x, y] in pixels and where they go, shape (4, 2), or (N, 4, 2) with four for
            each image.
        interpolation, fill: as in ``affine``.
        coefficients: in place of the points, the eight numbers of ``perspective_coefficients``, shape (8,) or (N, 8).

    Raises:
        ValueError: for points or coefficients of other shapes, both, neither, or a wrong interpolation or fill.

    Example:
        >>> corners = [[0, 0], [3, 0], [3, 3], [0, 3]]
        >>> bool((perspective(np.eye(4)[None], corners, corners).round(6) == np.eye(4)).all())
        True
    """
    mode = check_interpolation(interpolation, "perspective")
    shape = shape_of(image, "perspective")
    if (coefficients is None) == (startpoints is None or endpoints is None):
        raise ValueError("perspective: pass either startpoints and endpoints, or coefficients")
    if coefficients is None:
        coefficients = perspective_coefficients(startpoints, endpoints)
    rows = np.asarray(coefficients, dtype=np.float64)
    if rows.ndim not in (1, 2) or rows.shape[-1] != 8:
        raise ValueError(f"perspective: coefficients should have shape (8,) or (N, 8), got {rows.shape}")
    rows = rows.reshape(-1, 8)
    _check_count("perspective", rows, shape)
    if is_pil(image):
        kind, filling = Image.Transform.PERSPECTIVE, _pil_fill(image, fill)
        return image.transform(image.size, kind, rows[0].tolist(), to_pillow(mode), fillcolor=filling)
    return on_array(image, _perspective, rows, mode, fill)


def _perspective(xp: Backend, array: Any, rows: np.ndarray, mode: InterpolationMode, fill: Fill) -> Any:
    size = array.shape[-2:]
    return warp(xp, array, perspective_places(xp, rows, size), size, mode, fill)


def perspective_coefficients(startpoints: Any, endpoints: Any) -> np.ndarray:
    """The numbers (a, …, h) that say where a pixel (x, y) of the result comes from.

    That is ((a·x + b·y + c) / (g·x + h·y + 1), (d·x + e·y + f) / (g·x + h·y + 1)). Each end point has to come from its
    start point, which makes eight linear equations. Where they do not settle all eight (three points lie on a line, an
    image is one pixel wide), the least of the solutions is taken.

    Args:
        startpoints, endpoints: shape (4, 2) or (N, 4, 2), points [x, y].

    Returns:
        Array of shape (8,) or (N, 8), dtype float64.

    Raises:
        ValueError: for points of other shapes.
    """
    start, end = (np.asarray(points, dtype=np.float64) for points in (startpoints, endpoints))
    if not {start.shape[-2:], end.shape[-2:]} == {(4, 2)} or not {start.ndim, end.ndim} <= {2, 3}:
        raise ValueError(
            f"perspective: startpoints and endpoints should have shape (4, 2) or (N, 4, 2), got {start.shape} and {end.shape}"
        )
    start, end = np.broadcast_arrays(start, end)
    x, y = end[..., 0], end[..., 1]
    equations = np.zeros((*start.shape[:-1], 2, 8))  # two for each point
    for k in (0, 1):
        equations[..., k, 3 * k], equations[..., k, 3 * k + 1], equations[..., k, 3 * k + 2] = x, y, 1.0
        equations[..., k, 6], equations[..., k, 7] = -x * start[..., k], -y * start[..., k]
    left, right = equations.reshape(-1, 8, 8), start.reshape(-1, 8)
    solutions = [np.linalg.lstsq(a, b, rcond=None)[0] for a, b in zip(left, right, strict=True)]
    return np.array(solutions).reshape(*start.shape[:-2], 8)


# -- elastic distortion ------------------------------------------------------------------------------------------------


def elastic(
    image: Any,
    displacement: Any,
    interpolation: InterpolationMode | str | int = InterpolationMode.BILINEAR,
    fill: Fill = None,
) -> Any:
    """Take every pixel from somewhere else: from where it is, plus a displacement of its own.

    Pillow knows no such thing. As in torchvision, a PIL image is done as an array, integers are rounded to the nearest, and
    within half a pixel of the border the image fades into the fill.

    Args:
        image: a PIL image, an array (C, H, W) or a batch (N, C, H, W).
        displacement: (1, H, W, 2), or (N, H, W, 2) with one for each image: how far to the right and down each pixel comes
            from, in halves of the image's width and height. An array or a Tensor.
        interpolation, fill: as in ``affine``.

    Raises:
        TypeError: if the displacement is no array.
        ValueError: if it has another shape, or for a wrong interpolation or fill.

    Example:
        >>> one_right = np.zeros((1, 1, 4, 2)) + (2 / 4, 0)
        >>> elastic(np.arange(4.0).reshape(1, 1, 4), one_right).tolist()
        [[[1.0, 2.0, 3.0, 0.0]]]
    """
    mode = check_interpolation(interpolation, "elastic")
    shape = shape_of(image, "elastic")
    field = displacement.array if isinstance(displacement, Tensor) else displacement
    if not hasattr(field, "shape"):
        raise TypeError(f"elastic: displacement should be an array or a Tensor, got {type(displacement).__name__}")
    if len(field.shape) != 4 or tuple(field.shape[1:]) != (*shape[-2:], 2):
        wanted = ("1 or N", *shape[-2:], 2)
        raise ValueError(f"elastic: displacement should have shape {wanted}, got {tuple(field.shape)}".replace("'", ""))
    _check_count("elastic", field, shape)
    if is_pil(image):
        return through_array(image, lambda array: on_array(array, _elastic, field, mode, fill))
    return on_array(image, _elastic, field, mode, fill)


def _elastic(xp: Backend, array: Any, displacement: Any, mode: InterpolationMode, fill: Fill) -> Any:
    field = xp.from_numpy(displacement) if isinstance(displacement, np.ndarray) else displacement
    *outer, height, width = array.shape
    border = 0 if mode in NEAREST_MODES else 1
    if border:  # a pixel of the fill all around, for the outermost pixels to fade into
        framed = xp.empty((*outer, height + 2, width + 2), dtype=array.dtype)
        framed[...] = xp.from_numpy(fill_values(fill, array.shape[-3], array.dtype))
        framed[..., 1:-1, 1:-1] = array
        array = framed
    return warp(xp, array, displaced_places(xp, field, border), (height, width), mode, fill, rounds=True)


# -- arguments ---------------------------------------------------------------------------------------------------------


def _rows(what: str, value: Any, width: int) -> np.ndarray:
    """A parameter as an array (N, width), N being 1 for numbers."""
    wanted = "a number, or an array (N,)" if width == 1 else "two numbers, or an array (N, 2)"
    if not isinstance(value, (np.ndarray, np.generic, *((int, float) if width == 1 else (list, tuple)))):
        raise TypeError(f"{what} should be {wanted}, got {value!r}")
    rows = np.asarray(value, dtype=np.float64)
    if width == 2 and rows.shape != (2,) and not (rows.ndim == 2 and rows.shape[1] == 2):
        raise ValueError(f"{what} should be {wanted}, got {value!r}")
    return rows.reshape(-1, width)


def _together(name: str, **parameters: np.ndarray) -> np.ndarray:
    """The parameters side by side, (N, columns), those with one row repeated."""
    count = max(len(rows) for rows in parameters.values())
    for what, rows in parameters.items():
        if len(rows) not in (1, count):
            raise ValueError(f"{name}: {what} has {len(rows)} rows where another parameter has {count}")
    return np.concatenate([np.repeat(rows, count if len(rows) == 1 else 1, axis=0) for rows in parameters.values()], 1)


def _check_count(name: str, rows: Any, shape: tuple[int, ...]) -> None:
    if len(rows) not in (1, images_in(shape)):
        raise ValueError(f"{name}: parameters of {len(rows)} images for {images_in(shape)} image(s)")


def _point(name: str, center: Sequence[float]) -> tuple[float, float]:
    if not isinstance(center, (list, tuple, np.ndarray)) or len(center) != 2:
        raise TypeError(f"{name}: center should be a sequence of two numbers, got {center!r}")
    return float(number(center[0])), float(number(center[1]))


def _pil_fill(image: Image.Image, fill: Fill) -> Any:
    """The fill as Pillow wants it: whole numbers, but in mode F, and one for each band."""
    values = fill_values(fill, len(image.getbands()), np.float64).reshape(-1).tolist()
    values *= len(image.getbands()) // len(values)
    values = values if image.mode == "F" else [int(v) for v in values]
    return values[0] if len(values) == 1 else tuple(values)


elastic_transform = elastic  # torchvision has both names
