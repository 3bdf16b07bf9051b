"""Derived seeds: equal for equal streams, different for others."""

from hwnas.seeds import derived_seed


def test_seeds_of_streams_differ_from_each_other_and_from_those_of_other_seeds() -> None:
    seeds = [s for seed in range(50) for s in (seed, *(derived_seed(seed, k) for k in range(3)))]
    assert len(set(seeds)) == 200


def test_equal_streams_have_equal_seeds() -> None:
    assert derived_seed(3, 1, 2) == derived_seed(3, 1, 2)
    assert derived_seed(3, 1, 2) != derived_seed(3, 2, 1)
