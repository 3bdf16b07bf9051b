"""Fronts of measured candidates."""

import csv
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwnas.accuracy_comparison import AccuracyComparison, Standing
from hwnas.exit_policy import ExitPolicy
from hwnas.front import Candidate, Deployment, Metric, ParetoFront, to_csv
from hwnas.objectives import OBJECTIVES, Constraint
from hwnas.pareto import ObjectiveScale
from search_spaces import Architecture

TWO = (OBJECTIVES["accuracy"], OBJECTIVES["latency"])
SCALE = ObjectiveScale(TWO, ideal=(1.0, 1e-4), reference=(0.0, 1e-2))
MAX_LATENCY = Constraint("max_latency_ms", "worst_latency_s", 2e-3, "ms", 1e3)
MIN_ACCURACY = Constraint("min_accuracy", "validation_accuracy", 0.5, "", 1.0, is_minimum=True)


def candidate(
    number: int, accuracy: float, latency_s: float, worst: Metric | None = None
) -> Candidate:
    return Candidate(
        number,
        Architecture("toy", (("kernel", 3), ("number", number))),
        {
            "validation_accuracy": Metric(
                accuracy, "measured", accuracy - 0.1, accuracy + 0.1, seeds=3, split="validation"
            ),
            "latency_s": Metric(latency_s, "measured", predicted=1.1 * latency_s),
            "worst_latency_s": worst or Metric(latency_s, "measured"),
            "energy_j": Metric(1e-3, "modelled", 5e-4, 2e-3, boundary="inference_gross"),
            "macs": Metric(1000.0),
        },
        Deployment(f"{number}.safetensors", 7, ExitPolicy((0.9,)), (0.25, 0.75), 0.005),
    )


def with_metric(candidate: Candidate, name: str, metric: Metric) -> Candidate:
    return replace(candidate, metrics={**candidate.metrics, name: metric})


def front(*candidates: Candidate, constraints: tuple[Constraint, ...] = ()) -> ParetoFront:
    return ParetoFront.of(candidates, TWO, constraints, SCALE)


def selected(chosen: Candidate) -> Candidate:
    """Return a candidate that was chosen by its validation accuracy."""
    validation = chosen.metrics["validation_accuracy"]
    return with_metric(chosen, "validation_accuracy", replace(validation, selected=True))


def numbers(candidates: tuple[Candidate, ...]) -> list[int]:
    return [c.number for c in candidates]


def test_a_lucky_training_is_judged_by_what_others_are_expected_to_reach() -> None:
    lucky = selected(candidate(0, 0.9, 4e-3))
    validation = replace(lucky.metrics["validation_accuracy"], expected=0.45)
    lucky = with_metric(lucky, "validation_accuracy", validation)
    judged = front(lucky, selected(candidate(1, 0.8, 4e-3)), constraints=(MIN_ACCURACY,))
    assert numbers(judged.members) == [1]
    assert [c.feasible for c in judged.candidates] == [True, False]


def test_members_are_those_no_other_dominates_fastest_first() -> None:
    judged = front(
        candidate(0, 0.9, 4e-3),
        candidate(1, 0.8, 5e-3),
        candidate(2, 0.7, 1e-3),
        candidate(3, 0.95, 8e-3),
    )
    assert numbers(judged.members) == [2, 0, 3]
    assert numbers(judged.candidates) == [2, 0, 3, 1]
    assert [c.feasible for c in judged.candidates] == [True] * 4


def test_who_was_chosen_by_its_value_does_not_dominate_who_was_confirmed() -> None:
    lucky, confirmed = selected(candidate(0, 0.95, 1e-3)), candidate(1, 0.9, 2e-3)
    assert numbers(front(lucky, confirmed).members) == [0, 1]
    # as it would were both values of one standing
    assert numbers(front(candidate(0, 0.95, 1e-3), confirmed).members) == [0]
    assert numbers(front(lucky, selected(confirmed)).members) == [0]


def test_who_was_chosen_by_its_value_is_dominated_by_anyone() -> None:
    lucky, confirmed = selected(candidate(0, 0.85, 3e-3)), candidate(1, 0.9, 2e-3)
    assert numbers(front(lucky, confirmed).members) == [1]
    assert numbers(front(lucky, selected(confirmed)).members) == [1]


def test_candidates_of_equal_values_are_both_members() -> None:
    assert numbers(front(candidate(0, 0.9, 4e-3), candidate(1, 0.9, 4e-3)).members) == [0, 1]


def test_an_upper_bound_over_a_limit_is_infeasible_though_the_value_meets_it() -> None:
    noisy = candidate(0, 0.9, 1e-3, worst=Metric(1.9e-3, "measured", 1.8e-3, 2.1e-3))
    steady = candidate(1, 0.8, 1e-3, worst=Metric(1.9e-3, "measured", 1.8e-3, 2.0e-3))
    judged = front(noisy, steady, constraints=(MAX_LATENCY,))
    assert numbers(judged.members) == [1]
    assert [(c.number, c.feasible, c.on_front) for c in judged.candidates] == [
        (1, True, True),
        (0, False, False),
    ]


def test_an_infeasible_candidate_dominates_nobody() -> None:
    best_but_slow = candidate(0, 0.99, 3e-3)
    judged = front(best_but_slow, candidate(1, 0.6, 1e-3), constraints=(MAX_LATENCY,))
    assert numbers(judged.members) == [1]


def test_a_least_accuracy_is_judged_by_the_value() -> None:
    judged = front(candidate(0, 0.5, 1e-3), candidate(1, 0.49, 1e-4), constraints=(MIN_ACCURACY,))
    assert numbers(judged.members) == [0]


