"""Check the choice lists that an experiment overrides."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence

from search_spaces._types import Choice

Check = Callable[[Choice], bool]


def resolve_choices(
    defaults: Mapping[str, tuple[Choice, ...]],
    groups: Mapping[str, Sequence[str]],
    checks: Mapping[str, tuple[str, Check]],
    overrides: Mapping[str, Sequence[Choice]],
) -> dict[str, tuple[Choice, ...]]:
    """Return every dimension's choices, with overrides applied.

    Args:
        defaults: Choices of every dimension, in order.
        groups: Dimensions of each group name, such as ``kernel`` for every stage's kernel.
        checks: Per group, what a value must be, in words and as a test.
        overrides: By group or by dimension; the dimension wins.

    Raises:
        ValueError: Naming the key, what was wanted and what came.
    """
    group_of = {name: group for group, members in groups.items() for name in members}
    resolved = dict(defaults)
    # groups first, so that a single dimension can differ from its group
    for key in sorted(overrides, key=lambda k: k not in groups):
        members = groups.get(key) or ([key] if key in defaults else None)
        if members is None:
            named = {group: members for group, members in groups.items() if members}
            raise ValueError(f"choices.{key}: unknown choice.{_suggestion(key, named, defaults)}")
        values = overrides[key]
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise ValueError(f"choices.{key}: wanted a list of values. Got {values!r}.")
        wanted, check = checks[group_of[members[0]]]
        if not values:
            raise ValueError(f"choices.{key}: wanted at least one value. Got an empty list.")
        for value in values:
            if isinstance(value, bool) or not check(value):
                raise ValueError(f"choices.{key}: wanted {wanted}. Got {value!r}.")
        if len(set(values)) != len(values):
            raise ValueError(f"choices.{key}: wanted each value once. Got {list(values)}.")
        resolved |= dict.fromkeys(members, tuple(values))
    return resolved


def complete_choices(
    dimensions: Mapping[str, tuple[Choice, ...]], choices: Mapping[str, Choice]
) -> dict[str, Choice]:
    """Return ``choices`` after checking that each dimension has one of its values.

    Values come back as the dimension writes them: ``1.0`` for ``1`` would be another
    text in JSON, thus another `Architecture.arch_id`.

    Raises:
        ValueError: Naming the dimension, what was wanted and what came.
    """
    if choices.keys() != dimensions.keys():
        for name in choices:
            if name not in dimensions:
                raise ValueError(f"{name}: unknown dimension.{_suggestion(name, dimensions)}")
        missing = sorted(dimensions.keys() - choices.keys())
        raise ValueError(f"{missing[0]}: missing; wanted one of {dimensions[missing[0]]}")
    for name, value in choices.items():
        if value not in dimensions[name]:
            raise ValueError(f"{name}: wanted one of {dimensions[name]}. Got {value!r}.")
    return {name: own[own.index(choices[name])] for name, own in dimensions.items()}


def _suggestion(key: str, *allowed: Mapping[str, object]) -> str:
    names = [name for mapping in allowed for name in mapping]
    close = difflib.get_close_matches(key, names, n=1)
    return f" Did you mean {close[0]!r}?" if close else f" Allowed: {', '.join(names) or 'none'}."
