"""Find the predictors of a target and space on disk, or calibrate them now."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.config import SpaceConfig
from hwnas.errors import UnreachableError, UserError
from hwnas.progress import ProgressReporter
from hwnas.spaces import create_space
from latency_predictors import CalibrationError, NotMeasuredError, calibrate
from latency_predictors.records import MeasurementRecords
from latency_predictors.target_predictors import TargetPredictors
from search_spaces import Architecture, SearchSpace, Shape
from targets import Failure, Measurement, Target, write_atomically

PREDICTOR_FILE = "predictor.json"
RECORDS_FILE = "measurements.jsonl"
CALIBRATION_PHASE = "calibration"
_SPACE_FILE = "space.json"
# so many failures before any success: the target is at fault, not the architectures
_PATIENCE = 3


@dataclass(frozen=True)
class SpaceDescription:
    """Enough to build a space again: its settings and what its data looks like."""

    config: SpaceConfig
    input_shape: Shape
    n_classes: int

    def create(self) -> SearchSpace:
        """Build the space."""
        return create_space(self.config, self.input_shape, self.n_classes)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "space": self.config.model_dump(mode="json"),
            "input_shape": list(self.input_shape),
            "n_classes": self.n_classes,
        }

    @classmethod
    def load(cls, folder: Path) -> SpaceDescription:
        """Read the description that a calibration left in its folder."""
        path = folder / _SPACE_FILE
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            config = SpaceConfig.model_validate(data["space"])
            return cls(config, tuple(data["input_shape"]), int(data["n_classes"]))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: damaged or missing ({error}). Calibrate again.") from None


def predictor_folder(root: Path, target: Target, space: SearchSpace) -> Path:
    """Return ``<root>/<target>/<space>-<hash>``; the hash is of all that was calibrated."""
    description = json.dumps(
        {
            "target": target.fingerprint,
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
    description: SpaceDescription,
    *,
    samples: int,
    held_out: int,
    seed: int,
    progress: ProgressReporter,
) -> TargetPredictors:
    """Calibrate and save predictors with the measurements they were fitted to.

    Raises:
        UnreachableError: If too few architectures could be measured.
        UserError: If the folder cannot be written, or the target's timings are emulated.
    """
    space = description.create()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / _SPACE_FILE, json.dumps(description.to_dict()).encode())
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
    records = MeasurementRecords(folder / RECORDS_FILE)
    # measured before an interruption; the target's cache makes repeating them cheap
    known = {m.architecture.arch_id for m in records.measured(space)}
    progress.phase(f"Calibrating {target.name}", samples + held_out)

    n_failed = 0

    def observe(
        arch: Architecture, result: tuple[Measurement, ...] | Failure, done: int, total: int
    ) -> None:
        nonlocal n_failed
        if arch.arch_id not in known:
            records.append(CALIBRATION_PHASE, arch, result)
        if isinstance(result, Failure):
            n_failed += 1
            if n_failed == done == _PATIENCE:
                raise UnreachableError(
                    f"the first {done} architectures all failed on {target.name!r}: "
                    f"{result.message}. Check: hwnas targets check {target.name}"
                )
            progress.message(f"{arch.arch_id}: {result.stage} failed: {result.message}")
            progress.advance("failed")
        else:
            progress.advance(f"{1e3 * sum(m.latency_median_s for m in result):.3f} ms")

    try:
        predictors = calibrate(
            target, space, samples=samples, held_out=held_out, seed=seed, observer=observe
        )
    except NotMeasuredError as error:
        raise UserError(str(error)) from None
    except CalibrationError as error:
        raise UnreachableError(f"{error} Check: hwnas targets check {target.name}") from None
    predictors.save(folder / PREDICTOR_FILE)
    return predictors


def load_predictors(folder: Path) -> TargetPredictors | None:
    """Load predictors, or return ``None`` where none were saved.

    Raises:
        UserError: If they are damaged or of another schema version.
    """
    path = folder / PREDICTOR_FILE
    if not path.exists():
        return None
    try:
        return TargetPredictors.load(path)
    except ValueError as error:
        raise UserError(str(error)) from None


def stored_predictors(root: Path, target: str) -> list[Path]:
    """Return the folders of a target's predictors, newest first.

    Raises:
        UserError: If there is none.
    """
    found = sorted((root / target).glob(f"*/{PREDICTOR_FILE}"), key=lambda p: -p.stat().st_mtime)
    if not found:
        raise UserError(
            f"{root / target}: no predictors of {target!r}. "
            f"Run: hwnas calibrate {target} --space EXPERIMENT.yaml"
        )
    return [path.parent for path in found]
