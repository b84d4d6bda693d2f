"""Datasets. ``FashionMini`` is part of the package; nothing is downloaded."""

from minidl.datasets.fashion_mini import FashionMini

__all__ = ["FashionMini"]
