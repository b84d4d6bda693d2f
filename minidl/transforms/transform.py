"""What a transform is: parameters are drawn in one method and applied in another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl.backend import Backend, backend_of
from minidl.tensor import Tensor
from minidl.transforms.images import find_images, is_pil, map_images, shape_of
from minidl.transforms.undecoded import Undecoded

SHORT_CUTS = {
    "of_pil": {"make_params", "transform"},
    "of_undecoded": {"make_params", "transform", "of_pil", "__call__"},
}


class Transform:
    """Base class of transforms, for one image and for a batch of images at once.

    A transform is called with a PIL image, with a Tensor or array of shape (C, H, W), or with a batch (N, C, H, W), and returns
    the same kind; or with a sample that holds images among other things, such as ``(image, label)`` (see
    ``minidl.transforms.images.map_images``). The input is never written to; the output may share memory with it. Each
    image of a batch gets random parameters of its own, the same ones that it would get alone (see ``minidl.data.draws``).

    A subclass defines ``transform``, by functions of ``minidl.transforms.functional``, and ``make_params`` if it needs to draw
    or to work something out first. It draws with ``minidl.data.draws.uniform``. (Instead of ``transform`` it may define
    ``apply``, for arrays only.) Calling the two by hand applies the same parameters to several images, such as an image and
    its mask:

        >>> image, mask = minidl.rand(3, 28, 28), minidl.zeros(1, 28, 28)
        >>> flip = minidl.transforms.RandomHorizontalFlip()
        >>> params = flip.make_params(image.shape)
        >>> image, mask = flip.transform(image, params), flip.transform(mask, params)
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for short_cut, round_these in SHORT_CUTS.items():
            defined = (vars(kind).keys() & {short_cut, *round_these} for kind in cls.__mro__)
            if short_cut not in next(filter(None, defined)):  # an inherited one would go round what this class does
                setattr(cls, short_cut, vars(Transform)[short_cut])

    batched = True  # takes (N, C, H, W); a plain function that a dataset is given may know single images only
    takes_labels = False  # of a sample it takes more than the images; see ``takes_labels`` below

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return the parameters for images of this shape, (C, H, W) or (N, C, H, W). What is random about a sample is a
        NumPy array of shape (N, …), or (1, …) for one image."""
        return {}

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        """Apply the parameters to a PIL image, or to a Tensor or array of the shape that they were made for."""
        if is_pil(image):
            raise TypeError(
                f"{type(self).__name__}: expected a Tensor or an array, got a PIL image; apply ToImage first"
            )
        array = image.array if isinstance(image, Tensor) else image
        result = self.apply(backend_of(array), array, params)
        return Tensor.wrap(result) if isinstance(image, Tensor) else result

    def apply(self, xp: Backend, array: Any, params: dict[str, Any]) -> Any:
        """Apply the parameters to a raw array of backend ``xp``."""
        raise NotImplementedError(
            f"{type(self).__name__} must define transform(image, params), or apply(xp, array, params)"
        )

    def of_pil(self, image: Any) -> Any:
        """Draw for a PIL image and apply. What follows the decoding of large images may take a short cut here: the caches
        are full of pixels then, and all code is slow. The result must be that of the two methods."""
        return self.transform(image, self.make_params(shape_of(image)))

    def of_undecoded(self, image: Undecoded) -> Any:
        """Draw for a JPEG that is not decoded yet and apply. The result must be that of decoding it first; what keeps only a
        window need not decode all of it."""
        return self(image.decode())

    def __call__(self, *inputs: Any) -> Any:
        """Transform an image, a batch of images, or the images in a sample.

        Raises:
            TypeError: if there is no image.
            ValueError: if an array has not 3 or 4 dimensions.
        """
        sample = inputs if len(inputs) != 1 else inputs[0]
        if is_pil(sample):  # the usual cases
            return self.of_pil(sample)
        if hasattr(sample, "shape"):
            return self.transform(sample, self.make_params(shape_of(sample, type(self).__name__)))
        found = find_images(sample)
        if not found:
            kinds = ", ".join(type(x).__name__ for x in inputs) or "nothing"
            raise TypeError(
                f"{type(self).__name__}: expected a PIL image, a Tensor or an array, or a sample with one, got {kinds}"
            )
        params = self.make_params(shape_of(found[0], type(self).__name__))
        return map_images(lambda image: self.transform(image, params), sample)

    def extra_repr(self) -> str:
        """Return the arguments for the printed form."""
        return ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"


def is_batched(transform: Callable[[Any], Any] | None) -> bool:
    """Whether a transform may be given a whole batch (N, C, H, W). A function is taken to know single images only,
    unless it has an attribute ``batched`` that is true."""
    return transform is None or bool(getattr(transform, "batched", False))


def takes_labels(transform: Callable[[Any], Any]) -> bool:
    """Whether a transform has to be given whole samples, because it changes the labels too. A function is taken to know
    images only, unless it has an attribute ``takes_labels`` that is true."""
    return bool(getattr(transform, "takes_labels", False))


def is_keyed(transform: Callable[[Any], Any] | None) -> bool:
    """Whether a transform draws only what is keyed by the sample (see ``minidl.data.draws``): it is minidl's own, and so are
    those in it."""
    if transform is None:
        return True
    own = type(transform).__module__.startswith("minidl.transforms.") and not any(
        map(callable, vars(transform).values())
    )
    return own and all(map(is_keyed, getattr(transform, "transforms", ())))


def __getattr__(name: str) -> Any:
    """``Compose`` is found here too, where it used to be."""
    if name == "Compose":
        from minidl.transforms.containers import Compose

        return Compose
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
