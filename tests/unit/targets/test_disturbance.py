import numpy as np
import pytest

from targets.cpu_clock import Pin
from targets.device_state import State
from targets.disturbance import flags, is_drifting

FREE = Pin({})
PINNED = Pin({"policy0": 1_800_000})
QUIET: State = {"clock_khz": 1_800_000, "clock_pinned": 1, "load_average": 0.3, "cores": 4}


def samples(seed: int = 0, n: int = 600) -> np.ndarray:
    """Latencies as a quiet device's are: a narrow bulk and a long tail."""
    rng = np.random.default_rng(seed)
    return 1e-4 * (1 + 0.01 * rng.standard_normal(n) + rng.pareto(3, n) * (rng.random(n) < 0.05))


def test_a_quiet_pinned_device_has_no_flags() -> None:
    assert flags(samples(), PINNED, QUIET, QUIET, threads=1) == ()


def test_a_device_that_tells_no_clock_is_flagged() -> None:
    nothing: State = {"clock_khz": None, "clock_pinned": None}
    assert flags(samples(), FREE, nothing, nothing, threads=1) == ("clock_unknown",)


def test_a_clock_that_is_free_to_move_is_flagged() -> None:
    free = QUIET | {"clock_pinned": 0}
    assert flags(samples(), FREE, free, free, threads=1) == ("clock_unpinned",)


def test_a_clock_below_the_pin_is_throttled() -> None:
    slow = QUIET | {"clock_khz": 1_500_000}
    assert flags(samples(), PINNED, QUIET, slow, threads=1) == ("throttled",)


@pytest.mark.parametrize(
    ("bits", "raised"),
    [("0", ()), ("50000", ()), ("0x4", ("throttled",)), ("50005", ("throttled",)), ("?", ())],
)
def test_a_raspberry_pi_that_throttles_now_is_throttled_one_that_did_is_not(
    bits: str, raised: tuple[str, ...]
) -> None:
    after = QUIET | {"throttle_bits": bits}
    assert flags(samples(), PINNED, QUIET, after, threads=1) == raised


@pytest.mark.parametrize(("load", "raised"), [(0.3, ()), (3.9, ()), (4.5, ("loaded",))])
def test_more_work_than_leaves_a_core_free_is_load(load: float, raised: tuple[str, ...]) -> None:
    before = QUIET | {"load_average": load}
    assert flags(samples(), PINNED, before, QUIET, threads=1) == raised


@pytest.mark.parametrize("slower", [1.05, 1.3, 2.0])
def test_throttling_half_way_is_drift(slower: float) -> None:
    latency_s = samples()
    latency_s[len(latency_s) // 2 :] *= slower
    assert is_drifting(latency_s)


def test_slowing_down_gradually_is_drift() -> None:
    assert is_drifting(samples() * np.linspace(1, 1.15, 600))


def test_warming_up_is_no_drift_and_neither_are_bursts() -> None:
    latency_s = samples()
    latency_s[:50] *= 3
    assert not is_drifting(latency_s)
    latency_s = samples()
    latency_s[-40:] *= 4  # a neighbour's burst: a fifth of the last third
    assert not is_drifting(latency_s)


def test_quiet_samples_are_hardly_ever_called_drifting() -> None:
    assert sum(is_drifting(samples(seed)) for seed in range(500)) == 0


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_samples_tell_nothing(n: int) -> None:
    assert not is_drifting([1e-3] * n)
