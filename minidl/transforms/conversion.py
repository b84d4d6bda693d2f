"""Transforms between PIL images, arrays of image libraries, and Tensors."""

from __future__ import annotations

from typing import Any

from minidl.transforms.functional.conversion import pil_to_tensor, to_image, to_pil_image, to_tensor
from minidl.transforms.images import is_pil
from minidl.transforms.transform import Transform


class _Conversion(Transform):
    """Takes grey images without an axis for channels too, (H, W)."""

    def __call__(self, *inputs: Any) -> Any:
        if len(inputs) == 1 and (is_pil(inputs[0]) or hasattr(inputs[0], "shape")):
            return self.transform(inputs[0], {})
        return super().__call__(*inputs)


class ToImage(_Conversion):
    """Make a Tensor of an image, in its dtype and without scaling.

    Takes a PIL image, an array (H, W) or (H, W, C), a batch (N, C, H, W), or a Tensor, and gives a Tensor (C, H, W) or
    (N, C, H, W). A Tensor is handed on as it is. An *array* of three dimensions is taken for (H, W, C), as other libraries have
    it: nothing tells it from (C, H, W).

    Raises:
        TypeError, ValueError: as ``minidl.transforms.functional.to_image``, when called.

    Example:
        >>> ToImage()(PIL.Image.new("RGB", (32, 28))).shape
        (3, 28, 32)
    """

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return to_image(image)


class PILToTensor(_Conversion):
    """Make a Tensor (C, H, W) of a PIL image, in its dtype and without scaling. What is no PIL image is handed on."""

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return pil_to_tensor(image) if is_pil(image) else image


class ToTensor(_Conversion):
    """Make a Tensor of an image; 8 bits, 0 to 255, become float32, 0 to 1 (more precisely: the default dtype).

    Takes what ``ToImage`` takes. A uint8 Tensor is scaled too, so that whole batches can go through the same pipeline as PIL
    images; other dtypes are kept.

    Raises:
        TypeError, ValueError: as ``minidl.transforms.functional.to_image``, when called.

    Example:
        >>> ToTensor()(PIL.Image.new("L", (2, 1), 255))
        tensor([[[1., 1.]]])
    """

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return to_tensor(image)


class ToPILImage(_Conversion):
    """Make a PIL image of a Tensor (C, H, W) or an array (H, W, C); one at a time. A PIL image is handed on.

    Args:
        mode: PIL's mode; by default it follows from the number of channels and the dtype.

    Raises:
        TypeError, ValueError: as ``minidl.transforms.functional.to_pil_image``, when called.

    Example:
        >>> ToPILImage()(minidl.zeros(3, 28, 32)).size
        (32, 28)
    """

    batched = False

    def __init__(self, mode: str | None = None) -> None:
        self.mode = mode

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return image if is_pil(image) else to_pil_image(image, self.mode)

    def extra_repr(self) -> str:
        return "" if self.mode is None else f"mode={self.mode!r}"
