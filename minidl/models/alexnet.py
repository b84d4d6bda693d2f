"""AlexNet."""

from __future__ import annotations

from typing import Any

import minidl
from minidl import nn
from minidl.models.registry import ImageNetWeights, build, register
from minidl.tensor import Tensor


class AlexNet(nn.Module):
    """The one-column variant of the network that won ImageNet in 2012: five convolutions, three linear layers.

    Shapes: input (N, 3, H, W) with H, W ≥ 63, as a rule 224; output (N, num_classes).

    Source: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997; the network of
    Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", NIPS 2012, had two
    columns and response normalisation.
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(64, 192, kernel_size=5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(192, 384, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(minidl.flatten(self.avgpool(self.features(x)), 1))


class AlexNet_Weights(ImageNetWeights):  # noqa: N801  (torchvision's name)
    """Weights of ``alexnet``."""

    IMAGENET1K_V1 = ("alexnet-owt-7be5be79.pth", 61_100_840, 56.522)
    DEFAULT = IMAGENET1K_V1


@register(AlexNet_Weights)
def alexnet(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> AlexNet:
    """`AlexNet`. ``weights`` and ``progress`` as in ``get_model``, the others go to the class."""
    return build(AlexNet, AlexNet_Weights, weights, progress, kwargs)
