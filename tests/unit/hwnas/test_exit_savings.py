"""What early exits save, in a sentence, with numbers worked by hand."""

from dataclasses import replace

import pytest

from hwnas.exit_policy import ExitPolicy
from hwnas.exit_savings import exit_savings
from hwnas.front import Metric
from hwnas.variants import NetworkForm, Variant


def variant(latency_s: float, shares: tuple[float, ...], index: int = 0) -> Variant:
    has_exits = len(shares) > 1
    form = NetworkForm("a1", "plain", "float32", "c", ("m",) * len(shares), has_exits=has_exits)
    metrics = {"latency_s": Metric(latency_s, "measured"), "accuracy": Metric(0.9, "measured")}
    thresholds = (0.5,) * (len(shares) - 1)
    return Variant(form, ExitPolicy(thresholds), shares, "host", metrics, policy_index=index)


def test_what_exits_save_is_told_of_the_policy_that_costs_least_accuracy() -> None:
    variants = [variant(3e-6, (0.6, 0.4)), variant(1e-6, (0.9, 0.1), 1), variant(4e-6, (1.0,))]
    (told,) = exit_savings(variants)
    assert (told.arch_id, told.what) == ("a1", "early exits")
    assert told.figures["latency_saved"] == pytest.approx(0.25)
    assert told.outcome.startswith("saves 25% of the latency: 60% of the samples leave early")


@pytest.mark.parametrize("place", range(3))
def test_exits_are_kept_where_a_variant_with_them_is_on_the_front(place: int) -> None:
    variants = [variant(3e-6, (0.6, 0.4)), variant(1e-6, (0.9, 0.1), 1), variant(4e-6, (1.0,))]
    variants[place] = replace(variants[place], on_front=True)
    (told,) = exit_savings(variants)
    # any of its policies; the last one is the network without exits
    assert told.kept == (place < 2)
    assert told.outcome.endswith("; on the front" if place < 2 else "; not on the front")


def test_exits_whose_heads_cost_more_than_they_save_are_said_to_save_nothing() -> None:
    (told,) = exit_savings([variant(5e-6, (0.1, 0.9)), variant(4e-6, (1.0,))])
    assert not told.kept
    assert told.outcome.startswith("saves nothing: 10% of the samples leave early")
    assert "5.00 µs, 4.00 µs without exits" in told.outcome


def test_what_a_clock_saves_is_not_taken_for_a_saving_of_exits() -> None:
    usual = [variant(1e-6, (0.5, 0.5)), variant(1e-6, (1.0,))]
    slow = [
        replace(v, device_point="600 MHz", metrics=variant(2e-6, (1.0,)).metrics) for v in usual
    ]
    (told,) = exit_savings([*usual, *slow])
    assert told.figures["latency_saved"] == 0


def test_a_network_that_was_measured_in_one_form_alone_is_left_out() -> None:
    assert exit_savings([variant(5e-6, (0.1, 0.9))]) == []
    assert exit_savings([variant(5e-6, (1.0,))]) == []
