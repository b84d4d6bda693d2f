"""The device that the tests compare the CPU with: a GPU's stand-in, or, with ``MINIDL_TEST_DEVICE=cuda``, a real GPU.

The stand-in (``tests/strict``) runs on any machine, and also counts what would make the CPU wait. On a GPU those counts are
empty: what is left to see is that the numbers are the same.
"""

from __future__ import annotations

import os

from minidl.backend import Backend, backend_for
from tests.strict.backend import strict_backend

ASKED = os.environ.get("MINIDL_TEST_DEVICE", strict_backend.name)
elsewhere: Backend = backend_for(ASKED)
