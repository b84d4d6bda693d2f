"""A JPEG file that is not decoded yet: where a transform keeps only a window, the rows below it need not be.

A JPEG is a stream from top to bottom. The height in its header is made smaller, and the decoder, Pillow's as always, stops
there. (Below ``RandomResizedCrop``'s windows lies a seventh of all rows.) The plain twin is decoding everything.
"""

from __future__ import annotations

import io
import os
from typing import NamedTuple

from PIL import Image

MARGIN = 8  # rows that are decoded below those that are wanted: colours, at half the resolution, blend with what is next to them
END = b"\xff\xd9"  # never among pixels, where every 0xFF has a zero behind it
SEQUENTIAL = (0xC0, 0xC1)  # frames whose rows come in order: baseline, extended sequential
SEGMENTS = (0xC4, 0xCC, *range(0xDB, 0xFF))  # what may come before the pixels: tables, notes of applications, comments
SCAN = 0xDA  # what the pixels begin with


class Undecoded(NamedTuple):
    """What is in a JPEG file.

    Attributes:
        data: the file.
        height, width: of the image.
        where: the place of the height in ``data``, 16 bits, high byte first.
    """

    data: bytes
    height: int
    width: int
    where: int

    def decode(self, rows: int | None = None) -> Image.Image:
        """The image in mode "RGB", or its uppermost rows: at least ``rows``, if it has as many, with the same numbers.

        Raises:
            OSError: (or another exception of Pillow) if it cannot be read, or is truncated.
        """
        data = self.data
        if rows is not None and rows + MARGIN < self.height:
            height = (rows + MARGIN).to_bytes(2, "big")
            data = b"".join((data[: self.where], height, data[self.where + 2 :]))
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            return decoded(image)


def decoded(image: Image.Image) -> Image.Image:
    """An image that Pillow has opened, in mode "RGB" and independent of its file.

    Raises:
        OSError: (or another exception of Pillow) if it cannot be read, or is truncated.
    """
    if image.mode != "RGB":
        return image.convert("RGB")
    image.load()  # ``convert`` would make a copy
    return image


def undecoded(path: str | os.PathLike[str]) -> Undecoded | None:
    """Return a JPEG file that can be decoded in part; None if it is none, or of another kind, or cut off: Pillow would not notice
    that in a part.

    Source: ITU-T T.81, annex B: a file is a sequence of markers, 0xFF and a byte, most of them with the length of what belongs to
    them; the frame header has the height and the width.
    """
    with open(path, "rb") as file:
        if file.read(2) != b"\xff\xd8":
            return None
        file.seek(0)
        data = file.read()
    at, where = 2, 0
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == SCAN and where:
            height, width = (int.from_bytes(data[i : i + 2], "big") for i in (where, where + 2))
            most = Image.MAX_IMAGE_PIXELS  # Pillow warns of larger ones, and refuses them
            fits = height > 0 and width > 0 and (most is None or height * width <= most)
            return Undecoded(data, height, width, where) if fits and data.rfind(END, at) > 0 else None
        if marker in SEQUENTIAL and not where:
            where = at + 5
        elif marker not in SEGMENTS:
            return None
        at += 2 + length
    return None
