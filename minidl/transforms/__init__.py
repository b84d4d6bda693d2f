"""Image transforms for one image and for a batch at once, named as in ``torchvision.transforms.v2``."""

from minidl.transforms import functional
from minidl.transforms.autoaugment import AugMix, AutoAugment, RandAugment, TrivialAugmentWide
from minidl.transforms.blurs import GaussianBlur, GaussianNoise, RandomErasing
from minidl.transforms.color import (
    ColorCast,
    ColorJitter,
    Grayscale,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomChannelPermutation,
    RandomEqualize,
    RandomGrayscale,
    RandomInvert,
    RandomPhotometricDistort,
    RandomPosterize,
    RandomSolarize,
)
from minidl.transforms.containers import Compose, Identity, Lambda, RandomApply, RandomChoice, RandomOrder
from minidl.transforms.conversion import PILToTensor, ToImage, ToPILImage, ToTensor
from minidl.transforms.crops import CenterCrop, FiveCrop, RandomCrop, TenCrop
from minidl.transforms.geometry import Pad, RandomHorizontalFlip, RandomVerticalFlip
from minidl.transforms.interpolation import InterpolationMode
from minidl.transforms.mixing import CutMix, MixUp
from minidl.transforms.policies import AutoAugmentPolicy
from minidl.transforms.resizing import RandomResize, RandomResizedCrop, RandomShortestSize, Resize
from minidl.transforms.transform import Transform, is_batched
from minidl.transforms.values import ConvertImageDtype, Normalize, ToDtype
from minidl.transforms.warps import ElasticTransform, RandomAffine, RandomPerspective, RandomRotation

__all__ = [
    "AugMix",
    "AutoAugment",
    "AutoAugmentPolicy",
    "CenterCrop",
    "ColorCast",
    "ColorJitter",
    "Compose",
    "ConvertImageDtype",
    "CutMix",
    "ElasticTransform",
    "FiveCrop",
    "GaussianBlur",
    "GaussianNoise",
    "Grayscale",
    "Identity",
    "InterpolationMode",
    "Lambda",
    "MixUp",
    "Normalize",
    "PILToTensor",
    "Pad",
    "RandAugment",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomApply",
    "RandomAutocontrast",
    "RandomChannelPermutation",
    "RandomChoice",
    "RandomCrop",
    "RandomEqualize",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomInvert",
    "RandomOrder",
    "RandomPerspective",
    "RandomPhotometricDistort",
    "RandomPosterize",
    "RandomResize",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomShortestSize",
    "RandomSolarize",
    "RandomVerticalFlip",
    "Resize",
    "TenCrop",
    "ToDtype",
    "ToImage",
    "ToPILImage",
    "ToTensor",
    "Transform",
    "TrivialAugmentWide",
    "functional",
    "is_batched",
]
