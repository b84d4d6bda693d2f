"""Datasets of images. ``FashionMini`` is part of the package; the others are files on the disk, and some can be downloaded."""

from minidl.datasets.cifar import CIFAR10, CIFAR100
from minidl.datasets.fashion_mini import FashionMini
from minidl.datasets.folder import DatasetFolder, ImageFolder, UnreadableSampleError
from minidl.datasets.mnist import KMNIST, MNIST, FashionMNIST
from minidl.datasets.vision import VisionDataset

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "KMNIST",
    "MNIST",
    "DatasetFolder",
    "FashionMNIST",
    "FashionMini",
    "ImageFolder",
    "UnreadableSampleError",
    "VisionDataset",
]
