"""Questions about the GPU."""

from __future__ import annotations

from minidl.backend import backend_for


def is_available() -> bool:
    """True if CuPy is installed and finds a GPU."""
    try:
        backend_for("cuda")
    except RuntimeError:
        return False
    return True


def device_count() -> int:
    """The number of GPUs that CuPy finds."""
    return int(backend_for("cuda").cuda.runtime.getDeviceCount()) if is_available() else 0


def synchronize() -> None:
    """Wait until the GPU has finished everything it was given."""
    backend_for("cuda").cuda.get_current_stream().synchronize()


def get_device_name(device: int = 0) -> str:
    """The name of a GPU, such as ``"NVIDIA H100 80GB HBM3"``.

    Raises:
        RuntimeError: if CuPy is not installed, or finds no GPU.
    """
    name: bytes = backend_for("cuda").cuda.runtime.getDeviceProperties(device)["name"]
    return name.decode()
