import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from targets.meters import MeterInfo, PowerSamples
from targets.meters.reduction import Reduction


def info(period_s: float, averages: bool = True, counts: bool = False) -> MeterInfo:
    return MeterInfo(
        "usb", "the board", period_s, 1e-6, None, 0, 0, averages, False, 1 / period_s, counts
    )


def samples(t_s: np.ndarray, power_w: np.ndarray, marker: np.ndarray | None = None) -> PowerSamples:
    bits = np.zeros(len(t_s), np.uint8) if marker is None else marker
    return PowerSamples(t_s, power_w, bits)


@settings(deadline=None, max_examples=25)
@given(pieces=st.integers(1, 12), seed=st.integers(0, 99))
def test_means_of_milliseconds_keep_the_energy_however_the_stream_is_cut(
    pieces: int, seed: int
) -> None:
    """100,000 samples a second become 1,000 values a second; the sum is theirs."""
    rng = np.random.default_rng(seed)
    n = 60_000
    t, power = 5.0 + 1e-5 * np.arange(n), rng.uniform(0, 2, n)
    reduction = Reduction(info(1e-5))
    cuts = np.sort(rng.integers(0, n, pieces - 1))
    for part_t, part_power in zip(np.split(t, cuts), np.split(power, cuts), strict=True):
        reduction.add(samples(part_t, part_power))
    found = reduction.arrays()
    length = found["end_s"] - found["start_s"]
    assert np.sum(length * found["power_w"]) == pytest.approx(1e-5 * power.sum(), rel=1e-9)
    assert len(found["power_w"]) in (600, 601)
    assert found["peak_w"].max() == power.max()
    assert np.all(np.diff(found["start_s"]) > 0)
    # bins follow each other without a gap
    assert found["start_s"][1:] == pytest.approx(found["end_s"][:-1], abs=1e-8)


def test_a_slow_meter_is_left_as_it_is() -> None:
    """A mean over 20 ms whose middle is at 1 s stands for 0.99 to 1.01 s."""
    reduction = Reduction(info(0.02))
    reduction.add(samples(np.array([1.0, 1.02]), np.array([3.0, 4.0])))
    found = reduction.arrays()
    assert found["start_s"].tolist() == [0.99, 1.01]
    assert found["end_s"].tolist() == [1.01, 1.03]
    assert found["power_w"].tolist() == [3.0, 4.0]


def test_an_instant_has_no_length() -> None:
    reduction = Reduction(info(0.02, averages=False))
    reduction.add(samples(np.array([1.0, 1.02]), np.array([3.0, 4.0])))
    found = reduction.arrays()
    assert found["start_s"].tolist() == found["end_s"].tolist() == [1.0, 1.02]


def test_a_counter_becomes_the_powers_between_its_readings() -> None:
    """10 J in 2 s and 3 J in 1 s."""
    reduction = Reduction(info(1e-3, counts=True))
    for t_s, joules in ((1.0, 0.0), (3.0, 10.0), (4.0, 13.0)):
        reduction.add_count(t_s, joules)
    assert reduction.arrays()["power_w"].tolist() == [5.0, 3.0]


def test_marks_are_when_a_logic_input_changes_across_pieces_too() -> None:
    reduction = Reduction(info(0.01))
    t = 0.01 * np.arange(8)
    bits = np.array([0, 0, 1, 1, 1, 0, 0, 4], np.uint8)
    for part in (slice(0, 3), slice(3, 6), slice(6, 8)):
        reduction.add(samples(t[part], np.ones(8)[part], bits[part]))
    assert reduction.arrays()["marks"].tolist() == pytest.approx([0.02, 0.05, 0.07])


def test_lost_samples_are_counted() -> None:
    reduction = Reduction(info(0.01))
    for n_dropped in (0, 3, 4):
        reduction.add(PowerSamples(np.ones(1), np.ones(1), np.zeros(1, np.uint8), n_dropped))
    assert int(reduction.arrays()["n_dropped"]) == 7


def test_nothing_recorded_is_no_values() -> None:
    assert len(Reduction(info(0.01)).arrays()["power_w"]) == 0
