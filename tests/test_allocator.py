"""Freed memory is kept where the C library can, and the switch turns that off."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, numpy as np
import minidl
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        arrays = [np.ones(6_000_000, np.uint8) for _ in range(8)]  # together more than glibc keeps by itself
        del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults(switch):
    environment = {**os.environ, "MINIDL_KEEP_MEMORY": switch}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these thresholds")
def test_large_temporaries_cost_no_page_faults():
    kept, returned = faults("1"), faults("0")
    assert kept < 1000  # of 20 times 8 arrays of 1,465 pages
    assert returned > 10 * max(kept, 1000)
