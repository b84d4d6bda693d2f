"""Residual networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import minidl
from minidl import nn
from minidl.models.registry import ImageNetWeights, build, register
from minidl.tensor import Tensor

Norm = Callable[[int], nn.Module]


def conv3x3(channels: int, out: int, stride: int = 1, groups: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A 3×3 convolution that keeps the size at stride 1."""
    return nn.Conv2d(channels, out, 3, stride=stride, padding=dilation, groups=groups, bias=False, dilation=dilation)


def conv1x1(channels: int, out: int, stride: int = 1) -> nn.Conv2d:
    """A 1×1 convolution."""
    return nn.Conv2d(channels, out, kernel_size=1, stride=stride, bias=False)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions, and the input added to what they give (He et al., figure 2)."""

    expansion = 1

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None, groups: int = 1,
        base_width: int = 64, dilation: int = 1, norm_layer: Norm | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if groups != 1 or base_width != 64:
            raise ValueError("BasicBlock only supports groups=1 and base_width=64")
        if dilation > 1:
            raise NotImplementedError("Dilation > 1 not supported in BasicBlock")
        norm_layer = norm_layer or nn.BatchNorm2d
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn1 = norm_layer(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = norm_layer(planes)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions, of which the middle one has fewer channels (figure 5).

    The stride is the 3×3 convolution's, as in torchvision ("ResNet v1.5"), where the paper has it in the first one.
    """

    expansion = 4

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None, groups: int = 1,
        base_width: int = 64, dilation: int = 1, norm_layer: Norm | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        norm_layer = norm_layer or nn.BatchNorm2d
        width = int(planes * (base_width / 64.0)) * groups
        self.conv1 = conv1x1(inplanes, width)
        self.bn1 = norm_layer(width)
        self.conv2 = conv3x3(width, width, stride, groups, dilation)
        self.bn2 = norm_layer(width)
        self.conv3 = conv1x1(width, planes * self.expansion)
        self.bn3 = norm_layer(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    """A convolution, a pooling, four stages of blocks, an average over the image, a linear layer.

    Args:
        block: ``BasicBlock`` or ``Bottleneck``. layers: how many blocks in each stage.
        zero_init_residual: let every block begin as the identity: its last normalisation with weight 0 (Goyal et al.,
            arXiv:1706.02677, section 5.1).
        groups, width_per_group: of the 3×3 convolutions of a ``Bottleneck`` (ResNeXt, wide ResNet).
        replace_stride_with_dilation: of the last three stages, those that dilate instead of halving the image.
        norm_layer: makes a normalisation of so many channels; None for ``nn.BatchNorm2d``.

    Shapes: input (N, 3, H, W), as a rule 224; output (N, num_classes).

    Source: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: list[int],
        num_classes: int = 1000,
        zero_init_residual: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
        replace_stride_with_dilation: list[bool] | None = None,
        norm_layer: Norm | None = None,
    ) -> None:
        super().__init__()
        self._norm_layer = norm_layer or nn.BatchNorm2d
        self.inplanes, self.dilation = 64, 1
        dilate = replace_stride_with_dilation or [False, False, False]
        if len(dilate) != 3:
            raise ValueError(f"replace_stride_with_dilation should be None or a 3-element tuple, got {dilate}")
        self.groups, self.base_width = groups, width_per_group
        self.conv1 = nn.Conv2d(3, self.inplanes, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = self._norm_layer(self.inplanes)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._stage(block, 64, layers[0])
        self.layer2 = self._stage(block, 128, layers[1], stride=2, dilate=dilate[0])
        self.layer3 = self._stage(block, 256, layers[2], stride=2, dilate=dilate[1])
        self.layer4 = self._stage(block, 512, layers[3], stride=2, dilate=dilate[2])
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, (BasicBlock, Bottleneck)) and zero_init_residual:
                last: Any = module.bn2 if isinstance(module, BasicBlock) else module.bn3
                nn.init.zeros_(last.weight)

    def _stage(self, block: Any, planes: int, blocks: int, stride: int = 1, dilate: bool = False) -> nn.Sequential:
        first_dilation = self.dilation
        if dilate:
            self.dilation, stride = self.dilation * stride, 1
        downsample = None
        if stride != 1 or self.inplanes != planes * block.expansion:
            downsample = nn.Sequential(
                conv1x1(self.inplanes, planes * block.expansion, stride), self._norm_layer(planes * block.expansion)
            )
        common = self.groups, self.base_width
        stage = [block(self.inplanes, planes, stride, downsample, *common, first_dilation, self._norm_layer)]
        self.inplanes = planes * block.expansion
        stage += [
            block(self.inplanes, planes, 1, None, *common, self.dilation, self._norm_layer) for _ in range(1, blocks)
        ]
        return nn.Sequential(*stage)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(minidl.flatten(self.avgpool(x), 1))


class ResNet18_Weights(ImageNetWeights):  # noqa: N801
    """Weights of ``resnet18``."""

    IMAGENET1K_V1 = ("resnet18-f37072fd.pth", 11_689_512, 69.758)
    DEFAULT = IMAGENET1K_V1


class ResNet34_Weights(ImageNetWeights):  # noqa: N801
    """Weights of ``resnet34``."""

    IMAGENET1K_V1 = ("resnet34-b627a593.pth", 21_797_672, 73.314)
    DEFAULT = IMAGENET1K_V1


class ResNet50_Weights(ImageNetWeights):  # noqa: N801
    """Weights of ``resnet50``."""

    IMAGENET1K_V1 = ("resnet50-0676ba61.pth", 25_557_032, 76.130)
    IMAGENET1K_V2 = ("resnet50-11ad3fa6.pth", 25_557_032, 80.858, 224, 232)
    DEFAULT = IMAGENET1K_V2


class ResNet101_Weights(ImageNetWeights):  # noqa: N801
    """Weights of ``resnet101``."""

    IMAGENET1K_V1 = ("resnet101-63fe2227.pth", 44_549_160, 77.374)
    IMAGENET1K_V2 = ("resnet101-cd907fc2.pth", 44_549_160, 81.886, 224, 232)
    DEFAULT = IMAGENET1K_V2


class ResNet152_Weights(ImageNetWeights):  # noqa: N801
    """Weights of ``resnet152``."""

    IMAGENET1K_V1 = ("resnet152-394f9c45.pth", 60_192_808, 78.312)
    IMAGENET1K_V2 = ("resnet152-f82ba261.pth", 60_192_808, 82.284, 224, 232)
    DEFAULT = IMAGENET1K_V2


def _resnet(
    block: Any, layers: list[int], entries: Any, weights: Any, progress: bool, kwargs: dict[str, Any]
) -> ResNet:
    def make(**options: Any) -> ResNet:
        return ResNet(block, layers, **options)

    return build(make, entries, weights, progress, kwargs)


@register(ResNet18_Weights)
def resnet18(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet with 18 layers; arguments as in ``alexnet``."""
    return _resnet(BasicBlock, [2, 2, 2, 2], ResNet18_Weights, weights, progress, kwargs)


@register(ResNet34_Weights)
def resnet34(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet with 34 layers."""
    return _resnet(BasicBlock, [3, 4, 6, 3], ResNet34_Weights, weights, progress, kwargs)


@register(ResNet50_Weights)
def resnet50(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet with 50 layers, in bottleneck blocks."""
    return _resnet(Bottleneck, [3, 4, 6, 3], ResNet50_Weights, weights, progress, kwargs)


@register(ResNet101_Weights)
def resnet101(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet with 101 layers."""
    return _resnet(Bottleneck, [3, 4, 23, 3], ResNet101_Weights, weights, progress, kwargs)


@register(ResNet152_Weights)
def resnet152(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet with 152 layers."""
    return _resnet(Bottleneck, [3, 8, 36, 3], ResNet152_Weights, weights, progress, kwargs)
