"""Which variants of a run become the operating points of its bundle."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwnas.config import ExperimentConfig, parse_config
from hwnas.errors import UserError
from hwnas.exit_policy import ExitPolicy
from hwnas.front import Metric
from hwnas.variant_picking import pick_points
from hwnas.variants import NetworkForm, Precision, Variant, Variants

FRONT = {"hypervolume": {"ideal": [1.0, 0.001], "reference": [0.0, 0.1]}}


def config() -> ExperimentConfig:
    document = {
        "name": "x",
        "dataset": {"kind": "digits"},
        "space": {"name": "depthwise_separable"},
        "target": "host-onnxruntime",
        "objectives": ["accuracy", "latency"],
    }
    return parse_config(document, "x.yaml")


def variant(
    arch_id: str,
    accuracy: float,
    latency_s: float,
    *,
    precision: Precision = "float32",
    policy_index: int = 0,
    on_front: bool = True,
    seeds: int = 2,
) -> Variant:
    metrics = {
        "accuracy": Metric(accuracy, "measured", seeds=seeds),
        "validation_accuracy": Metric(accuracy, "measured", seeds=seeds),
        "latency_s": Metric(latency_s, "measured"),
        "energy_j": Metric(2 * latency_s, "modelled"),
    }
    form = NetworkForm(arch_id, "plain", precision, f"{arch_id}.safetensors", ("0.onnx", "1.onnx"))
    policy = ExitPolicy((0.5 + policy_index / 10,))
    return Variant(
        form,
        policy,
        (0.5, 0.5),
        "host-onnxruntime",
        metrics,
        on_front=on_front,
        policy_index=policy_index,
    )


# from the ideal point, errors and logarithms of latency scaled to their range: 1, 0.33 and 1
SLOW = variant("slow", 0.98, 0.09)
KNEE = variant("middle", 0.96, 0.02)
FAST = variant("fast", 0.80, 0.01, precision="int8")
ALSO = variant("fast", 0.75, 0.03, policy_index=1, on_front=False)
FAST_PLAIN = variant("fast", 0.70, 0.05, on_front=False)
ALL = Variants((SLOW, KNEE, FAST, ALSO, FAST_PLAIN), SLOW.variant_id)


@pytest.mark.parametrize(
    ("pick", "wanted"),
    [
        ("knee", KNEE),
        ("best", SLOW),
        # as it was searched: float32, with the first of its policies
        ("fast", FAST_PLAIN),
        (ALSO.variant_id, ALSO),
        (FAST.variant_id, FAST),
    ],
    ids=["knee", "best", "architecture", "variant off the front", "variant"],
)
def test_one_operating_point_is_picked_by_rule_or_name(pick: str, wanted: Variant) -> None:
    assert pick_points(ALL, FRONT, config(), pick) == {"default": wanted}


def test_without_a_pick_the_front_is_covered_from_accurate_to_cheap() -> None:
    points = pick_points(ALL, FRONT, config(), None)
    assert points == {"high": SLOW, "balanced": KNEE, "low": FAST}


def test_variants_that_one_seed_alone_judged_are_no_rules_pick() -> None:
    lucky = variant("lucky", 0.99, 0.005, seeds=1)
    with_lucky = Variants((lucky, *ALL.variants), SLOW.variant_id)
    assert pick_points(with_lucky, FRONT, config(), "best") == {"default": SLOW}
    alone = Variants((lucky,), lucky.variant_id)
    assert pick_points(alone, FRONT, config(), "best") == {"default": lucky}


def test_a_misspelt_pick_gets_a_suggestion() -> None:
    with pytest.raises(
        UserError, match=r"--pick kne: wanted knee, best, slow.*Did you mean 'knee'"
    ):
        pick_points(ALL, FRONT, config(), "kne")


@pytest.mark.parametrize("pick", [None, "knee", "best"])
def test_an_empty_front_is_told(pick: str | None) -> None:
    nothing = Variants((ALSO,), ALSO.variant_id)
    with pytest.raises(UserError, match="no measured variant meets the limits"):
        pick_points(nothing, FRONT, config(), pick)


def test_the_knee_is_one_of_variants_whose_energies_compare() -> None:
    measured = {**SLOW.metrics, "energy_j": Metric(0.5, "measured")}
    slow = replace(SLOW, metrics=measured)
    mixed = Variants((slow, KNEE, FAST), slow.variant_id)
    assert pick_points(mixed, FRONT, config(), "knee") == {"default": slow}
