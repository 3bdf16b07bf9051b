"""Which scaling policy a bundle gets, and that none is written which saves nothing."""

from __future__ import annotations

import pytest

from hwnas.errors import UserError
from hwnas.exit_policy import ExitPolicy
from hwnas.front import Metric
from hwnas.policy_choice import choose_policy
from hwnas.product_config import ProductConfig
from hwnas.variants import NetworkForm, Variant

CLASSES = ("yes", "no", "silence")


def product(interval_s: float = 1.0) -> ProductConfig:
    """Return one that takes 0.1 J beside each inference, and 0.1 W asleep."""
    return ProductConfig.model_validate(
        {"interval_s": interval_s, "sleep_power_mw": 100, "sensor_energy_mj": 100}
    )


def points(*energies_j: float, recall: float | None = 1.0) -> dict[str, Variant]:
    """Return operating points that take no time to speak of, the last of which hears silence so,
    for all that is known."""
    form = NetworkForm("a1", "plain", "float32", "a1.safetensors", ("0.onnx",))
    found = {
        name: Variant(
            form,
            ExitPolicy(()),
            (1.0,),
            "host",
            {
                "energy_j": Metric(energy_j),
                "latency_s": Metric(1e-9),
                "validation_recall(silence)": Metric(1.0),
            },
        )
        for name, energy_j in zip(("high", "balanced", "low"), energies_j, strict=False)
    }
    metrics = found[list(found)[-1]].metrics
    assert isinstance(metrics, dict)
    del metrics["validation_recall(silence)"]
    if recall is not None:
        metrics["validation_recall(silence)"] = Metric(min(recall + 0.1, 1.0), low=recall)
    return found


@pytest.mark.parametrize(
    ("low_j", "is_worth_it"), [(0.74, True), (0.76, False), (0.9, False)], ids=str
)
def test_a_policy_that_saves_less_than_batteries_differ_by_is_not_written(
    low_j: float, is_worth_it: bool
) -> None:
    # with 0.2 J a second beside the network
    choice = choose_policy(points(0.8, 0.78, low_j), product(), None, CLASSES)
    assert (choice.policy is not None) == is_worth_it
    # 1 - 0.94, 1 - 0.96
    if low_j == 0.74:
        assert choice.note == (
            "by temperature, supply and battery: at low the product takes 6% less, modelled"
        )
    if low_j == 0.76:
        assert choice.note == (
            "none: at low the product takes 4.0% less energy than at high, modelled. "
            "It stays at high"
        )


def test_without_a_product_nobody_knows_what_is_saved() -> None:
    choice = choose_policy(points(1.0, 1.0), None, None, CLASSES)
    assert choice.policy is not None
    assert choice.policy.default == "high"
    assert choice.note == "by temperature, supply and battery"


def test_one_operating_point_needs_no_policy() -> None:
    assert choose_policy(points(1.0), product(), None, CLASSES).policy is None


def test_where_a_class_is_background_the_others_are_worth_the_dearest_point() -> None:
    choice = choose_policy(points(1.0, 0.7, 0.5), product(), "silence", CLASSES)
    assert choice.policy is not None
    assert (choice.policy.default, choice.policy.quiet_class) == ("low", "silence")
    *_, rule = choice.policy.rules
    assert rule.mode == "high"
    threshold = rule.when.activity_per_min
    assert threshold is not None
    # an event every second comes to 60 / (15 (exp(1 / 15) - 1)) = 58 a minute: a quarter of it,
    # and an eighth
    assert (threshold.above, threshold.until) == (15.0, 7.3)


def test_background_that_is_mistaken_for_events_is_no_activity() -> None:
    choice = choose_policy(points(1.0, 0.7, 0.5, recall=0.8), product(), "silence", CLASSES)
    assert choice.policy is not None
    threshold = choice.policy.rules[-1].when.activity_per_min
    assert threshold is not None
    # a fifth of 58 a minute is there without events: a quarter and an eighth of what is left
    assert (threshold.above, threshold.until) == (23.0, 17.0)


def test_answers_that_are_mostly_mistaken_about_background_rule_nothing() -> None:
    choice = choose_policy(points(1.0, 0.7, 0.5, recall=0.4), product(), "silence", CLASSES)
    assert choice.policy is not None
    assert choice.policy.quiet_class is None
    assert choice.note.endswith(
        "not by answers, as up to 60% of the 'silence' are answered otherwise (95 %)"
    )


@pytest.mark.parametrize(
    ("energies_j", "quiet", "section", "message"),
    [
        ((1.0, 0.5), "silenc", product(), "no class of this name. Did you mean 'silence'?"),
        ((1.0, 0.5), "silence", None, "wanted the product's interval_s.* --product FILE"),
        ((1.0,), "silence", product(), "there is one operating point"),
        ((1.0, 0.5), "silence", product(61.0), "infers every 60 s at least.* Got 61 s"),
        ((1.0, 0.5), "no", product(), "the validation split has no sample of it"),
    ],
    ids=["class", "product", "points", "interval", "samples"],
)
def test_a_quiet_class_that_cannot_be_heeded_is_refused_in_one_line(
    energies_j: tuple[float, ...], quiet: str, section: ProductConfig | None, message: str
) -> None:
    with pytest.raises(UserError, match=f"^--quiet-class.*{message}") as caught:
        choose_policy(points(*energies_j), section, quiet, CLASSES)
    assert "\n" not in str(caught.value)
