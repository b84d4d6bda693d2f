"""Python code in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys


def python(code: str, timeout: int, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it, for ``timeout`` seconds at most, with these variables in its environment besides; it must not fail."""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stderr
    return done
