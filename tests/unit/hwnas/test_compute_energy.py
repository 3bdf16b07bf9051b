"""Seconds and joules of a search, from what its evaluations took."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.compute_energy import ComputeEnergy, Spending, SpendingMeter, Spent
from hwnas.errors import UserError


def spent_on(spendings: Iterable[Spending]) -> Spent:
    spent = Spent()
    for spending in spendings:
        spent.add(spending)
    return spent


def energy_of(
    spendings: Iterable[Spending], core_power_w: float | None = None
) -> ComputeEnergy | None:
    return spent_on(spendings).energy(core_power_w)


def test_a_pause_between_evaluations_is_not_spent() -> None:
    spendings = [
        Spending("a", 100.0, 110.0, 9.0),
        Spending("b", 105.0, 112.0, 6.0),
        # resumed a day later
        Spending("a", 86_400.0, 86_403.0, 3.0),
    ]
    assert spent_on(spendings).seconds == pytest.approx(15.0)
    assert spent_on([]).seconds == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 15)).map(lambda t: (t[0], t[0] + t[1])),
        max_size=12,
    )
)
def test_busy_seconds_are_those_in_which_something_ran(intervals: list[tuple[int, int]]) -> None:
    spendings = [Spending("a", began, ended, 1.0) for began, ended in intervals]
    busy = {second for began, ended in intervals for second in range(began, ended)}
    assert spent_on(spendings).seconds == len(busy)


def test_a_computer_is_counted_once_however_many_evaluations_it_ran_at_once() -> None:
    # 30 W throughout, seen by three evaluations
    intervals = [(0.0, 10.0), (2.0, 8.0), (5.0, 25.0)]
    spendings = [Spending("a", b, e, 1.0, 30.0 * (e - b)) for b, e in intervals]
    energy = energy_of(spendings)
    assert energy is not None
    assert energy.joules == pytest.approx(30.0 * 25.0)
    assert energy.provenance == "measured"


def test_computers_add_up() -> None:
    spendings = [Spending(host, 0.0, 10.0, 1.0, 100.0) for host in "abc"]
    energy = energy_of(spendings)
    assert energy is not None
    assert energy.joules == pytest.approx(300.0)


def test_powers_that_differ_count_each_second_once_with_that_of_the_first_to_end() -> None:
    # 10 W for 10 s, then 30 W
    spendings = [Spending("a", 0.0, 10.0, 1.0, 100.0), Spending("a", 5.0, 15.0, 1.0, 300.0)]
    energy = energy_of(spendings)
    assert energy is not None
    assert energy.joules == pytest.approx(10 * 10 + 5 * 30)


def test_without_a_counter_the_energy_is_modelled_from_a_stated_power() -> None:
    measured, not_measured = Spending("a", 0.0, 10.0, 7.0, 100.0), Spending("b", 0.0, 10.0, 8.0)
    energy = energy_of([measured, not_measured], 2.5)
    assert energy is not None
    assert energy.joules == pytest.approx(100 + 20)
    assert energy.provenance == "modelled"


def test_an_energy_that_nothing_tells_is_none() -> None:
    assert energy_of([Spending("a", 0.0, 10.0, 7.0)]) is None


def test_an_evaluation_whose_clock_was_put_back_is_modelled() -> None:
    energy = energy_of([Spending("a", 10.0, 5.0, 4.0, 100.0)], 2.0)
    assert energy is not None
    assert (energy.joules, energy.provenance) == (8.0, "modelled")


def test_a_spending_survives_its_json_form() -> None:
    for spending in (Spending("a", 1.5, 2.5, 0.75, 30.0), Spending("b", 1.0, 2.0, 0.5)):
        assert Spending.from_dict(spending.to_dict()) == spending


def powercap(root: Path, range_uj: int = 262_143_328_850, energy_uj: int = 1_000_000) -> Path:
    """A sysfs tree with one RAPL package; returns its counter."""
    zone = root / "class" / "powercap" / "intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "max_energy_range_uj").write_text(f"{range_uj}\n")
    (zone / "energy_uj").write_text(f"{energy_uj}\n")
    return zone / "energy_uj"


def test_an_evaluation_takes_what_the_counter_grew_by(tmp_path: Path) -> None:
    counter = powercap(tmp_path)
    with SpendingMeter(root=str(tmp_path)) as meter:
        counter.write_text("3000000\n")
        meter.begin()
        counter.write_text("10500000\n")
        first = meter.end(cpu_s=1.25)
        meter.begin()
        counter.write_text("11000000\n")
        second = meter.end(cpu_s=0.5)
        meter.require_energy(None)
    assert (first.package_energy_j, second.package_energy_j) == pytest.approx((7.5, 0.5))
    assert first.cpu_s == 1.25
    assert first.began_s <= first.ended_s <= second.began_s
    assert abs(first.ended_s - time.time()) < 60


def test_a_counter_that_comes_round_during_an_evaluation_is_followed(tmp_path: Path) -> None:
    # 4 J of range at up to 1 kW: to be read every 2 ms
    counter = powercap(tmp_path, range_uj=4_000_000)
    with SpendingMeter(root=str(tmp_path)) as meter:
        meter.begin()
        for step in range(1, 11):
            # of one width and in place, so that a reading never finds half a number
            energy_uj = (1_000_000 + step * 1_500_000) % 4_000_000
            with counter.open("r+") as file:
                file.write(f"{energy_uj:07d}\n")
            # far longer than the meter takes to look again
            time.sleep(0.1)
        spending = meter.end(cpu_s=1.0)
    assert spending.package_energy_j == pytest.approx(15.0)


def test_without_a_counter_nothing_is_measured_and_a_budget_of_joules_is_refused(
    tmp_path: Path,
) -> None:
    with SpendingMeter(root=str(tmp_path)) as meter:
        assert meter.end(cpu_s=1.0).package_energy_j is None
        meter.require_energy(3.0)
        with pytest.raises(UserError, match=r"no RAPL counters.*search\.stop\.cpu_core_power_w"):
            meter.require_energy(None)


def test_a_counter_that_vanishes_leaves_no_energy_rather_than_a_wrong_one(tmp_path: Path) -> None:
    counter = powercap(tmp_path)
    with SpendingMeter(root=str(tmp_path)) as meter:
        meter.begin()
        counter.unlink()
        assert meter.end(cpu_s=1.0).package_energy_j is None
        meter.begin()
        assert meter.end(cpu_s=1.0).package_energy_j is None
