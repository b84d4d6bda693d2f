"""A stand-in for CuPy that runs on NumPy and refuses what CuPy refuses; see strict_array.py and strict_module.py.

``import tests.strict.backend`` adds the device "strict" to minidl.
"""

from .guards import UndefinedOnGPU, count_syncs, count_uploads
from .scatter import cupyx
from .strict_array import StrictArray
from .strict_module import xp

__all__ = ["StrictArray", "UndefinedOnGPU", "count_syncs", "count_uploads", "cupyx", "xp"]
