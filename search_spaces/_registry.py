"""Search spaces by name; third parties add theirs through the entry-point group."""

from __future__ import annotations

import difflib
from importlib import import_module
from importlib.metadata import entry_points
from inspect import signature
from typing import Any

from search_spaces._types import SearchSpace, Shape

ENTRY_POINTS = "hwnas.search_spaces"
_BUILT_IN = {
    "depthwise_separable": "search_spaces.depthwise_separable:DepthwiseSeparableSpace",
    "early_exit": "search_spaces.early_exit:EarlyExitSpace",
}


def names() -> tuple[str, ...]:
    """Return the names of all registered spaces, sorted."""
    return tuple(sorted({*_BUILT_IN, *(e.name for e in entry_points(group=ENTRY_POINTS))}))


def create(name: str, *, input_shape: Shape, n_classes: int, **settings: Any) -> SearchSpace:
    """Create a search space.

    Args:
        name: Registered name.
        input_shape: ``(C, H, W)`` of one sample; ``(C, 1, T)`` for sensor windows.
        n_classes: Number of classes, at least 2.
        **settings: Of the space's own constructor, such as ``choices``.

    Raises:
        ValueError: If the name, the shape or a setting is wrong.
    """
    if len(input_shape) != 3 or any(size < 1 for size in input_shape):
        raise ValueError(f"input_shape must be (C, H, W), each at least 1. Got {input_shape}.")
    if n_classes < 2:
        raise ValueError(f"n_classes must be at least 2. Got {n_classes}.")
    space_class = _load(name)
    try:
        # binding alone: a TypeError from inside the constructor is a bug and keeps its traceback
        arguments = signature(space_class).bind(tuple(input_shape), n_classes, **settings)
    except TypeError as error:
        raise ValueError(f"space {name!r} does not take these settings ({error})") from None
    space: SearchSpace = space_class(*arguments.args, **arguments.kwargs)
    return space


def _load(name: str) -> Any:
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        return getattr(import_module(module), attribute)
    for entry in entry_points(group=ENTRY_POINTS, name=name):
        return entry.load()
    known = names()
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"unknown search space {name!r}.{hint} Known: {', '.join(known)}.")
