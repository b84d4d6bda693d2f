"""``minidl.device``: the name of a place where arrays live."""

from __future__ import annotations


class device:  # noqa: N801  (PyTorch's name)
    """A device: ``device("cpu")``, ``device("cuda")``, ``device("cuda:1")``, ``device("cuda", 1)``.

    Attributes:
        type: ``"cpu"`` or ``"cuda"``.
        index: the GPU's number, or None for the current one.

    Example:
        >>> device("cuda:0").type
        'cuda'
    """

    __slots__ = ("index", "type")
    type: str
    index: int | None

    def __init__(self, type: str | device, index: int | None = None) -> None:
        if isinstance(type, device):
            self.type, self.index = type.type, type.index
            return
        if not isinstance(type, str):
            raise TypeError(f"device(): expected a string such as 'cpu' or 'cuda:0', got {type!r}")
        name, _, number = type.partition(":")
        if not name or (":" in type and not number.isdigit()):
            raise RuntimeError(f"Invalid device string: {type!r}")
        self.type = name
        self.index = int(number) if number else index

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (device, str)):
            return NotImplemented
        other = device(other)
        return (self.type, self.index or 0) == (other.type, other.index or 0)

    def __hash__(self) -> int:
        return hash((self.type, self.index or 0))

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return (
            f"device(type={self.type!r})" if self.index is None else f"device(type={self.type!r}, index={self.index})"
        )
