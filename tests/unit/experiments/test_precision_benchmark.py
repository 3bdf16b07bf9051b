"""The benchmark of precisions judges every form of a network and prints paired changes."""

from pathlib import Path

import pytest

from experiments.benchmarks.precision import (
    Accuracies,
    Costs,
    Row,
    Settings,
    change,
    measured_rows,
    table,
)
from hwnas.flash_parts import FlashParts
from hwnas.scorers.testing import small_context


def row(*pairs: tuple[float, float | None]) -> Row:
    accuracies = tuple(
        Accuracies(seed, before, 0.5, 0.5, after, 0.5, 0.0, 0)
        for seed, (before, after) in enumerate(pairs)
    )
    costs = Costs((1.0, 2.0, 4.0), (2.0, 2.0, 2.0), FlashParts(400, 100), FlashParts(100, 150))
    return Row("digits", "a", accuracies, costs)


def test_changes_are_paired_and_their_interval_is_students() -> None:
    # changes of 1, 2 and 3 points: mean 2, standard error 1 / sqrt(3), t(0.975, 2) = 4.3027
    rows = [row((0.50, 0.51), (0.60, 0.62)), row((0.70, 0.73), (0.70, None))]
    assert change(rows, "trained_for_int8") == f"trained_for_int8 +2.00 ± {4.3027 / 3**0.5:.2f}"
    assert change(rows[:0], "int8") == "int8 -"


def test_the_latency_ratio_is_the_median_over_rounds() -> None:
    assert row().costs.ratio == 1.0


@pytest.mark.slow
def test_every_form_of_a_network_is_judged_and_both_precisions_measured(tmp_path: Path) -> None:
    context = small_context(tmp_path)
    settings = Settings(architectures=1, seeds=1, epochs=1, max_drop=-1, rounds=2)
    (found,) = measured_rows(context.config, context.dataset, settings)
    (accuracies,) = found.accuracies
    # nothing loses less than no accuracy: all operators stay in float32
    assert accuracies.mixed == accuracies.float32
    assert accuracies.n_float > 0
    for form in ("float32", "int8", "trained_for_int8", "trained_on"):
        assert 0 < getattr(accuracies, form) <= 1
    assert len(found.costs.float32_s) == len(found.costs.int8_s) == 2
    # biases stay 4 bytes wide
    weights = found.costs.float32_flash.weight_bytes, found.costs.int8_flash.weight_bytes
    assert weights[0] / 4 < weights[1] < weights[0] / 2
    assert table("digits", [found]).row_count == 1


@pytest.mark.parametrize("column", ["float32", "int8 trained", "control"])
def test_the_table_names_every_form(column: str) -> None:
    assert column in [str(c.header) for c in table("digits", [row((0.5, 0.5))]).columns]
