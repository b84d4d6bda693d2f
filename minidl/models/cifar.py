"""Networks for small images: residual and plain ones for CIFAR-10, a small VGG, LeNet, a perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import minidl
from minidl import nn
from minidl.models.registry import build, register
from minidl.models.vgg import make_layers
from minidl.nn import functional as F
from minidl.tensor import Tensor


class Shortcut(nn.Module):
    """The paper's option A: every second pixel, and channels of zeros; no parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels  # to add, half of them before and half behind

    def forward(self, x: Tensor) -> Tensor:
        half = self.channels // 2
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, self.channels - half))


class CifarBlock(nn.Module):
    """Two 3×3 convolutions, with the input added (``residual``) or not."""

    def __init__(self, in_planes: int, planes: int, stride: int, residual: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.residual = residual
        self.shortcut = Shortcut(planes - in_planes) if stride != 1 or in_planes != planes else nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.residual:
            out += self.shortcut(x)
        return F.relu(out)


class CifarResNet(nn.Module):
    """The residual networks for CIFAR-10: 6n + 2 layers of 16, 32 and 64 channels.

    Args:
        depth: 6n + 2: 20, 32, 44, 56, 110.
        num_classes: of the linear layer.
        residual: False leaves out the shortcuts: the paper's "plain" networks.

    Shapes: input (N, 3, 32, 32), also larger; output (N, num_classes). Parameter names are those of the weights that
    circulate as "resnet20-12fca82f.th" (Idelbayev's implementation).

    Source: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016, section 4.2.

    Raises:
        ValueError: for another depth.
    """

    def __init__(self, depth: int = 20, num_classes: int = 10, residual: bool = True) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"CifarResNet: depth should be 6n + 2, such as 20, 32, 44, 56 or 110, got {depth}")
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, blocks, 1, residual)
        self.layer2 = self._stage(16, 32, blocks, 2, residual)
        self.layer3 = self._stage(32, 64, blocks, 2, residual)
        self.linear = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    @staticmethod
    def _stage(in_planes: int, planes: int, blocks: int, stride: int, residual: bool) -> nn.Sequential:
        first = CifarBlock(in_planes, planes, stride, residual)
        return nn.Sequential(first, *(CifarBlock(planes, planes, 1, residual) for _ in range(1, blocks)))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        return self.linear(minidl.flatten(F.adaptive_avg_pool2d(out, (1, 1)), 1))


class LeNet(nn.Module):
    """LeNet-5: two convolutions with pooling, three linear layers.

    Shapes: input (N, channels, 28, 28) or (N, channels, 32, 32); output (N, num_classes).

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 1998,
    section II.B; with ReLU and maximum pooling, and without the incomplete connections of layer C3. As there, images of 28
    pixels are seen with a border of 2.
    """

    def __init__(self, num_classes: int = 10, channels: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[2:]) == (28, 28):
            x = F.pad(x, (2, 2, 2, 2))
        elif tuple(x.shape[2:]) != (32, 32):
            raise ValueError(f"LeNet: expected images of 28×28 or 32×32 pixels, got input of shape {tuple(x.shape)}")
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(minidl.flatten(x, 1))))))


class MLP(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        in_features: numbers in an input, however they are shaped: (N, …) is flattened.
        hidden: the width of each hidden layer.
        batch_norm, dropout: after each hidden layer's linear part, and after its ReLU.

    Example:
        >>> MLP(784, [512, 512], num_classes=10)(minidl.zeros(2, 1, 28, 28)).shape
        (2, 10)
    """

    def __init__(
        self,
        in_features: int = 784,
        hidden: Sequence[int] = (512, 512),
        num_classes: int = 10,
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for width in hidden:
            layers.append(nn.Linear(in_features, width))
            layers += [nn.BatchNorm1d(width)] if batch_norm else []
            layers.append(nn.ReLU())
            layers += [nn.Dropout(dropout)] if dropout else []
            in_features = width
        self.layers = nn.Sequential(*layers, nn.Linear(in_features, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class SmallVGG(nn.Module):
    """Six 3×3 convolutions in the manner of VGG, for images of about 32 pixels: 64, 64, 128, 128, 256, 256 channels.

    Shapes: input (N, channels, H, W) with H, W ≥ 8; output (N, num_classes).
    """

    def __init__(self, num_classes: int = 10, channels: int = 3, batch_norm: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.features = make_layers([64, 64, "M", 128, 128, "M", 256, 256, "M"], batch_norm, channels)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(256, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(minidl.flatten(self.avgpool(self.features(x)), 1))


def _cifar_resnet(depth: int, weights: Any, progress: bool, kwargs: dict[str, Any]) -> CifarResNet:
    def make(**options: Any) -> CifarResNet:
        return CifarResNet(depth, **options)

    return build(make, None, weights, progress, kwargs)


@register()
def cifar_resnet20(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> CifarResNet:
    """`CifarResNet` with 20 layers. ``weights``: a file; the others go to the class."""
    return _cifar_resnet(20, weights, progress, kwargs)


@register()
def cifar_resnet32(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> CifarResNet:
    """`CifarResNet` with 32 layers."""
    return _cifar_resnet(32, weights, progress, kwargs)


@register()
def cifar_resnet44(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> CifarResNet:
    """`CifarResNet` with 44 layers."""
    return _cifar_resnet(44, weights, progress, kwargs)


@register()
def cifar_resnet56(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> CifarResNet:
    """`CifarResNet` with 56 layers."""
    return _cifar_resnet(56, weights, progress, kwargs)


@register()
def cifar_resnet110(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> CifarResNet:
    """`CifarResNet` with 110 layers."""
    return _cifar_resnet(110, weights, progress, kwargs)


@register()
def lenet(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> LeNet:
    """`LeNet`."""
    return build(LeNet, None, weights, progress, kwargs)


@register()
def mlp(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> MLP:
    """`MLP`."""
    return build(MLP, None, weights, progress, kwargs)


@register()
def small_vgg(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> SmallVGG:
    """`SmallVGG`."""
    return build(SmallVGG, None, weights, progress, kwargs)
