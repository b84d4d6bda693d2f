"""Reading and writing Tensors."""

from minidl.io.atomic import atomic_write
from minidl.io.safetensors import load, save

__all__ = ["atomic_write", "load", "save"]
