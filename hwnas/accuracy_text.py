"""How sure accuracies are and which are tied, in words and letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_lowercase
from typing import Any

from hwnas.units import percent

Document = Mapping[str, Any]

TIES_NOTE = (
    "ties: two with a letter in common are not shown to differ in test accuracy (95 %, all pairs "
    "together); those without one have a single seed, were chosen by it, and are not compared."
)


def tie_letters(candidates: Sequence[Document]) -> dict[str, str]:
    """Return letters of each candidate, such as ``ab``: two that share one are tied.

    Letter ``a`` is that of the most accurate. Candidates that were not compared have none.

    Args:
        candidates: As in ``front.json``.

    References:
        Piepho (2004), An algorithm for a letter-based representation of all-pairwise
        comparisons. Journal of Computational and Graphical Statistics 13(2), 456-466.
    """
    compared = _compared(candidates)
    groups = [frozenset(c["arch_id"] for c in compared)]
    for candidate in compared:
        one = candidate["arch_id"]
        for other in (c["arch_id"] for c in candidate["better_than"]):
            groups = _absorbed(
                [
                    part
                    for group in groups
                    for part in (
                        [group - {one}, group - {other}] if {one, other} <= group else [group]
                    )
                ]
            )
    ranks = {c["arch_id"]: rank for rank, c in enumerate(compared)}
    groups.sort(key=lambda group: sorted(ranks[arch_id] for arch_id in group))
    return {
        arch_id: "".join(
            letter
            for letter, group in zip(_letters(len(groups)), groups, strict=True)
            if arch_id in group
        )
        for arch_id in ranks
    }


def standings_text(comparisons: Sequence[Document], names: Mapping[str, str]) -> str:
    """Return others, by their names, with the probability to be more accurate than each."""
    return ", ".join(
        f"{names[c['arch_id']]} ({_probability(c['probability'])})" for c in comparisons
    )


def optimism_text(front: Document) -> str | None:
    """Return how far validation accuracies of the search were optimistic, in one sentence."""
    found = front.get("validation_optimism")
    if found is None:
        return None
    return (
        f"Validation accuracy of the {found['finalists']} finalists: "
        f"{percent(found['searched'])} in the search, which chose them by it, and "
        f"{percent(found['retrained'])} with other seeds; test accuracy {percent(found['test'])}. "
        f"So choosing the luckiest trainings flattered by {_points(found['by_choice'])}, and "
        f"validation samples by {_points(found['by_samples'])}."
    )


def sample_groups_text(front: Document) -> str | None:
    """Return what the intervals of test accuracies do not say, where samples come in groups."""
    groups = front.get("test_split", {}).get("groups")
    if groups is None:
        return None
    return (
        f"The {front['test_split']['samples']} test samples come from {groups} groups: intervals "
        "and ties hold for further samples of these groups, not for new ones."
    )


def accuracy_notes(front: Document) -> list[str]:
    """Return what must be said beside the test accuracies of a front, a sentence each."""
    return [text for text in (optimism_text(front), sample_groups_text(front)) if text]


def _compared(candidates: Sequence[Document]) -> list[Document]:
    """Return the candidates of any comparison, the most accurate first."""
    named = {
        arch_id
        for c in candidates
        for key in ("better_than", "ties_with")
        for other in c.get(key, ())
        for arch_id in (c["arch_id"], other["arch_id"])
    }
    found = [c for c in candidates if c["arch_id"] in named]
    return sorted(found, key=lambda c: -float(c["metrics"]["accuracy"]["value"]))


def _absorbed(groups: Sequence[frozenset[str]]) -> list[frozenset[str]]:
    """Return the groups that no other one holds."""
    distinct = list(dict.fromkeys(groups))
    return [group for group in distinct if not any(group < other for other in distinct)]


def _letters(n: int) -> list[str]:
    # a front of finalists never has so many groups; if one had, numbers follow letters
    return [*ascii_lowercase, *(f"({i})" for i in range(len(ascii_lowercase), n))][:n]


def _probability(value: float) -> str:
    return "over 99.9 %" if value > 0.9995 else percent(value)


def _points(metric: Document) -> str:
    text = f"{100 * metric['value']:.1f} points"
    if "low" not in metric:
        return text
    return f"{text} ({100 * metric['low']:.1f} to {100 * metric['high']:.1f})"
