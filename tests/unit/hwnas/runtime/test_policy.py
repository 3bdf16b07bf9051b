"""Scaling policies: what their files may say, and what the check of them finds."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.config_file import read_document, validated
from hwnas.errors import UserError
from hwnas.runtime.governor import Governor
from hwnas.runtime.policy import (
    MAX_ACTIVE_INTERVAL_S,
    Background,
    ScalingPolicy,
    default_policy,
    load_policy,
)
from hwnas.runtime.policy_check import reachable_modes, unreachable_rule
from hwnas.runtime.signals import UNKNOWN, EventMonitor, busiest_rate_per_min
from hwnas.runtime.trigger import Trigger

ENERGIES_J = {"high": 3e-3, "balanced": 2e-3, "low": 1e-3}
CLASSES = ("yes", "no", "silence")

# signals by their index in `Signals`
BATTERY, CONFIDENCE = 0, 4
LEVELS = (0.2, 0.4, 0.6, 0.8)


def loaded(tmp_path: Path, text: str, energies_j: dict[str, float] = ENERGIES_J) -> ScalingPolicy:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    return load_policy(file, energies_j, CLASSES)


@pytest.mark.parametrize("interval_s", [None, 0.1, 1.0, 15.0, MAX_ACTIVE_INTERVAL_S])
@pytest.mark.parametrize("n_points", [1, 2, 3])
def test_the_policy_that_export_writes_passes_the_check_of_its_own_bundle(
    tmp_path: Path, n_points: int, interval_s: float | None
) -> None:
    names = list(ENERGIES_J)[:n_points]
    background = None if interval_s is None else Background("silence", interval_s)
    policy = default_policy(names, background)
    energies = {name: ENERGIES_J[name] for name in names}
    assert loaded(tmp_path, policy.to_yaml(), energies) == policy


@pytest.mark.parametrize("interval_s", [0.5, 5.0, 60.0])
def test_events_bring_the_dearest_mode_and_quiet_the_cheapest(interval_s: float) -> None:
    """Answers one after the other, as a device gives them: quiet, then events, then quiet."""
    policy = default_policy(list(ENERGIES_J), Background("silence", interval_s))
    monitor = EventMonitor()
    governor = Governor(policy, ENERGIES_J)
    per_phase = math.ceil(120 / interval_s) + 2
    modes = []
    for k in range(3 * per_phase):
        now_s = k * interval_s
        governor.decide(now_s, monitor.signals(now_s, UNKNOWN))
        modes.append(governor.mode)
        monitor.answered(now_s, float(k // per_phase == 1), None)
    assert set(modes[: per_phase + 1]) == {"low"}
    assert modes[2 * per_phase - 1] == "high"
    assert modes[-1] == "low"


def test_activity_settles_where_the_geometric_series_does() -> None:
    monitor = EventMonitor()
    for k in range(200):
        rate_per_min = monitor.signals(2.0 * k, UNKNOWN).activity_per_min
        monitor.answered(2.0 * k, 1.0, None)
    assert rate_per_min == pytest.approx(busiest_rate_per_min(2.0))
    # nearly 30 a minute: every 2 s
    assert 27 < busiest_rate_per_min(2.0) < 30


@pytest.mark.parametrize("mistaken", [0.0, 0.1, 0.2, 0.3])
def test_background_mistaken_for_events_seldom_brings_the_dearest_mode(mistaken: float) -> None:
    """Answers a second apart: an hour of background, then a minute of events."""
    policy = default_policy(list(ENERGIES_J), Background("silence", 1.0, mistaken))
    monitor, rng = EventMonitor(), np.random.default_rng(0)
    governor = Governor(policy, ENERGIES_J)
    modes = []
    for k in range(3660):
        governor.decide(float(k), monitor.signals(float(k), UNKNOWN))
        modes.append(governor.mode)
        is_event = k >= 3600 or rng.random() < mistaken
        monitor.answered(float(k), float(is_event), None)
    # some 30 answers count, so that their share scatters by 0.09 at the most
    assert np.mean(np.array(modes[:3600]) == "high") < 0.1
    assert modes[-1] == "high"


@pytest.mark.parametrize(
    ("interval_s", "mistaken", "message"),
    [
        (0.0, 0.0, "interval_s: wanted up to 60"),
        (MAX_ACTIVE_INTERVAL_S + 1, 0.0, "interval_s: wanted up to 60"),
        (1.0, 0.6, "mistaken: wanted up to 0.3"),
    ],
)
def test_a_rule_on_activity_wants_answers_that_tell(
    interval_s: float, mistaken: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Background("silence", interval_s, mistaken)


def test_the_policy_of_the_documentation_is_sound(tmp_path: Path) -> None:
    page = Path(__file__).parents[4] / "docs" / "runtime.md"
    text = page.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    assert loaded(tmp_path, text).quiet_class == "silence"


RULE = "default: high\nrules:\n- mode: low\n  when: "


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("default: hihg", "default: unknown 'hihg'. Did you mean 'high'?"),
        (f"{RULE}{{battery: {{below: 0.2, until: 0.3}}}}", "rules.0.when.battery: unknown key"),
        (f"{RULE}{{}}", "wanted a condition on one of battery_level, charging"),
        (
            f"{RULE}{{battery_level: {{below: 0.3, until: 0.2}}}}",
            "hysteresis inverted: below 0.3 wants 'until' of at least that. Got 0.2.",
        ),
        (
            f"{RULE}{{activity_per_min: {{above: 3, until: 4}}}}",
            "hysteresis inverted: above 3 wants 'until' of at most that. Got 4.",
        ),
        (
            f"{RULE}{{activity_per_min: {{above: 3, below: 5, until: 4}}}}",
            "wanted one of 'above' and 'below'.",
        ),
        (
            f"{RULE}{{battery_level: {{below: 0.2, until: 30}}}}",
            "battery_level: below 0.2 can never be left: until 30",
        ),
        (
            f"{RULE}{{activity_per_min: {{above: 3, until: -1}}}}",
            "activity_per_min: above 3 can never be left",
        ),
        (
            f"{RULE}{{activity_per_min: {{above: 3, until: 0}}}}",
            "activity_per_min: above 3 can never be left: until 0, but it goes from 0 to inf, "
            "which it only comes near to.",
        ),
        (
            f"{RULE}{{confidence: {{below: 0.5, until: 1.0}}}}",
            "confidence: below 0.5 can never be left: until 1, but it goes from 0 to 1, which",
        ),
        (
            f"{RULE}{{confidence: {{above: 0.5, until: 0}}}}",
            "confidence: above 0.5 can never be left: until 0",
        ),
        (
            f"{RULE}{{temperature_c: {{above: 333, until: 300}}}}",
            "temperature_c: above 333 never holds",
        ),
        ("default: high", "can never leave mode 'high': no signals lead to another"),
        (
            "default: low\nenergy_budget_j_per_hour: 3\n",
            "can never leave mode 'low'",
        ),
        (
            "default: low\nrules:\n- mode: low\n  when: {charging: true}",
            "can never leave mode 'low'",
        ),
        (
            f"{RULE}{{charging: true}}\n- mode: balanced\n  when: {{charging: true}}",
            "rules.1: never decides: an earlier rule holds whenever it does",
        ),
        (
            f"{RULE}{{charging: true}}\nquiet_class: silent",
            "quiet_class: unknown 'silent'. Did you mean 'silence'?",
        ),
        (f"{RULE}{{charging: 1}}", "rules.0.when.charging: wanted a valid boolean"),
        (f"{RULE}{{charging: true}}\nmin_dwell_s: -1", "min_dwell_s: wanted"),
    ],
)
def test_a_policy_that_cannot_work_is_refused_in_one_line(
    tmp_path: Path, text: str, wanted: str
) -> None:
    with pytest.raises(UserError, match=r"policy\.yaml: ") as caught:
        loaded(tmp_path, text)
    assert wanted in str(caught.value)


def test_a_battery_is_full_and_empty_at_the_ends_of_its_range(tmp_path: Path) -> None:
    text = f"{RULE}{{battery_level: {{below: 0.2, until: 1.0}}}}"
    assert loaded(tmp_path, text).rules[0].when.triggers[0].leave == 1


def test_many_rules_of_many_conditions_are_checked_without_trying_all_choices() -> None:
    """Of 13 rules of four conditions there are 67 million; and nested hysteresis of 12."""
    rules = [[Trigger(s, True, 0.2 + 0.04 * k, 0.2) for s in (0, 2, 3, 4)] for k in range(13)]
    charging = Trigger(1, True, 0.5, 0.5)
    assert unreachable_rule([*rules[::-1], [charging], [charging, rules[0][0]]]) == 14
    nested = [[Trigger(0, True, 0.5 + 0.02 * k, 0.5 - 0.02 * k)] for k in range(1, 13)]
    assert unreachable_rule(nested) is None
    assert unreachable_rule([*nested, nested[3]]) == 12


def test_a_budget_leads_out_of_a_dear_mode_without_any_rule(tmp_path: Path) -> None:
    assert loaded(tmp_path, "default: high\nenergy_budget_j_per_hour: 3").rules == ()


def test_a_condition_that_another_hides_only_by_its_hysteresis_is_found(tmp_path: Path) -> None:
    # above 0.5 and still above 0.4 whenever the other, above 0.6, holds down to 0.45
    hidden = "{mode: low, when: {confidence: {above: 0.6, until: 0.45}}}"
    first = "{mode: balanced, when: {confidence: {above: 0.5, until: 0.4}}}"
    with pytest.raises(UserError, match=r"rules\.1: never decides"):
        loaded(tmp_path, f"default: high\nrules: [{first}, {hidden}]")
    # held down to 0.3, it decides between 0.3 and 0.4
    seen = hidden.replace("0.45", "0.3")
    assert len(loaded(tmp_path, f"default: high\nrules: [{first}, {seen}]").rules) == 2


@st.composite
def triggers(draw: st.DrawFn) -> Trigger:
    a, b = sorted([draw(st.sampled_from(LEVELS)), draw(st.sampled_from(LEVELS))])
    rising = draw(st.booleans())
    signal = draw(st.sampled_from([BATTERY, CONFIDENCE]))
    return Trigger(signal, rising, b if rising else a, a if rising else b)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(triggers(), min_size=1, max_size=2), min_size=1, max_size=4),
    st.lists(st.sampled_from(["high", "low"]), min_size=4, max_size=4),
)
def test_the_check_finds_what_playing_all_signals_finds(
    rules: list[list[Trigger]], drawn: list[str]
) -> None:
    modes = drawn[: len(rules)]
    values = [k / 10 for k in range(11)]
    conditions = sorted({t for rule in rules for t in rule}, key=repr)

    def step(held: frozenset[Trigger], at: tuple[float, float]) -> frozenset[Trigger]:
        by_signal = {BATTERY: at[0], CONFIDENCE: at[1]}
        return frozenset(t for t in conditions if t.next(t in held, by_signal[t.signal]))

    def decider(held: frozenset[Trigger]) -> int:
        return next((k for k, rule in enumerate(rules) if held.issuperset(rule)), len(rules))

    inputs = list(itertools.product(values, values))
    seen: set[frozenset[Trigger]] = set()
    new = {frozenset[Trigger]()}
    first = True
    while new:
        found = {step(held, at) for held in new for at in inputs}
        seen |= set() if first else new
        first, new = False, found - seen
    deciders = {decider(held) for held in seen}
    names = [*modes, "high"]
    assert reachable_modes(rules, modes, "high") == {names[k] for k in deciders}
    silent = [k for k in range(len(rules)) if k not in deciders]
    assert unreachable_rule(rules) == (silent[0] if silent else None)


def test_a_document_without_a_default_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("rules: []")
    with pytest.raises(UserError, match="default: missing"):
        validated(read_document(tmp_path / "p.yaml"), "p.yaml", ScalingPolicy)
