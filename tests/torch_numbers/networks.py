"""The two networks, in the words that PyTorch and minidl share: ``nn`` is either's."""

from typing import Any


def cnn(nn: Any) -> Any:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 5),
    )


def mlp(nn: Any) -> Any:
    return nn.Sequential(nn.Linear(6, 10), nn.GELU(), nn.LayerNorm(10), nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 3))
