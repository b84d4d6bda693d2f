"""How large images are."""

from __future__ import annotations

from typing import Any

from minidl.transforms.images import is_pil


def get_dimensions(image: Any) -> list[int]:
    """Return [channels, height, width] of a PIL image, or of a Tensor or array (…, C, H, W) or (H, W).

    Raises:
        TypeError: for anything else.

    Example:
        >>> get_dimensions(np.zeros((8, 3, 28, 32)))
        [3, 28, 32]
    """
    if is_pil(image):
        return [len(image.getbands()), image.height, image.width]
    shape = getattr(image, "shape", None)
    if shape is None or len(shape) < 2:
        given = type(image).__name__ if shape is None else f"shape {tuple(shape)}"
        raise TypeError(
            f"get_dimensions: expected a PIL image, or a Tensor or array of at least two dimensions, got {given}"
        )
    return [1, *shape] if len(shape) == 2 else list(shape[-3:])


def get_size(image: Any) -> list[int]:
    """Return [height, width]; see ``get_dimensions``."""
    return get_dimensions(image)[1:]


def get_image_size(image: Any) -> list[int]:
    """Return [width, height], in the order of earlier versions of torchvision; see ``get_dimensions``."""
    return get_dimensions(image)[:0:-1]


def get_num_channels(image: Any) -> int:
    """Return the number of channels; see ``get_dimensions``."""
    return get_dimensions(image)[0]


get_image_num_channels = get_num_channels
