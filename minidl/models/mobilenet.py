"""MobileNetV2: small and quick, of depthwise convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import minidl
from minidl import nn
from minidl.models.registry import ImageNetWeights, build, register
from minidl.tensor import Tensor

Norm = Callable[[int], nn.Module]

# expansion t, channels c, repetitions n, stride s of the first: the paper's table 2
SETTINGS = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
]


def make_divisible(value: float, divisor: int, least: int | None = None) -> int:
    """The multiple of ``divisor`` nearest to ``value``, but not less than 90 % of it."""
    rounded = max(least or divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


class Conv2dNormActivation(nn.Sequential):
    """Convolution (0), normalisation (1), ReLU6 (2)."""

    def __init__(
        self, channels: int, out: int, kernel_size: int = 3, stride: int = 1, groups: int = 1, norm: Norm | None = None
    ) -> None:
        padding = (kernel_size - 1) // 2
        super().__init__(
            nn.Conv2d(channels, out, kernel_size, stride, padding, groups=groups, bias=False),
            (norm or nn.BatchNorm2d)(out),
            nn.ReLU6(inplace=True),
        )


class InvertedResidual(nn.Module):
    """Widen by a 1×1 convolution, filter every channel by itself, narrow again; with a shortcut between the narrow ends."""

    def __init__(self, inp: int, oup: int, stride: int, expand_ratio: int, norm_layer: Norm | None = None) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"stride should be 1 or 2 instead of {stride}")
        self.stride = stride
        hidden = round(inp * expand_ratio)
        self.use_res_connect = stride == 1 and inp == oup
        layers: list[nn.Module] = []
        if expand_ratio != 1:
            layers.append(Conv2dNormActivation(inp, hidden, kernel_size=1, norm=norm_layer))
        layers += [
            Conv2dNormActivation(hidden, hidden, stride=stride, groups=hidden, norm=norm_layer),
            nn.Conv2d(hidden, oup, 1, bias=False),
            (norm_layer or nn.BatchNorm2d)(oup),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNetV2(nn.Module):
    """A convolution, 17 inverted residuals, a 1×1 convolution, an average over the image, a linear layer.

    Args:
        width_mult: multiplies all numbers of channels, which are then rounded to multiples of ``round_nearest``.
        inverted_residual_setting: rows (t, c, n, s), see ``SETTINGS``.

    Shapes: input (N, 3, H, W), as a rule 224; output (N, num_classes).

    Source: Sandler, Howard, Zhu, Zhmoginov and Chen, "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        width_mult: float = 1.0,
        inverted_residual_setting: list[list[int]] | None = None,
        round_nearest: int = 8,
        block: Callable[..., nn.Module] | None = None,
        norm_layer: Norm | None = None,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        block = block or InvertedResidual
        setting = SETTINGS if inverted_residual_setting is None else inverted_residual_setting
        if not setting or len(setting[0]) != 4:
            raise ValueError(
                f"inverted_residual_setting should be non-empty or a 4-element list, got {inverted_residual_setting}"
            )
        channels = make_divisible(32 * width_mult, round_nearest)
        self.last_channel = make_divisible(1280 * max(1.0, width_mult), round_nearest)
        features: list[nn.Module] = [Conv2dNormActivation(3, channels, stride=2, norm=norm_layer)]
        for t, c, n, s in setting:
            out = make_divisible(c * width_mult, round_nearest)
            for i in range(n):
                features.append(block(channels, out, s if i == 0 else 1, expand_ratio=t, norm_layer=norm_layer))
                channels = out
        features.append(Conv2dNormActivation(channels, self.last_channel, kernel_size=1, norm=norm_layer))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.last_channel, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(minidl.flatten(x, 1))


class MobileNet_V2_Weights(ImageNetWeights):  # noqa: N801
    """Weights of ``mobilenet_v2``."""

    IMAGENET1K_V1 = ("mobilenet_v2-b0353104.pth", 3_504_872, 71.878)
    IMAGENET1K_V2 = ("mobilenet_v2-7ebf99e0.pth", 3_504_872, 72.154, 224, 232)
    DEFAULT = IMAGENET1K_V2


@register(MobileNet_V2_Weights)
def mobilenet_v2(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> MobileNetV2:
    """`MobileNetV2`; arguments as in ``alexnet``."""
    return build(MobileNetV2, MobileNet_V2_Weights, weights, progress, kwargs)
