"""Learning rate schedulers, with PyTorch's arguments and values."""

from minidl.optim.lr_scheduler.base import LRScheduler
from minidl.optim.lr_scheduler.compose import ChainedScheduler, SequentialLR
from minidl.optim.lr_scheduler.curves import CosineAnnealingLR, CosineAnnealingWarmRestarts, LinearLR, PolynomialLR
from minidl.optim.lr_scheduler.functions import LambdaLR, MultiplicativeLR
from minidl.optim.lr_scheduler.onecycle import OneCycleLR
from minidl.optim.lr_scheduler.plateau import ReduceLROnPlateau
from minidl.optim.lr_scheduler.steps import ConstantLR, ExponentialLR, MultiStepLR, StepLR

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
