"""Makes ``fashion_mini.npz`` from the four files of Fashion-MNIST. Run it with the folder that holds them:

    python -m minidl.datasets._make_fashion_mini FOLDER

The files are ``{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz`` as Zalando publishes them, or as the Debian package
dataset-fashion-mnist holds them. From each part it takes the first images of every class, in the order of the part, so
training images come from the official training part and test images from the official test part. Pixels are unchanged.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
from pathlib import Path

import numpy as np

MD5 = {  # of the unpacked files; the .gz around them differs between the two sources
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
PER_CLASS = {"train": 600, "t10k": 100}


def read_idx(folder: Path, name: str) -> np.ndarray:
    """Read an idx file of bytes: a header of one 32-bit word for the type and each dimension, then the values."""
    content = gzip.decompress((folder / f"{name}.gz").read_bytes())
    digest = hashlib.md5(content).hexdigest()
    if digest != MD5[name]:
        raise SystemExit(f"{folder / name}.gz: the content has md5 {digest}, expected {MD5[name]}")
    ndim = content[3]
    shape = np.frombuffer(content, ">i4", count=ndim, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * ndim).reshape(shape)


def first_of_each_class(labels: np.ndarray, count: int) -> np.ndarray:
    """Indices of the first ``count`` samples of every class, ascending."""
    return np.sort(np.concatenate([np.flatnonzero(labels == c)[:count] for c in range(10)]))


def main() -> None:
    parser = argparse.ArgumentParser(description="Make fashion_mini.npz from the files of Fashion-MNIST.")
    parser.add_argument("folder", type=Path, help="where the four .gz files are")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("fashion_mini.npz"))
    arguments = parser.parse_args()
    arrays = {}
    for part, count in PER_CLASS.items():
        labels = read_idx(arguments.folder, f"{part}-labels-idx1-ubyte")
        chosen = first_of_each_class(labels, count)
        name = "train" if part == "train" else "test"
        arrays[f"{name}_images"] = read_idx(arguments.folder, f"{part}-images-idx3-ubyte")[chosen]
        arrays[f"{name}_labels"] = labels[chosen]
    np.savez_compressed(arguments.out, **arrays)
    print(
        arguments.out,
        arguments.out.stat().st_size,
        "bytes, sha256",
        hashlib.sha256(arguments.out.read_bytes()).hexdigest(),
    )


if __name__ == "__main__":
    main()
