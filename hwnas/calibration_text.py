"""What a calibration reached, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Document = Mapping[str, Any]

_AT_FLOOR = 1.2
_ADVICE = {
    "reached": "reached",
    "noise_floor": "not reached: measurements repeat too badly, and more of them will not help. "
    "Pin the clock, cool the board, stop what else runs",
    "max_samples": "not reached with --max-samples; give the same command a larger one to go on",
    "whole_space": "not reached, and the whole space is measured",
}


def calibration_notes(report: Document) -> list[str]:
    """Return lines about the goal of a calibration and the noise of its measurements."""
    notes = []
    if goal := report.get("goal"):
        notes.append(_goal_text(goal))
    if noise := report.get("noise"):
        notes.append(_noise_text(noise, _typical_error(report)))
    return notes


def _goal_text(goal: Document) -> str:
    text = _reached_text(goal)
    if goal["stopped"] != "max_samples":
        return f"{text}."
    if goal["expected_more"] is None:
        return f"{text}. No number of measurements is expected to do."
    return f"{text}. About {goal['expected_more']} more are expected to do."


def _reached_text(goal: Document) -> str:
    return (
        f"Goal: {goal['share']:.0%} within {goal['within']:.0%}: {goal['n_within']} of "
        f"{goal['n_held_out']} held out are, so at least {goal['lower_bound']:.1%} of all "
        f"({goal['confidence']:.0%} confidence): {_ADVICE[goal['stopped']]}"
    )


def _noise_text(noise: Document, error: float | None) -> str:
    text = f"Repeats of one measurement differ by {noise['repeat_difference']:.1%}"
    if error is None:
        return f"{text}."
    if error <= _AT_FLOOR * noise["floor"]:
        return f"You are at the floor: {error:.1%} median error. {text}: more will not help."
    return f"{text}, which alone makes a median error of {noise['floor']:.1%}; it is {error:.1%}."


def _typical_error(report: Document) -> float | None:
    if goal := report.get("goal"):
        return float(goal["median_error"])
    held_out = report.get("held_out")
    return None if held_out is None else held_out.get("median_error")
