"""Models by name, and weights for them."""

from __future__ import annotations

import difflib
import fnmatch
import os
from collections.abc import Callable, Iterable
from enum import Enum
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from minidl import nn
from minidl.io.download import DownloadError, fetch
from minidl.io.weights import load_weights
from minidl.tensor import Tensor
from minidl.transforms.presets import ImageClassification

M = TypeVar("M", bound=nn.Module)
Builder = Callable[..., Any]

ADDRESS = "https://download.pytorch.org/models/"
_builders: dict[str, Builder] = {}
_entries: dict[str, Any] = {}


class ImageNetWeights(Enum):
    """Weights for ImageNet-1k's 1000 classes, published with torchvision. Subclasses list them, one for each model.

    Attributes:
        url: where they are.
        meta: ``categories`` (the names of the classes), ``num_params``, and ``acc@1``, the published accuracy on ImageNet's
            validation set in percent.
    """

    def __init__(
        self, file: str, num_params: int, accuracy: float, crop_size: int = 224, resize_size: int = 256
    ) -> None:
        self.file = file
        self.num_params = num_params
        self.accuracy = accuracy
        self.crop_size = crop_size
        self.resize_size = resize_size

    @property
    def url(self) -> str:
        return ADDRESS + self.file

    @property
    def digest(self) -> str:
        """How the file's SHA-256 begins: the last part of its name."""
        return Path(self.file).stem.rpartition("-")[2]

    @property
    def meta(self) -> dict[str, Any]:
        return {"categories": imagenet_classes(), "num_params": self.num_params, "acc@1": self.accuracy}

    def transforms(self) -> ImageClassification:
        """What a picture has to go through: resize, cut out the middle, normalise."""
        return ImageClassification(crop_size=self.crop_size, resize_size=self.resize_size)

    def get_state_dict(self, progress: bool = True, check_hash: bool = True) -> dict[str, Tensor]:
        """Return the weights; downloaded once, into ``hub_folder()``, and checked there. (A bar is shown on terminals only,
        whatever ``progress`` says.)

        Raises:
            RuntimeError: if they cannot be had; the message says where to put them by hand.
        """
        path = hub_folder() / self.file
        try:
            fetch([self.url], path, sha256=self.digest if check_hash else None)
        except DownloadError as error:
            raise DownloadError(
                f"{error}\nGet the file in another way and put it at {path}, or pass weights=FILE"
            ) from error
        return load_weights(path)


