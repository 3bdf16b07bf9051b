"""Measure a calibration's anchors again: does the board still match its predictors?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwnas.doubts import ADVICE
from hwnas.errors import UserError
from hwnas.predictor_store import (
    PREDICTOR_FILE,
    SpaceDescription,
    load_predictors,
    predictor_folder,
)
from hwnas.target_checking import CheckStep
from latency_predictors.measured_architecture import measure_architecture
from latency_predictors.noise import CONFIDENCE, LEAST_ANCHORS, Anchor, Drift, drift
from search_spaces import SearchSpace
from targets import Failure, MeasureConfig, Target

_RECALIBRATE = "calibrate again with --fresh"


def drift_steps(target: Target, root: Path) -> list[CheckStep]:
    """Compare a target with each of its predictors that can still be used.

    Args:
        target: Open, and measured anew whatever its cache holds.
        root: Folder of all predictors.

    Returns:
        One step per predictor; none where there is no predictor.
    """
    folders = sorted(path.parent for path in (root / target.name).glob(f"*/{PREDICTOR_FILE}"))
    return [step for folder in folders if (step := _check(target, root, folder)) is not None]


def _check(target: Target, root: Path, folder: Path) -> CheckStep | None:
    name = f"drift of {folder.name}"
    try:
        space = SpaceDescription.load(folder).create()
        predictors = load_predictors(folder)
        if predictors is None or predictor_folder(root, target, space) != folder:
            return None  # of other settings of the target: no command uses them
        anchors = _anchors(predictors.report, space)
    except UserError as error:
        return CheckStep(name, False, str(error), _RECALIBRATE)
    if len(anchors) < LEAST_ANCHORS:
        return CheckStep(name, True, "not known: no measurement was repeated", _RECALIBRATE)
    return _compare(name, target, space, anchors, int(predictors.report["seed"]))


def _anchors(report: dict[str, Any], space: SearchSpace) -> list[Anchor]:
    try:
        return [Anchor.from_dict(data, space) for data in report.get("anchors", [])]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"anchors: damaged ({error})") from None


def _compare(
    name: str, target: Target, space: SearchSpace, anchors: Sequence[Anchor], seed: int
) -> CheckStep:
    kept, now_s = [], []
    for anchor in anchors:
        result = measure_architecture(
            target,
            space,
            anchor.architecture,
            seed=seed,
            config=MeasureConfig(),
            energy=None,
            fresh=True,
        )
        if isinstance(result, Failure):
            return CheckStep(name, False, f"{result.stage} failed: {result.message}")
        if not result.disturbed:
            kept.append(anchor)
            now_s.append(result.latency_s)
    found = drift(kept, now_s)
    if found is None:
        return CheckStep(
            name,
            False,
            f"{len(anchors) - len(kept)} of {len(anchors)} anchors were throttled or drifting",
            ADVICE["throttled"],
        )
    if not found.drifted:
        return CheckStep(name, True, drift_text(found))
    return CheckStep(
        name,
        False,
        f"{drift_text(found)}: the board no longer matches its predictors",
        f"check clock, cooling and what else runs; if it is to stay so, {_RECALIBRATE}",
    )


def drift_text(found: Drift) -> str:
    """Say in one line how much a board changed, and how much of that may be chance."""
    return (
        f"{found.n} anchors: {found.change:+.1%} since the calibration, root mean square "
        f"{found.spread:.1%}; up to {found.limit:.1%} may be chance ({CONFIDENCE:.0%})"
    )
