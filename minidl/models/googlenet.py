"""GoogLeNet: the first network of Inception modules."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import minidl
from minidl import nn
from minidl.io.weights import load_weights
from minidl.models.registry import ImageNetWeights, build, find_entry, load_into, register
from minidl.nn import functional as F
from minidl.tensor import Tensor


class GoogLeNetOutputs(NamedTuple):
    """What a network with auxiliary heads gives in training."""

    logits: Tensor
    aux_logits2: Tensor | None
    aux_logits1: Tensor | None


class BasicConv2d(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, **kwargs: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, bias=False, **kwargs)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Inception(nn.Module):
    """Four ways side by side, their channels joined: 1×1; 1×1 then 3×3; 1×1 then 3×3; pooling then 1×1.

    (The third way has 5×5 in the paper; torchvision's weights, which come from TensorFlow, have 3×3.)
    """

    def __init__(
        self, in_channels: int, ch1x1: int, ch3x3red: int, ch3x3: int, ch5x5red: int, ch5x5: int, pool_proj: int
    ) -> None:
        super().__init__()
        self.branch1 = BasicConv2d(in_channels, ch1x1, kernel_size=1)
        self.branch2 = nn.Sequential(
            BasicConv2d(in_channels, ch3x3red, kernel_size=1), BasicConv2d(ch3x3red, ch3x3, kernel_size=3, padding=1)
        )
        self.branch3 = nn.Sequential(
            BasicConv2d(in_channels, ch5x5red, kernel_size=1), BasicConv2d(ch5x5red, ch5x5, kernel_size=3, padding=1)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1, ceil_mode=True),
            BasicConv2d(in_channels, pool_proj, kernel_size=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return minidl.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class InceptionAux(nn.Module):
    """A classifier half way up, which brings gradients to the layers below."""

    def __init__(self, in_channels: int, num_classes: int, dropout: float = 0.7) -> None:
        super().__init__()
        self.conv = BasicConv2d(in_channels, 128, kernel_size=1)
        self.fc1 = nn.Linear(2048, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = minidl.flatten(self.conv(F.adaptive_avg_pool2d(x, (4, 4))), 1)
        return self.fc2(self.dropout(F.relu(self.fc1(x), inplace=True)))


class GoogLeNet(nn.Module):
    """Three convolutions, nine Inception modules, an average over the image, a linear layer.

    Args:
        aux_logits: two auxiliary heads. In training mode the output is then a ``GoogLeNetOutputs``; the paper adds 0.3 times
            the loss of each head.
        transform_input: bring images that were normalised with ImageNet's mean and deviation to ±1, as the weights want.
        init_weights: draw all weights from a truncated normal distribution (deviation 0.01).
        blocks: what makes the three kinds of blocks; None for ``[BasicConv2d, Inception, InceptionAux]``.

    Raises:
        ValueError: if there are not three ``blocks``.

    Shapes: input (N, 3, H, W), as a rule 224; output (N, num_classes).

    Source: Szegedy et al., "Going deeper with convolutions", CVPR 2015; with batch normalisation.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        aux_logits: bool = True,
        transform_input: bool = False,
        init_weights: bool | None = None,
        blocks: Sequence[Callable[..., nn.Module]] | None = None,
        dropout: float = 0.2,
        dropout_aux: float = 0.7,
    ) -> None:
        super().__init__()
        conv, inception, head = check_blocks(blocks, (BasicConv2d, Inception, InceptionAux), "GoogLeNet: blocks")
        self.aux_logits = aux_logits
        self.transform_input = transform_input
        self.conv1 = conv(3, 64, kernel_size=7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = conv(64, 64, kernel_size=1)
        self.conv3 = conv(64, 192, kernel_size=3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = inception(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = inception(256, 128, 128, 192, 32, 96, 64)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = inception(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = inception(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = inception(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = inception(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = inception(528, 256, 160, 320, 32, 128, 128)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.inception5a = inception(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = inception(832, 384, 192, 384, 48, 128, 128)
        self.aux1 = head(512, num_classes, dropout=dropout_aux) if aux_logits else None
        self.aux2 = head(528, num_classes, dropout=dropout_aux) if aux_logits else None
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)
        if init_weights or init_weights is None:
            for module in self.modules():
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    nn.init.trunc_normal_(module.weight, mean=0.0, std=0.01, a=-2, b=2)

    def forward(self, x: Tensor) -> Any:
        if self.transform_input:
            x = to_unit_range(x)
        x = self.maxpool1(self.conv1(x))
        x = self.maxpool2(self.conv3(self.conv2(x)))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        x = self.inception4a(x)
        heads = self.training and self.aux1 is not None and self.aux2 is not None
        aux1 = self.aux1(x) if heads and self.aux1 is not None else None
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        aux2 = self.aux2(x) if heads and self.aux2 is not None else None
        x = self.maxpool4(self.inception4e(x))
        x = self.inception5b(self.inception5a(x))
        x = self.fc(self.dropout(minidl.flatten(self.avgpool(x), 1)))
        return GoogLeNetOutputs(x, aux2, aux1) if heads else x


def check_blocks(blocks: Any, usual: Sequence[Any], what: str) -> Sequence[Any]:
    """``blocks``, or the usual ones in place of None.

    Raises:
        ValueError: if there are not as many.
    """
    if blocks is None:
        return usual
    if len(blocks) != len(usual):
        raise ValueError(
            f"{what} should be {len(usual)}, for {', '.join(b.__name__ for b in usual)}; got {len(blocks)}"
        )
    return blocks


def to_unit_range(x: Tensor) -> Tensor:
    """From ImageNet's mean and deviation to mean 0.5 and deviation 0.5 in every channel."""
    scale = minidl.tensor([0.229 / 0.5, 0.224 / 0.5, 0.225 / 0.5]).reshape(1, 3, 1, 1).to(x.device)
    shift = minidl.tensor([(mean - 0.5) / 0.5 for mean in (0.485, 0.456, 0.406)]).reshape(1, 3, 1, 1).to(x.device)
    return x * scale.to(x.dtype) + shift.to(x.dtype)


class GoogLeNet_Weights(ImageNetWeights):  # noqa: N801
    """Weights of ``googlenet``."""

    IMAGENET1K_V1 = ("googlenet-1378be20.pth", 6_624_904, 69.778)
    DEFAULT = IMAGENET1K_V1


@register(GoogLeNet_Weights)
def googlenet(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> GoogLeNet:
    """`GoogLeNet`; arguments as in ``alexnet``. With ``weights`` the auxiliary heads are left out unless asked for."""
    return with_heads(GoogLeNet, GoogLeNet_Weights, weights, progress, kwargs, ("aux1", "aux2"))


def with_heads(
    cls: Any,
    entries: Any,
    weights: Any,
    progress: bool,
    kwargs: dict[str, Any],
    heads: tuple[str, ...],
    keep: bool = False,
) -> Any:
    """Build a network with auxiliary heads, which a file of weights may hold or not, and drop the heads that were not asked for.

    Published weights hold them, and want ``transform_input``; ``keep`` says whether they stay if nothing is said.
    """
    if weights is None:
        return build(cls, entries, weights, progress, kwargs)
    entry = find_entry(entries, weights)
    if isinstance(entry, ImageNetWeights):
        wanted = kwargs.pop("aux_logits", keep)
        kwargs.setdefault("transform_input", True)
        model = build(cls, entries, entry, progress, kwargs, init_weights=False, aux_logits=True)
    else:
        state = load_weights(entry)
        there = any(name.startswith(f"{heads[0]}.") for name in state)
        wanted = kwargs.pop("aux_logits", there)
        if wanted and not there:
            raise ValueError(f"{entry} holds no auxiliary heads: pass aux_logits=False")
        model = cls(**{"init_weights": False, **kwargs, "aux_logits": there})
        load_into(model, state, str(entry))
    if not wanted:
        model.aux_logits = False
        for name in heads:
            setattr(model, name, None)
    elif cls is GoogLeNet and isinstance(entry, ImageNetWeights):
        warnings.warn(
            "auxiliary heads in the pretrained googlenet model are NOT pretrained, so make sure to train them",
            stacklevel=3,
        )
    return model
