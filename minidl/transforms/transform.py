"""What a transform is: parameters are drawn in one method and applied in another. And ``Compose``, a chain of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minidl.backend import Backend, backend_of
from minidl.tensor import Tensor


class Transform:
    """Base class of transforms, for one image and for a batch of images at once.

    Calling a transform with an array of shape (C, H, W) or (N, C, H, W), a Tensor or a NumPy array, returns the same
    kind. The input is never written to; the output may share memory with it. Each image of a batch gets random
    parameters of its own, the same ones that it would get alone (see ``minidl.data.draws``).

    A subclass defines ``transform``, and ``make_params`` if it needs to draw or to work something out first. It draws
    with ``minidl.data.draws.uniform``. Calling the two by hand applies the same parameters to several arrays, such as
    an image and its mask:

        >>> image, mask = minidl.rand(3, 28, 28), minidl.zeros(1, 28, 28)
        >>> flip = minidl.transforms.RandomHorizontalFlip()
        >>> params = flip.make_params(image.shape)
        >>> image, mask = flip.transform(image, params), flip.transform(mask, params)
    """

    batched = True  # takes (N, C, H, W); a plain function that a dataset is given may know single images only

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return the parameters for images of this shape, (C, H, W) or (N, C, H, W). What is random about a sample is a
        NumPy array of shape (N,), or (1,) for one image."""
        return {}

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        """Apply the parameters to a Tensor or array of the shape that they were made for."""
        array = image.array if isinstance(image, Tensor) else image
        result = self.apply(backend_of(array), array, params)
        return Tensor.wrap(result) if isinstance(image, Tensor) else result

    def apply(self, xp: Backend, array: Any, params: dict[str, Any]) -> Any:
        """Apply the parameters to a raw array of backend ``xp``: the method that a subclass defines."""
        raise NotImplementedError(f"{type(self).__name__} must define apply(xp, array, params)")

    def __call__(self, image: Any) -> Any:
        """Transform an image or a batch of images.

        Raises:
            TypeError: if it is neither a Tensor nor an array.
            ValueError: if it has not 3 or 4 dimensions.
        """
        shape = getattr(image, "shape", None)
        if shape is None:
            raise TypeError(f"{type(self).__name__}: expected a Tensor or an array, got {type(image).__name__}")
        if len(shape) not in (3, 4):
            raise ValueError(f"{type(self).__name__}: expected shape (C, H, W) or (N, C, H, W), got {tuple(shape)}")
        return self.transform(image, self.make_params(shape))

    def extra_repr(self) -> str:
        """Return the arguments for the printed form."""
        return ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"


class Compose:
    """Transforms one after the other.

    Args:
        transforms: transforms, or functions that take and return an image.

    Raises:
        TypeError: if ``transforms`` is not a sequence of callables.
        ValueError: if it is empty.

    Example:
        >>> from minidl.transforms import Normalize, RandomCrop, RandomHorizontalFlip
        >>> augment = Compose([RandomCrop(28, padding=2), RandomHorizontalFlip(), Normalize([0.286], [0.353])])
        >>> augment(minidl.zeros(64, 1, 28, 28)).shape
        (64, 1, 28, 28)
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        if not isinstance(transforms, Sequence) or not all(callable(t) for t in transforms):
            raise TypeError(f"Compose: expected a sequence of callables, got {transforms!r}")
        if not transforms:
            raise ValueError("Compose: pass at least one transform")
        self.transforms = transforms

    @property
    def batched(self) -> bool:
        """Whether every transform takes a batch."""
        return all(is_batched(t) for t in self.transforms)

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image

    def __repr__(self) -> str:
        return "\n".join(["Compose(", *(f"    {t!r}" for t in self.transforms), ")"])


def is_batched(transform: Callable[[Any], Any] | None) -> bool:
    """Whether a transform may be given a whole batch (N, C, H, W). A function is taken to know single images only,
    unless it has an attribute ``batched`` that is true."""
    return transform is None or bool(getattr(transform, "batched", False))
