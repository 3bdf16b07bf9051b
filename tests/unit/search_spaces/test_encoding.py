"""Encodings: positions of choices, in the order of the dimensions."""

import numpy as np
import pytest

import search_spaces
from search_spaces import Architecture, Choice, Stage
from search_spaces.encoding import CanonicalEncodings, decode, encode, sample_encodings

SPACE = search_spaces.create(
    "early_exit", input_shape=(1, 8, 8), n_classes=3, choices={"s1_depth": [0, 1, 2]}
)


def test_an_encoding_holds_the_position_of_each_choice() -> None:
    arch = SPACE.sample(np.random.default_rng(0))
    (row,) = encode(SPACE, [arch])
    for (name, values), position in zip(SPACE.dimensions.items(), row, strict=True):
        assert values[position] == arch[name]


def test_decoding_an_encoding_gives_the_architecture_back() -> None:
    rng = np.random.default_rng(1)
    architectures = [SPACE.sample(rng) for _ in range(50)]
    assert decode(SPACE, encode(SPACE, architectures)) == architectures
    assert encode(SPACE, []).shape == (0, len(SPACE.dimensions))
    assert decode(SPACE, encode(SPACE, [])) == []


def test_drawn_encodings_hold_every_choice_about_equally_often() -> None:
    """Counts of 3000 draws are binomial: 6 deviations off happens once in 10^9 times."""
    n = 3000
    drawn = sample_encodings(SPACE, n, np.random.default_rng(2))
    for values, column in zip(SPACE.dimensions.values(), drawn.T, strict=True):
        share = 1 / len(values)
        spread = np.sqrt(n * share * (1 - share))
        counts = np.bincount(column, minlength=len(values))
        assert len(counts) == len(values)
        assert np.all(np.abs(counts - n * share) <= 6 * spread)


def test_decoding_what_was_drawn_gives_canonical_architectures() -> None:
    for arch in decode(SPACE, sample_encodings(SPACE, 50, np.random.default_rng(3))):
        assert SPACE.canonicalize(dict(arch.choices)) == arch


class Opaque:
    """The same space, which does not say what makes its choices canonical."""

    name, dimensions = SPACE.name, SPACE.dimensions

    def canonicalize(self, choices: dict[str, Choice]) -> Architecture:
        return SPACE.canonicalize(choices)


def test_canonical_encodings_are_the_same_networks() -> None:
    rows = sample_encodings(SPACE, 200, np.random.default_rng(5))
    canonical = CanonicalEncodings(SPACE)(rows)
    # positions as choices, without canonicalizing them
    for row, other in zip(rows.tolist(), canonical.tolist(), strict=True):
        assert network_of(row) == network_of(other)
    # there is something to collapse: multipliers, exits, stages left out
    assert np.any(rows != canonical, axis=1).mean() > 0.3


def network_of(row: list[int]) -> tuple[Stage, ...]:
    choices = zip(SPACE.dimensions.items(), row, strict=True)
    arch = Architecture(SPACE.name, tuple((name, own[i]) for (name, own), i in choices))
    return SPACE.stages(arch)


def test_canonical_encodings_stay_as_they_are() -> None:
    canonical = CanonicalEncodings(SPACE)
    once = canonical(sample_encodings(SPACE, 200, np.random.default_rng(6)))
    assert np.array_equal(canonical(once), once)


def test_a_space_without_collapses_is_asked_for_each_architecture() -> None:
    rows = sample_encodings(SPACE, 50, np.random.default_rng(7))
    opaque = CanonicalEncodings(Opaque())  # type: ignore[arg-type]
    assert np.array_equal(opaque(rows), CanonicalEncodings(SPACE)(rows))


def test_no_encodings_have_no_canonical_ones() -> None:
    none = np.empty((0, len(SPACE.dimensions)), dtype=np.intp)
    assert CanonicalEncodings(SPACE)(none).shape == none.shape


def test_what_is_no_encoding_is_not_made_canonical() -> None:
    with pytest.raises(ValueError, match=r"stem_width has positions 0 to 1\. Got 7"):
        CanonicalEncodings(SPACE)(np.full((1, len(SPACE.dimensions)), 7))


@pytest.mark.parametrize(
    "choices", [(), (("stem_width", 8),), tuple(sorted((n, "no") for n in SPACE.dimensions))]
)
def test_an_architecture_of_another_space_is_refused(choices: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(ValueError, match=r"space 'early_exit'.* at 1; canonicalize"):
        encode(SPACE, [SPACE.sample(np.random.default_rng(4)), Architecture("other", choices)])


@pytest.mark.parametrize(
    ("encodings", "message"),
    [
        (np.zeros((2, 3), dtype=np.intp), r"shape \(n, \d+\). Got int64 of shape \(2, 3\)"),
        (np.zeros((2, len(SPACE.dimensions))), "wanted integers.*Got float64"),
        (np.full((1, len(SPACE.dimensions)), -1), "stem_width has positions 0 to 1. Got -1"),
    ],
)
def test_what_is_no_encoding_is_refused(encodings: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(SPACE, encodings)
