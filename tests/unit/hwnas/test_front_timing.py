"""How long front members are timed."""

from __future__ import annotations

import pytest

from hwnas.finalists import front_timing
from hwnas.objectives import Constraint
from latency_predictors import MeasuredArchitecture
from latency_predictors.tail import worst_p99_bound_s
from search_spaces import Architecture
from targets import MeasureConfig, Measurement

MEDIAN = Constraint("max_latency_ms", "worst_latency_s", 1e-3, "ms", 1e3)
TAIL = Constraint("max_latency_p99_ms", "worst_latency_p99_s", 1e-3, "ms", 1e3)


def timed(config: MeasureConfig, n_stages: int) -> MeasuredArchitecture:
    """Return stages of which no more inferences were timed than must be."""
    measurement = Measurement(
        target="board",
        model_sha256="",
        artifact_sha256="",
        latency_s=(1e-3,) * config.min_samples,
        flash_bytes=1,
        peak_ram_bytes=1,
        config=config,
        provenance="measured",
    )
    return MeasuredArchitecture(Architecture("toy", ()), ((),), (measurement,) * n_stages)


@pytest.mark.parametrize("n_stages", [1, 2, 3, 4])
def test_a_limit_on_the_slow_tail_is_judged_by_a_bound(n_stages: int) -> None:
    assert worst_p99_bound_s(timed(front_timing([MEDIAN, TAIL]), n_stages)) is not None
    assert worst_p99_bound_s(timed(front_timing([MEDIAN]), n_stages)) is None


def test_where_only_medians_are_limited_nothing_is_timed_longer() -> None:
    assert front_timing([MEDIAN]) == front_timing([]) == MeasureConfig()


def test_a_network_that_is_timed_longer_has_the_time_for_it() -> None:
    usual, longer = MeasureConfig(), front_timing([TAIL])
    # one that just meets the usual limit with the usual number of inferences meets it still
    slowest_s = usual.timeout_s / usual.min_samples
    assert longer.min_samples * slowest_s <= longer.timeout_s
