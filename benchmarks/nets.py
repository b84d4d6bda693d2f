"""The networks that are timed, written once for minidl and PyTorch: both name their layers alike.

Every builder takes the namespace of layers (``minidl.nn`` or ``torch.nn``) and returns a module. ``NETS`` lists them with
the batch, the shape of one input and the number of classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


def toy(nn: Any) -> Any:
    """2-16-16-10: so small that only the engine's overhead counts."""
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 10))


def bn_mlp(nn: Any) -> Any:
    """784-3×100-10 with batch normalisation and sigmoids (Ioffe & Szegedy 2015, section 4.1)."""
    layers: list[Any] = []
    width = 784
    for _ in range(3):
        layers += [nn.Linear(width, 100), nn.BatchNorm1d(100), nn.Sigmoid()]
        width = 100
    return nn.Sequential(*layers, nn.Linear(width, 10))


def mlp(nn: Any) -> Any:
    """784-512-512-10."""
    return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))


def lenet(nn: Any) -> Any:
    """Two 5×5 convolutions of 32 and 64 channels, each with max pooling, and two dense layers."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def _residual_block(nn: Any, c_in: int, c_out: int, stride: int) -> Any:
    """Two 3×3 convolutions with a way round them (He et al. 2015, figure 2); a 1×1 convolution where the shape changes."""

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(c_out)
            self.relu = nn.ReLU(inplace=True)
            self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(c_out)
            self.shortcut = None
            if stride != 1 or c_in != c_out:
                self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

        def forward(self, x: Any) -> Any:
            y = self.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            y += x if self.shortcut is None else self.shortcut(x)
            return self.relu(y)

    return Block()


def _resnet(nn: Any, widths: tuple[int, ...], blocks: int) -> Any:
    layers = [nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]
    c_in = widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            layers.append(_residual_block(nn, c_in, width, 2 if stage and not block else 1))
            c_in = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, 10))


def resnet20(nn: Any) -> Any:
    """16-32-64 channels, three blocks each (He et al. 2015, section 4.2)."""
    return _resnet(nn, (16, 32, 64), 3)


def resnet18(nn: Any) -> Any:
    """64-128-256-512 channels, two blocks each, for small images: 3×3 stem, no pooling."""
    return _resnet(nn, (64, 128, 256, 512), 2)


def vgg6(nn: Any) -> Any:
    """Six 3×3 convolutions (64, 64, 128, 128, 256, 256 channels) with a pooling after every second."""
    layers: list[Any] = []
    c_in = 3
    for width in (64, 128, 256):
        for _ in range(2):
            layers += [nn.Conv2d(c_in, width, 3, padding=1), nn.ReLU(inplace=True)]
            c_in = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256 * 4 * 4, 10))


def mobilenet(nn: Any) -> Any:
    """Inverted residuals with depthwise convolutions (Sandler et al. 2018), for 64-pixel images."""

    def conv(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> list[Any]:
        layers = [
            nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(c_out),
        ]
        return [*layers, nn.ReLU6(inplace=True)] if act else layers

    class Inverted(nn.Module):  # type: ignore[misc]
        def __init__(self, c_in: int, c_out: int, stride: int, expand: int) -> None:
            super().__init__()
            wide = c_in * expand
            widen = conv(c_in, wide, 1) if expand != 1 else []
            self.conv = nn.Sequential(*widen, *conv(wide, wide, 3, stride, wide), *conv(wide, c_out, 1, act=False))
            self.residual = stride == 1 and c_in == c_out

        def forward(self, x: Any) -> Any:
            return x + self.conv(x) if self.residual else self.conv(x)

    layers = conv(3, 32, 3, 2)
    c_in = 32
    for expand, width, count, stride in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 2, 2)]:
        for i in range(count):
            layers.append(Inverted(c_in, width, stride if i == 0 else 1, expand))
            c_in = width
    layers += conv(c_in, 256, 1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10))


class Net(NamedTuple):
    """One row of the table. The limits are the ratios to PyTorch that the project asks of itself."""

    build: Callable[[Any], Any]
    batch: int
    shape: tuple[int, ...]
    limit_fast: float
    limit_numpy: float
    classes: int = 10


NETS = {
    "toy MLP": Net(toy, 32, (2,), 0.7, 0.8),
    "BN-MLP": Net(bn_mlp, 60, (784,), 0.9, 1.2),
    "MLP": Net(mlp, 128, (784,), 0.8, 1.0),
    "LeNet": Net(lenet, 128, (1, 28, 28), 0.8, 2.0),
    "ResNet-20": Net(resnet20, 128, (3, 32, 32), 0.9, 3.0),
    "VGG-6": Net(vgg6, 64, (3, 32, 32), 0.7, 2.0),
    "ResNet-18": Net(resnet18, 32, (3, 32, 32), 0.7, 2.5),
    "MobileNetV2-like": Net(mobilenet, 16, (3, 64, 64), 1.0, 4.0),
}
