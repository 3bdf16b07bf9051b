"""Predictors of other targets that a calibration starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hwnas.errors import UserError
from hwnas.predictor_store import SpaceDescription, load_predictors, stored_predictors
from latency_predictors.target_predictors import TargetPredictors

_LEARNED = ("latency_s", "flash_bytes", "peak_ram_bytes")


def load_sources(
    root: Path, names: Sequence[str], space: SpaceDescription
) -> list[TargetPredictors]:
    """Load the newest predictors of each target that were calibrated on a space.

    Args:
        root: Folder of all predictors.
        names: Of the targets.
        space: What they must have been calibrated on.

    Raises:
        UserError: If a target has none, they are damaged, they were fitted to several clocks,
            or they started from other targets themselves.
    """
    found = [_newest(root, name, space) for name in dict.fromkeys(names)]
    for source in found:
        if source.clocked:
            raise UserError(f"--from {source.target}: fitted to several clocks, wanted one")
        try:
            for metric in _LEARNED:
                source.cost_model(metric)
        except ValueError as error:
            raise UserError(
                f"--from {error}. Name those targets, or calibrate it without --from"
            ) from None
    return found


def _newest(root: Path, name: str, space: SpaceDescription) -> TargetPredictors:
    for folder in stored_predictors(root, name):
        if SpaceDescription.load(folder) == space and (predictors := load_predictors(folder)):
            return predictors
    raise UserError(
        f"--from {name}: {root / name} holds no predictors of this space ({space.config.name}). "
        f"Run: hwnas calibrate {name} with the same --space"
    )
