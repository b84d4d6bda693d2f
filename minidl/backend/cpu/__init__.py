"""The CPU: NumPy, two or more threads, and Numba's compiled kernels where the extra ``fast`` is installed.

Read in this order: ``threads`` (how work is shared out), ``backend`` (which kernels are overridden), ``select`` (who decides
between them), ``compiled`` (Numba, if it is there) and the kernels in ``fast/``.
"""

from minidl.backend.cpu.backend import CpuBackend

__all__ = ["CpuBackend"]
