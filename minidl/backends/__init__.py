"""Settings of the libraries that minidl computes with, named as PyTorch names them: `minidl.backends.cudnn`."""

from __future__ import annotations

from minidl.backends import cudnn

__all__ = ["cudnn"]
