"""VGG: nothing but 3×3 convolutions, deeper and deeper."""

from __future__ import annotations

from typing import Any

import minidl
from minidl import nn
from minidl.models.registry import ImageNetWeights, build, register
from minidl.tensor import Tensor

# Channels of the convolutions; "M" halves the image. A, B, D and E are the columns of the paper's table 1.
LAYERS: dict[str, list[int | str]] = {
    "A": [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "B": [64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "D": [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"],
    "E": [64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512, 512, 512, 512, "M"],
}


class VGG(nn.Module):
    """Convolutions ``features``, then three linear layers.

    Shapes: input (N, 3, H, W) with H, W ≥ 32, as a rule 224; output (N, num_classes).

    Source: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015.
    """

    def __init__(
        self, features: nn.Module, num_classes: int = 1000, init_weights: bool = True, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )
        if init_weights:
            initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(minidl.flatten(self.avgpool(self.features(x)), 1))


def initialize(model: nn.Module) -> None:
    """He's normal initialisation for convolutions, N(0, 0.01²) for linear layers, biases zero, batch normalisation 1 and 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            if module.weight is not None and module.bias is not None:
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def make_layers(layers: list[int | str], batch_norm: bool = False, channels: int = 3) -> nn.Sequential:
    """The convolutional part: channels of each convolution in order, and "M" for a pooling."""
    parts: list[nn.Module] = []
    for entry in layers:
        if isinstance(entry, str):
            parts.append(nn.MaxPool2d(kernel_size=2, stride=2))
            continue
        parts.append(nn.Conv2d(channels, entry, kernel_size=3, padding=1))
        if batch_norm:
            parts.append(nn.BatchNorm2d(entry))
        parts.append(nn.ReLU(inplace=True))
        channels = entry
    return nn.Sequential(*parts)


class VGG11_Weights(ImageNetWeights):  # noqa: N801
    """Weights of ``vgg11``."""

    IMAGENET1K_V1 = ("vgg11-8a719046.pth", 132_863_336, 69.020)
    DEFAULT = IMAGENET1K_V1


class VGG11_BN_Weights(ImageNetWeights):  # noqa: N801
    """Weights of ``vgg11_bn``."""

    IMAGENET1K_V1 = ("vgg11_bn-6002323d.pth", 132_868_840, 70.370)
    DEFAULT = IMAGENET1K_V1


class VGG13_Weights(ImageNetWeights):  # noqa: N801
    """Weights of ``vgg13``."""

    IMAGENET1K_V1 = ("vgg13-19584684.pth", 133_047_848, 69.928)
    DEFAULT = IMAGENET1K_V1


class VGG13_BN_Weights(ImageNetWeights):  # noqa: N801
    """Weights of ``vgg13_bn``."""

    IMAGENET1K_V1 = ("vgg13_bn-abd245e5.pth", 133_053_736, 71.586)
    DEFAULT = IMAGENET1K_V1


class VGG16_Weights(ImageNetWeights):  # noqa: N801
    """Weights of ``vgg16``."""

    IMAGENET1K_V1 = ("vgg16-397923af.pth", 138_357_544, 71.592)
    DEFAULT = IMAGENET1K_V1


class VGG16_BN_Weights(ImageNetWeights):  # noqa: N801
    """Weights of ``vgg16_bn``."""

    IMAGENET1K_V1 = ("vgg16_bn-6c64b313.pth", 138_365_992, 73.360)
    DEFAULT = IMAGENET1K_V1


class VGG19_Weights(ImageNetWeights):  # noqa: N801
    """Weights of ``vgg19``."""

    IMAGENET1K_V1 = ("vgg19-dcbb9e9d.pth", 143_667_240, 72.376)
    DEFAULT = IMAGENET1K_V1


class VGG19_BN_Weights(ImageNetWeights):  # noqa: N801
    """Weights of ``vgg19_bn``."""

    IMAGENET1K_V1 = ("vgg19_bn-c79401a0.pth", 143_678_248, 74.218)
    DEFAULT = IMAGENET1K_V1


def _vgg(column: str, batch_norm: bool, entries: Any, weights: Any, progress: bool, kwargs: dict[str, Any]) -> VGG:
    def make(**options: Any) -> VGG:
        return VGG(make_layers(LAYERS[column], batch_norm), **options)

    return build(make, entries, weights, progress, kwargs, init_weights=False)


@register(VGG11_Weights)
def vgg11(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG with 11 layers (column A); arguments as in ``alexnet``."""
    return _vgg("A", False, VGG11_Weights, weights, progress, kwargs)


@register(VGG11_BN_Weights)
def vgg11_bn(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG with 11 layers, and batch normalisation."""
    return _vgg("A", True, VGG11_BN_Weights, weights, progress, kwargs)


@register(VGG13_Weights)
def vgg13(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG with 13 layers (column B)."""
    return _vgg("B", False, VGG13_Weights, weights, progress, kwargs)


@register(VGG13_BN_Weights)
def vgg13_bn(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG with 13 layers, and batch normalisation."""
    return _vgg("B", True, VGG13_BN_Weights, weights, progress, kwargs)


@register(VGG16_Weights)
def vgg16(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG with 16 layers (column D)."""
    return _vgg("D", False, VGG16_Weights, weights, progress, kwargs)


@register(VGG16_BN_Weights)
def vgg16_bn(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG with 16 layers, and batch normalisation."""
    return _vgg("D", True, VGG16_BN_Weights, weights, progress, kwargs)


@register(VGG19_Weights)
def vgg19(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG with 19 layers (column E)."""
    return _vgg("E", False, VGG19_Weights, weights, progress, kwargs)


@register(VGG19_BN_Weights)
def vgg19_bn(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG with 19 layers, and batch normalisation."""
    return _vgg("E", True, VGG19_BN_Weights, weights, progress, kwargs)