def hub_folder() -> Path:
    """Where downloaded weights are kept: ``$MINIDL_HOME/checkpoints``, as a rule ``~/.cache/minidl/checkpoints``."""
    home = os.environ.get("MINIDL_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minidl"
    return Path(home) / "checkpoints"


def imagenet_classes() -> list[str]:
    """The names of ImageNet-1k's classes, in the order of a model's outputs."""
    text = resources.files("minidl.models").joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    return text.splitlines()


def register(entries: Any = None) -> Callable[[Builder], Builder]:
    """Make a builder known under its name, with the class that lists its weights."""

    def keep(builder: Builder) -> Builder:
        _builders[builder.__name__] = builder
        _entries[builder.__name__] = entries
        return builder

    return keep


def list_models(
    module: ModuleType | None = None,
    include: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
) -> list[str]:
    """The names of all models, sorted.

    Args:
        module: a package; only the models in its modules. They are all in ``minidl.models``.
        include: a pattern with wildcards (see ``fnmatch``), or several; only names that match one. None or none: all.
        exclude: likewise; no names that match one.

    >>> list_models(include="resnet*", exclude=["*18", "*1*"])
    ['resnet34', 'resnet50']
    """
    names = [n for n, b in _builders.items() if module is None or b.__module__.rpartition(".")[0] == module.__name__]
    only, without = ([p] if isinstance(p, str) else list(p or ()) for p in (include, exclude))
    return sorted(n for n in names if (not only or _matches(n, only)) and not _matches(n, without))


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def get_model(name: str, **config: Any) -> Any:
    """Build a model by its name.

    Args:
        name: one of ``list_models()``; case does not matter.
        config: what its builder takes: ``weights``, ``num_classes`` and so on.

            ``weights`` may be None (drawn at random), a file (.safetensors, .pth, .pt, .th or .npz), an entry of the model's
            ``…_Weights``, or the name of one, such as "IMAGENET1K_V1" or "DEFAULT".

    Raises:
        ValueError: if there is no such model (close names are suggested), published weights are for other classes, or a file is
            damaged.
        FileNotFoundError: if ``weights`` is neither a file nor an entry.
        RuntimeError: if the weights do not fit the model.

    >>> get_model("cifar_resnet20", num_classes=100)(minidl.zeros(1, 3, 32, 32)).shape
    (1, 100)
    """
    return get_model_builder(name)(**config)


def get_model_builder(name: str) -> Builder:
    """The function that builds a model, such as ``resnet18``.

    Raises:
        ValueError: if there is no such model (close names are suggested).
    """
    builder = _builders.get(name.lower()) if isinstance(name, str) else None
    if builder is None:
        close = difflib.get_close_matches(str(name).lower(), _builders, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(close)}?" if close else f"; there are {', '.join(list_models())}"
        raise ValueError(f"Unknown model {name!r}{hint}")
    return builder


def get_model_weights(name: str | Builder) -> Any:
    """The class that lists a model's published weights.

    Args:
        name: the model's name, or the function that builds it.

    Raises:
        ValueError: if there is no such model, or there are none.

    >>> get_model_weights(resnet18) is get_model_weights("resnet18")
    True
    """
    builder = name if callable(name) and name in _builders.values() else get_model_builder(name)  # type: ignore[arg-type]
    entries = _entries[builder.__name__]
    if entries is None:
        raise ValueError(f"{builder.__name__}: there are no published weights for this model; give a file")
    return entries


def get_weight(name: str) -> Any:
    """An entry of a model's published weights, by its full name.

    Raises:
        ValueError: if there is none of this name.

    >>> get_weight("ResNet18_Weights.IMAGENET1K_V1").meta["num_params"]
    11689512
    """
    listing, _, entry = name.partition(".")
    known = {entries.__name__: entries for entries in _entries.values() if entries is not None}
    if listing not in known:
        raise ValueError(f"Unknown weights {name!r}: expected CLASS.ENTRY, where CLASS is one of {', '.join(known)}")
    if entry not in known[listing].__members__:
        raise ValueError(f"Unknown weights {name!r}: {listing} has {', '.join(known[listing].__members__)}")
    return known[listing][entry]


def build(
    make: Callable[..., M], entries: Any, weights: Any, progress: bool, options: dict[str, Any], **with_weights: Any
) -> M:
    """Make a model, and load its weights.

    Args:
        make: makes it from ``options``.
        entries: the class that lists its published weights, or None.
        weights: as in ``get_model``.
        with_weights: further options where there are weights.
    """
    if weights is None:
        return make(**options)
    entry = find_entry(entries, weights)
    published = isinstance(entry, ImageNetWeights)
    if published:
        asked = options.setdefault("num_classes", 1000)
        if asked != 1000:
            raise ValueError(
                f"The parameter 'num_classes' expected value 1000 but got {asked} instead: {entry} is for ImageNet's classes. "
                "To classify others, build it with them and replace its last layer."
            )
    model = make(**{**with_weights, **options})
    load_into(model, entry.get_state_dict(progress) if published else load_weights(entry), str(entry))
    return model


def find_entry(entries: Any, weights: Any) -> Any:
    """An entry of ``entries``, or a path."""
    if isinstance(weights, Enum):
        if entries is None or not isinstance(weights, entries):
            wanted = "a file" if entries is None else f"an entry of {entries.__name__}"
            raise TypeError(f"weights: expected {wanted}, got {weights}, which belongs to another model")
        return weights
    if isinstance(weights, str) and entries is not None:
        name = weights.rpartition(".")[2] if weights.startswith(f"{entries.__name__}.") else weights
        if name in entries.__members__:
            return entries[name]
    if not isinstance(weights, (str, os.PathLike)):
        raise TypeError(f"weights: expected a file or an entry of the model's weights, got {type(weights).__name__}")
    if not Path(weights).exists():
        known = "" if entries is None else f", and no entry of {entries.__name__} ({', '.join(entries.__members__)})"
        raise FileNotFoundError(f"weights: {os.fspath(weights)!r} is no file{known}")
    return weights


def load_into(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """``model.load_state_dict(state)``, with a message that says what does not fit.

    Raises:
        RuntimeError: if a name is missing or unknown, or a shape differs.
    """
    own = model.state_dict()
    # PyTorch counts a normalisation's batches since version 0.4.1; files from before have no such numbers.
    state = {**{n: v for n, v in own.items() if n.endswith("num_batches_tracked")}, **state}
    wrong = [name for name in own if name in state and tuple(own[name].shape) != tuple(state[name].shape)]
    missing, unknown = [n for n in own if n not in state], [n for n in state if n not in own]
    if not (wrong or missing or unknown):
        model.load_state_dict(state)
        return
    kind = type(model).__name__
    if not (missing or unknown) and len({tuple(state[n].shape)[:1] for n in wrong}) == 1:
        here, there = own[wrong[0]].shape[0], state[wrong[0]].shape[0]
        if {n.rpartition(".")[0] for n in wrong} == {next(reversed(own)).rpartition(".")[0]}:
            raise RuntimeError(
                f"{source} is for {there} classes, and this {kind} has {here}: pass num_classes={there}, and replace the last "
                "layer afterwards if you want others."
            )
    lines = [f"{n}: {tuple(state[n].shape)} in the file, {tuple(own[n].shape)} in the model" for n in wrong[:5]]
    lines += [f"{n}: not in the file" for n in missing[:5]] + [f"{n}: not in the model" for n in unknown[:5]]
    more = len(wrong) + len(missing) + len(unknown) - len(lines)
    raise RuntimeError(
        f"{source} does not fit this {kind} ({len(missing)} names are missing, {len(unknown)} unknown, {len(wrong)} have another "
        f"shape); it is perhaps for another architecture:\n  "
        + "\n  ".join(lines)
        + (f"\n  and {more} more" if more else "")
    )
