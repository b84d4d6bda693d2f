"""Convolution on the CPU: five algorithms, and the choice between them.

Each algorithm is a module of three functions, ``forward``, ``input_grad`` and ``weight_grad``, on NHWC arrays.
"""

from minidl.backend.cpu.conv.kernels import CpuConv

__all__ = ["CpuConv"]
