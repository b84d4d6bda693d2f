"""What pictures have to go through before a network that others have trained sees them."""

from __future__ import annotations

from collections.abc import Sequence

from minidl.transforms.containers import Compose
from minidl.transforms.conversion import ToTensor
from minidl.transforms.crops import CenterCrop
from minidl.transforms.interpolation import InterpolationMode
from minidl.transforms.resizing import Resize
from minidl.transforms.values import Normalize

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ImageClassification(Compose):
    """Resize the shorter side, cut out the middle, scale to 0 to 1, normalise: torchvision's preset for classification.

    Args:
        crop_size, resize_size: in pixels.
        mean, std: of each channel.
        interpolation: how to resize, as in ``Resize``.

    Example:
        >>> import numpy as np
        >>> from PIL import Image
        >>> ImageClassification(crop_size=224)(Image.fromarray(np.zeros((300, 400, 3), np.uint8))).shape
        (3, 224, 224)
    """

    def __init__(
        self,
        *,
        crop_size: int,
        resize_size: int = 256,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        interpolation: InterpolationMode | str | int = InterpolationMode.BILINEAR,
    ) -> None:
        resize = Resize(resize_size, interpolation=interpolation)
        super().__init__([resize, CenterCrop(crop_size), ToTensor(), Normalize(mean, std)])