def test_a_least_battery_life_is_judged_by_the_lower_end() -> None:
    limit = Constraint("min_battery_days", "battery_days", 30.0, "d", 1.0, True, of_mean=True)
    sure = with_metric(candidate(0, 0.9, 1e-3), "battery_days", Metric(40.0, "modelled", 31.0, 50))
    unsure = with_metric(candidate(1, 0.9, 1e-4), "battery_days", Metric(45.0, "modelled", 29, 50))
    assert numbers(front(sure, unsure, constraints=(limit,)).members) == [0]


@pytest.mark.parametrize("candidates", [[], [candidate(0, 0.9, 9e-3)]])
def test_a_front_may_be_empty(candidates: list[Candidate]) -> None:
    judged = front(*candidates, constraints=(MAX_LATENCY,))
    assert judged.members == ()
    assert judged.hypervolume() == 0.0
    assert judged.losses().shape == (0, 2)
    assert len(judged.to_dict()["candidates"]) == len(candidates)


def test_hypervolume_is_that_of_the_members_computed_by_hand() -> None:
    judged = front(
        candidate(0, 0.75, 1e-3), candidate(1, 0.5, 1e-3), candidate(2, 0.99, 5e-3),
        constraints=(MAX_LATENCY,),
    )  # fmt: skip
    # one member; 1 ms is half of the decades between 0.1 ms and 10 ms
    assert judged.hypervolume() == pytest.approx(0.75 * 0.5)
    np.testing.assert_allclose(judged.losses(), [[0.25, 0.5]])


def test_candidates_survive_json() -> None:
    better = AccuracyComparison("b", 0.1, 0.05, 0.15, 0.999)
    tie = AccuracyComparison("c", 0.01, -0.01, 0.03, 0.8)
    standing = Standing((better,), (tie,))
    judged = front(
        selected(candidate(0, 0.9, 4e-3)), replace(candidate(1, 0.8, 5e-3), standing=standing)
    )
    document = json.loads(json.dumps(judged.to_dict(), allow_nan=False))
    assert tuple(Candidate.from_dict(c) for c in document["candidates"]) == judged.candidates
    assert document["candidates"][1]["better_than"] == [
        {"arch_id": "b", "difference": 0.1, "low": 0.05, "high": 0.15, "probability": 0.999}
    ]
    assert [tie["arch_id"] for tie in document["candidates"][1]["ties_with"]] == ["c"]
    assert document["objectives"] == [
        {"name": "accuracy", "metric": "validation_accuracy", "unit": "1", "direction": "maximize"},
        {"name": "latency", "metric": "latency_s", "unit": "s", "direction": "minimize"},
    ]
    assert document["hypervolume"] == {
        "value": judged.hypervolume(),
        "ideal": [1.0, 1e-4],
        "reference": [0.0, 1e-2],
    }


def test_json_leaves_out_what_does_not_apply() -> None:
    assert Metric(3.0).to_dict() == {"value": 3.0}
    assert Metric(0.0, "measured", low=0.0).to_dict() == {
        "value": 0.0,
        "provenance": "measured",
        "low": 0.0,
    }


def test_the_upper_bound_of_a_metric_is_its_high_end_or_its_value() -> None:
    assert Metric(1.0, high=1.5).upper_bound == 1.5
    assert Metric(1.0).upper_bound == 1.0
    assert Metric(1.0, high=0.0).upper_bound == 0.0


def read_csv(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_holds_one_row_per_candidate_with_intervals_provenance_and_choices() -> None:
    one, other = candidate(0, 0.9, 4e-3), candidate(1, 0.8, 5e-3)
    rows = read_csv(to_csv([one, other]))
    assert [row["arch_id"] for row in rows] == [
        one.architecture.arch_id,
        other.architecture.arch_id,
    ]
    assert float(rows[0]["latency_s"]) == 4e-3
    assert float(rows[0]["latency_s.predicted"]) == 1.1 * 4e-3
    assert rows[0]["latency_s.provenance"] == "measured"
    assert rows[0]["energy_j.provenance"] == "modelled"
    assert rows[0]["energy_j.boundary"] == "inference_gross"
    assert (float(rows[0]["energy_j.low"]), float(rows[0]["energy_j.high"])) == (5e-4, 2e-3)
    assert [row["choice.number"] for row in rows] == ["0", "1"]
    assert "macs.low" not in rows[0]


def test_csv_names_whom_a_candidate_is_better_than_and_tied_with() -> None:
    better = tuple(AccuracyComparison(name, 0.1, 0.05, 0.15, 0.999) for name in ("b", "c"))
    tie = AccuracyComparison("d", 0.01, -0.01, 0.03, 0.8)
    judged = replace(candidate(0, 0.9, 4e-3), standing=Standing(better, (tie,)))
    (row,) = read_csv(to_csv([judged]))
    assert (row["better_than"], row["ties_with"]) == ("b c", "d")


def test_a_front_of_an_older_hwnas_without_comparisons_can_be_read() -> None:
    document = candidate(0, 0.9, 4e-3).to_dict()
    del document["better_than"], document["ties_with"]
    assert Candidate.from_dict(document) == candidate(0, 0.9, 4e-3)


def test_csv_of_candidates_with_different_metrics_leaves_cells_empty() -> None:
    one = candidate(0, 0.9, 4e-3)
    other = Candidate(1, one.architecture, {"accuracy": Metric(0.5)}, one.deployment)
    rows = read_csv(to_csv([one, other]))
    assert rows[0]["accuracy"] == ""
    assert rows[1]["latency_s"] == ""
    assert rows[1]["accuracy"] == "0.5"
