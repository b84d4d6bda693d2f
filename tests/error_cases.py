"""Tables of calls that must fail, for ``test_errors.py`` and ``test_errors_values.py``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.elsewhere import elsewhere

OTHER = elsewhere.name  # a device like a GPU, on any machine


def cases(*table: tuple[str, Callable[[], Any], type[Exception], list[str]]) -> Any:
    """Rows of (name, what to call, error, phrases that the message must have)."""
    return pytest.mark.parametrize(
        ("call", "error", "phrases"), [row[1:] for row in table], ids=[row[0] for row in table]
    )


def check(call: Callable[[], Any], error: type[Exception], phrases: Sequence[str]) -> None:
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error  # not merely a subclass
    for phrase in phrases:
        assert phrase in str(caught.value)
