"""Accuracy scorers by name; third parties add theirs through the entry-point group."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from hwnas.config_errors import did_you_mean
from hwnas.errors import UserError
from hwnas.scorers._types import AccuracyScorer, ScoringContext
from search_spaces import SearchSpace

ENTRY_POINTS = "hwnas.accuracy_scorers"
AUTO = "auto"
"""In place of a name: first trainings tell which scorer pays."""

_BUILT_IN = {
    "full": "hwnas.scorers.full:FullTraining",
    "halving": "hwnas.scorers.halving:SuccessiveHalving",
    "supernet": "hwnas.scorers.supernet:InheritedWeights",
}


def names() -> tuple[str, ...]:
    """Return the names of all registered scorers, sorted."""
    return tuple(sorted({*_BUILT_IN, *(e.name for e in entry_points(group=ENTRY_POINTS))}))


def check(name: str, space: SearchSpace) -> None:
    """Refuse what could not score the architectures of a space, without loading the scorer.

    Args:
        name: Registered name, or `AUTO`.
        space: To be searched.

    Raises:
        UserError: If there is no such scorer, or it cannot serve this space.
    """
    if name not in (AUTO, *names()):
        raise _unknown(name)
    if name == "supernet":
        from hwnas.scorers.shared_weights import check_shareable

        check_shareable(space)


def create(name: str, context: ScoringContext) -> AccuracyScorer:
    """Create a scorer.

    Args:
        name: Registered name.
        context: What it works with.

    Raises:
        UserError: If there is no such scorer, or it cannot serve this search.
    """
    scorer: AccuracyScorer = _load(name)(context)
    return scorer


def _load(name: str) -> Any:
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        return getattr(import_module(module), attribute)
    for entry in entry_points(group=ENTRY_POINTS, name=name):
        return entry.load()
    raise _unknown(name)


def _unknown(name: str) -> UserError:
    known = (AUTO, *names())
    hint = did_you_mean(name, known)
    return UserError(f"accuracy.scorer: unknown scorer {name!r}.{hint} Known: {', '.join(known)}.")
