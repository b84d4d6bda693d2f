"""Image transforms for one image and for a batch at once, named as in ``torchvision.transforms.v2``."""

from minidl.transforms.geometry import CenterCrop, Pad, RandomCrop, RandomHorizontalFlip, RandomVerticalFlip
from minidl.transforms.transform import Compose, Transform, is_batched
from minidl.transforms.values import Normalize, ToDtype

__all__ = [
    "CenterCrop",
    "Compose",
    "Normalize",
    "Pad",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomVerticalFlip",
    "ToDtype",
    "Transform",
    "is_batched",
]
