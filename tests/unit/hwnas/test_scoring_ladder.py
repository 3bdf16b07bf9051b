"""What a ladder is said to gain against order statistics; when another than full is chosen."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, stats

from hwnas.ladder_text import ladder_lines
from hwnas.ranking_quality import CandidateScores, Estimate, RankingSample
from hwnas.scoring_ladder import (
    Ladder,
    LadderChoice,
    LadderQuality,
    choose_ladder,
    mean_rank,
    surest,
)

N = 16
BUDGET_CPU_S = 400.0


def sample_of(
    quality: NDArray[np.float64], scatter: float, early_scatter: float = 0.1
) -> RankingSample:
    """Accuracies of 2 seeds around a quality; rungs after 1, 3 and 9 CPU seconds."""
    rng = np.random.default_rng(0)
    accuracy, early = (
        0.8 + 0.02 * (quality[:, None] + s * rng.normal(size=(N, 2)))
        for s in (scatter, early_scatter)
    )
    rungs = (
        CandidateScores("1 of 9 epochs", early, 1.0),
        CandidateScores("3 of 9 epochs", early, 3.0),
        CandidateScores("full training", accuracy, 9.0),
    )
    return RankingSample(accuracy, rungs, 500)


def choose(sample: RankingSample, *training_free: CandidateScores) -> LadderChoice:
    return choose_ladder(sample, BUDGET_CPU_S, 3, 0, training_free=training_free)


def expected_maximum(n: int) -> float:
    """Of n standard normal variables."""
    density = lambda x: x * n * stats.norm.cdf(x) ** (n - 1) * stats.norm.pdf(x)  # noqa: E731
    return float(integrate.quad(density, -8, 8)[0])


@pytest.fixture(scope="module")
def quality() -> NDArray[np.float64]:
    return np.random.default_rng(1).normal(size=N)


@pytest.fixture(scope="module")
def perfect(quality: NDArray[np.float64]) -> LadderChoice:
    scores = CandidateScores("oracle", np.exp(quality), 0.1)
    return choose(sample_of(quality, 1e-3, 1e-3), scores)


@pytest.mark.parametrize("place", range(4))
def test_perfect_scores_pick_the_best_of_all_that_enter(perfect: LadderChoice, place: int) -> None:
    found = perfect.considered[place]
    # at most 500 are simulated; mean of 200 maxima, each of deviation 0.4 at these n
    wanted = expected_maximum(min(found.candidates, 500))
    assert found.gain.value == pytest.approx(wanted, abs=4 * 0.4 / np.sqrt(200))


def test_costs_are_those_of_what_each_stage_lets_through(perfect: LadderChoice) -> None:
    cpu_s = [found.ladder.cpu_s for found in perfect.considered]
    halving = 1 + 2 / 3 + 6 / 9
    assert cpu_s == pytest.approx([9, halving, 0.1 + 9 / 10, 0.1 + halving / 10])
    assert [found.candidates for found in perfect.considered] == [
        int(BUDGET_CPU_S / c) for c in cpu_s
    ]


def test_of_perfect_scores_the_cheapest_ladder_is_chosen(perfect: LadderChoice) -> None:
    assert (perfect.chosen.scorer, perfect.chosen.filtered) == ("halving", True)


def test_where_seeds_decide_everything_full_training_stays(quality: NDArray[np.float64]) -> None:
    rng = np.random.default_rng(3)
    noise = RankingSample(
        0.8 + 0.02 * rng.normal(size=(N, 2)), sample_of(quality, 0.1).rungs[:2], 500
    )
    noise = RankingSample(
        noise.accuracy, (*noise.rungs, CandidateScores("full", noise.accuracy, 9.0)), 500
    )
    choice = choose(noise, CandidateScores("free", rng.normal(size=N), 0.1))
    assert choice.chosen.name == "full"
    *_, reason = lines = ladder_lines(choice)
    assert any("no order of accuracies is claimed" in line for line in lines)
    assert reason == "Chosen: full; accuracies that order nothing cannot judge what is cheaper."


@pytest.mark.filterwarnings("error")
def test_where_all_accuracies_are_equal_nothing_beats_full_training(
    quality: NDArray[np.float64],
) -> None:
    equal = np.full((N, 2), 0.9)
    rungs = tuple(
        CandidateScores(rung.name, equal if rung.cpu_s == 9 else rung.values, rung.cpu_s)
        for rung in sample_of(quality, 0.1).rungs
    )
    choice = choose(RankingSample(equal, rungs, 500), CandidateScores("free", quality, 0.1))
    assert [found.chance for found in choice.considered] == [0.0] * 4
    *table, reason = ladder_lines(choice)
    assert any("no order of accuracies is claimed" in line for line in table)
    assert reason == "Chosen: full; accuracies that order nothing cannot judge what is cheaper."


@pytest.mark.parametrize("seed", range(4))
def test_errors_of_the_simulation_are_not_common_to_all_samples(
    quality: NDArray[np.float64], seed: int
) -> None:
    """What is as good as a full training, and next to as dear, beats it half of the time."""
    rng = np.random.default_rng(5)
    accuracy = 0.8 + 0.02 * (quality[:, None] + 0.5 * rng.normal(size=(N, 2)))
    sample = RankingSample(accuracy, (CandidateScores("full training", accuracy, 9.0),), 500)
    again = CandidateScores("again", accuracy, 8.95)
    *_, found = choose_ladder(sample, 905.0, 3, seed, inherited=again).considered
    assert found.candidates == 101
    # of 100 samples: a deviation of 0.05; the one candidate more makes as much of a difference
    assert found.chance == pytest.approx(0.5, abs=0.05 + 4 * 0.05)


@pytest.mark.parametrize(("unfiltered", "wanted"), [(0.96, "filter, halving"), (0.9, "full")])
def test_no_scorer_is_chosen_for_its_filter_alone(
    perfect: LadderChoice, unfiltered: float, wanted: str
) -> None:
    def quality_of(scorer: str, filtered: bool, gain: float, chance: float) -> LadderQuality:
        ladder = Ladder(scorer, filtered, perfect.chosen.stages)
        return LadderQuality(ladder, 100, Estimate(gain, gain, gain), chance)

    considered = [
        quality_of("full", False, 1.0, 0.0),
        quality_of("halving", False, 1.5, unfiltered),
        quality_of("full", True, 1.2, 0.9),
        quality_of("halving", True, 2.0, 0.99),
    ]
    assert surest(considered).name == wanted


def test_early_rungs_that_mislead_are_not_used(quality: NDArray[np.float64]) -> None:
    sample = sample_of(quality, 0.3)
    misled = tuple(
        CandidateScores(rung.name, -rung.values, rung.cpu_s) for rung in sample.rungs[:2]
    )
    choice = choose(RankingSample(sample.accuracy, (*misled, sample.full), 500))
    assert choice.chosen.name == "full"
    full, halving = choice.considered
    assert halving.gain.value < full.gain.value
    assert halving.chance < 0.05


def test_a_supernet_that_costs_more_than_is_left_is_not_chosen(
    quality: NDArray[np.float64],
) -> None:
    sample = sample_of(quality, 0.2, 5.0)
    dear, cheap = (
        CandidateScores("inherited", quality, 0.1, once_cpu_s=once)
        for once in (2 * BUDGET_CPU_S, 0.1 * BUDGET_CPU_S)
    )
    chosen = [
        choose_ladder(sample, BUDGET_CPU_S, 3, 0, inherited=scores).chosen.name
        for scores in (dear, cheap)
    ]
    assert chosen == ["full", "supernet"]


def test_scores_are_joined_by_the_mean_of_their_ranks() -> None:
    one = CandidateScores("one", np.array([0.1, 5.0, 0.2]), 1.0)
    other = CandidateScores("other", np.array([10.0, 30.0, 20.0]), 2.0)
    joined = mean_rank([one, other])
    assert joined.values.tolist() == [1, 3, 2]
    assert joined.cpu_s == 3


def test_the_table_names_every_score_and_ladder_and_the_choice(perfect: LadderChoice) -> None:
    text = "\n".join(ladder_lines(perfect))
    for name in ("oracle", "1 of 9 epochs", "full training", "filter, full", "beats full"):
        assert name in text
    assert "Chosen: filter, halving" in text
    assert max(map(len, ladder_lines(perfect))) < 120
