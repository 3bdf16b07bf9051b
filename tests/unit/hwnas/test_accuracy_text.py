"""Ties as letters, and what is said beside accuracies."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hwnas.accuracy_text import accuracy_notes, standings_text, tie_letters

Document = dict[str, Any]


def ordered(n: int, different: set[tuple[int, int]]) -> list[Document]:
    """Return candidates 0 to n - 1, the most accurate first, tied but for some pairs."""

    def comparison(other: int, probability: float) -> Document:
        return {"arch_id": str(other), "probability": probability}

    return [
        {
            "arch_id": str(i),
            "metrics": {"accuracy": {"value": 0.9 - 0.01 * i}},
            "better_than": [comparison(b, 0.999) for a, b in sorted(different) if a == i],
            "ties_with": [
                comparison(j, 0.5)
                for j in range(n)
                if j != i and (min(i, j), max(i, j)) not in different
            ],
        }
        for i in range(n)
    ]


PAIRS = st.integers(2, 6).flatmap(
    lambda n: st.tuples(st.just(n), st.sets(st.sampled_from(list(combinations(range(n), 2)))))
)


@given(PAIRS)
def test_two_share_a_letter_just_where_they_are_tied(
    pairs: tuple[int, set[tuple[int, int]]],
) -> None:
    n, different = pairs
    letters = tie_letters(ordered(n, different))
    assert set(letters) == {str(i) for i in range(n)}
    for a, b in combinations(range(n), 2):
        shared = set(letters[str(a)]) & set(letters[str(b)])
        assert bool(shared) == ((a, b) not in different)


def test_the_classic_overlap_takes_two_letters_and_the_best_has_the_first() -> None:
    assert tie_letters(ordered(3, {(0, 2)})) == {"0": "a", "1": "ab", "2": "b"}
    assert tie_letters(ordered(3, set())) == {"0": "a", "1": "a", "2": "a"}
    assert tie_letters(ordered(3, {(0, 1), (0, 2), (1, 2)})) == {"0": "a", "1": "b", "2": "c"}


def test_who_was_not_compared_has_no_letter() -> None:
    alone = {"arch_id": "x", "metrics": {"accuracy": {"value": 0.99}}}
    assert tie_letters([alone, *ordered(2, set())]) == {"0": "a", "1": "a"}
    assert tie_letters([alone]) == {}


def test_a_probability_is_never_rounded_to_certainty() -> None:
    comparisons = [
        {"arch_id": "x", "probability": 0.99996},
        {"arch_id": "y", "probability": 0.9876},
    ]
    names = {"x": "first", "y": "second"}
    assert standings_text(comparisons, names) == "first (over 99.9 %), second (98.8 %)"


def test_the_notes_tell_the_two_ways_in_which_validation_was_optimistic() -> None:
    front = {
        "validation_optimism": {
            "finalists": 3,
            "searched": 0.97,
            "retrained": 0.95,
            "test": 0.94,
            "by_choice": {"value": 0.02, "low": 0.01, "high": 0.03},
            "by_samples": {"value": 0.01, "low": -0.02, "high": 0.04},
        },
        "test_split": {"samples": 1000, "groups": 2},
    }
    optimism, groups = accuracy_notes(front)
    assert "3 finalists: 97.0 % in the search, which chose them by it, and 95.0 %" in optimism
    assert "flattered by 2.0 points (1.0 to 3.0)" in optimism
    assert "validation samples by 1.0 points (-2.0 to 4.0)" in optimism
    assert groups.startswith("The 1000 test samples come from 2 groups")


def test_a_front_without_retrained_candidates_or_groups_has_no_notes() -> None:
    assert accuracy_notes({}) == []
    split = {"samples": 100, "groups": None}
    assert accuracy_notes({"validation_optimism": None, "test_split": split}) == []
