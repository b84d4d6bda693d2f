"""Which shards there are, and what is known of them."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

INDEX = "shards.json"  # beside the shards: how many samples each has, and the names of the classes


def find_shards(urls: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """The paths that ``urls`` of ``ShardDataset`` stands for.

    Raises:
        FileNotFoundError: if one is missing, or there is none.
        ValueError: if it is no local path.
    """
    given = [urls] if isinstance(urls, (str, os.PathLike)) else list(urls)
    found: list[str] = []
    for entry in given:
        pattern = os.fspath(entry)
        if re.match(r"(\w\w+://|pipe:)", pattern):
            raise ValueError(f"ShardDataset reads local files only, got {pattern!r}")
        for path in [pattern] if os.path.exists(pattern) else expand_braces(pattern):
            if os.path.isdir(path):
                found += _shards_in(path)
            elif not os.path.exists(path) and glob.has_magic(path):
                matches = sorted(glob.glob(path))
                if not matches:
                    raise FileNotFoundError(f"no file matches {path}")
                found += matches
            else:
                found.append(path)
    missing = [path for path in found if not os.path.isfile(path)]
    if missing:
        others = f" (and {len(missing) - 1} others)" if len(missing) > 1 else ""
        raise FileNotFoundError(f"no such shard: {missing[0]}{others}")
    if not found:
        raise FileNotFoundError("ShardDataset: the list of shards is empty")
    return found


def _shards_in(folder: str) -> list[str]:
    index = os.path.join(folder, INDEX)
    if os.path.exists(index):
        return [os.path.join(folder, name) for name in _read_index(index)[0]]
    found = [os.path.join(folder, n) for n in sorted(os.listdir(folder)) if n.endswith((".tar", ".tar.gz", ".tgz"))]
    if not found:
        raise FileNotFoundError(f"there is no .tar file in folder {folder}")
    return found


def expand_braces(pattern: str) -> list[str]:
    """What a shell makes of ``{a,b}`` and ``{00..12}`` in a text.

    Example:
        >>> expand_braces("{a,b}-{09..10}.tar")
        ['a-09.tar', 'a-10.tar', 'b-09.tar', 'b-10.tar']
    """
    begin = pattern.find("{")
    while begin >= 0:
        depth, cuts = 0, [begin]
        for end in range(begin, len(pattern)):
            depth += (pattern[end] == "{") - (pattern[end] == "}")
            if depth == 1 and pattern[end] == ",":
                cuts.append(end)
            if depth == 0:
                break
        inside = pattern[begin + 1 : end]
        choices = _numbers(inside) if len(cuts) == 1 else [pattern[i + 1 : j] for i, j in pairwise([*cuts, end])]
        if depth == 0 and choices:
            middles = [text for choice in choices for text in expand_braces(choice)]
            tails = expand_braces(pattern[end + 1 :])
            return [pattern[:begin] + middle + tail for middle in middles for tail in tails]
        begin = pattern.find("{", begin + 1)  # a shell leaves this one as it is
    return [pattern]


def _numbers(span: str) -> list[str]:
    """The numbers of ``08..11``, with leading zeros if an end has some; none if it is no such span."""
    match = re.fullmatch(r"(\d+)\.\.(\d+)", span, re.ASCII)
    if not match:
        return []
    ends = match.groups()
    first, last = map(int, ends)
    width = max(map(len, ends)) if any(len(end) > 1 and end[0] == "0" for end in ends) else 0
    step = 1 if first <= last else -1
    return [f"{number:0{width}d}" for number in range(first, last + step, step)]


def read_indices(shards: list[str]) -> tuple[dict[str, int], list[str] | None]:
    """What the indices beside the shards say.

    Returns:
        for each shard that has an entry the number of its samples; and the names of the classes, if the indices agree on them.

    Raises:
        ValueError: if an index is none.
    """
    counts: dict[str, int] = {}
    classes: list[list[str] | None] = []
    for folder in dict.fromkeys(os.path.dirname(shard) for shard in shards):
        if os.path.exists(index := os.path.join(folder, INDEX)):
            entries, names = _read_index(index)
            counts |= {
                s: entries[base]
                for s in shards
                if (base := os.path.basename(s)) in entries and os.path.dirname(s) == folder
            }
            classes.append(names)
    return counts, classes[0] if classes and all(names == classes[0] for names in classes) else None


def _read_index(path: str) -> tuple[dict[str, int], Any]:
    """The number of samples by the shard's name, in order, and the names of the classes."""
    try:
        with open(path, encoding="utf-8") as file:
            index = json.load(file)
        return {os.path.basename(s["url"]): int(s["nsamples"]) for s in index["shardlist"]}, index.get("classes")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no index of shards: {type(error).__name__}: {error}") from error
