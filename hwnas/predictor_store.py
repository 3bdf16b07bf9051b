"""Find the predictors of a target and space on disk, or calibrate them now."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from hwnas.errors import UnreachableError, UserError
from hwnas.progress import ProgressReporter
from latency_predictors import CalibrationError, calibrate
from latency_predictors.records import MeasurementRecords
from latency_predictors.target_predictors import TargetPredictors
from search_spaces import Architecture, SearchSpace
from targets import Failure, Measurement, Target


def predictor_folder(root: Path, target: Target, space: SearchSpace) -> Path:
    """Return ``<root>/<target>/<space>-<hash>``; the hash is of all that was calibrated."""
    description = json.dumps(
        {
            "target": target.spec.fingerprint,
            "space": space.name,
            "input_shape": space.input_shape,
            "n_classes": space.n_classes,
            "dimensions": {name: list(choices) for name, choices in space.dimensions.items()},
        },
        sort_keys=True,
    )
    digest = hashlib.sha256(description.encode()).hexdigest()[:8]
    return root / target.name / f"{space.name}-{digest}"


def calibrate_into(
    folder: Path,
    target: Target,
    space: SearchSpace,
    *,
    samples: int,
    held_out: int,
    seed: int,
    progress: ProgressReporter,
) -> TargetPredictors:
    """Calibrate and save predictors with the measurements they were fitted to.

    Raises:
        UnreachableError: If too few architectures could be measured.
        UserError: If the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
    records = MeasurementRecords(folder / "measurements.jsonl")
    # measured before an interruption; the target's cache makes repeating them cheap
    known = {m.architecture.arch_id for m in records.measured(space)}
    progress.phase(f"Calibrating {target.name}", samples + held_out)

    def observe(
        arch: Architecture, result: tuple[Measurement, ...] | Failure, done: int, total: int
    ) -> None:
        if arch.arch_id not in known:
            records.append("calibration", arch, result)
        if isinstance(result, Failure):
            progress.message(f"{arch.arch_id}: {result.stage} failed: {result.message}")
            progress.advance("failed")
        else:
            progress.advance(f"{1e3 * sum(m.latency_median_s for m in result):.3f} ms")

    try:
        predictors = calibrate(
            target, space, samples=samples, held_out=held_out, seed=seed, observer=observe
        )
    except CalibrationError as error:
        raise UnreachableError(f"{error} Check: hwnas targets check {target.name}") from None
    predictors.save(folder / "predictor.json")
    return predictors


def load_predictors(folder: Path) -> TargetPredictors | None:
    """Load predictors, or return ``None`` where none were saved.

    Raises:
        UserError: If they are damaged or of another schema version.
    """
    path = folder / "predictor.json"
    if not path.exists():
        return None
    try:
        return TargetPredictors.load(path)
    except ValueError as error:
        raise UserError(str(error)) from None
