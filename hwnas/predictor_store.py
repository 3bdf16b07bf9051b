"""Where the predictors of a target and space lie on disk."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.config import SpaceConfig
from hwnas.errors import UserError
from hwnas.spaces import create_space
from latency_predictors.target_predictors import TargetPredictors
from search_spaces import SearchSpace, Shape
from targets import Target, write_atomically

PREDICTOR_FILE = "predictor.json"
RECORDS_FILE = "measurements.jsonl"
CALIBRATION_PHASE = "calibration"
_SPACE_FILE = "space.json"


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

    def save(self, folder: Path) -> None:
        """Write the description into a folder, which is made.

        Raises:
            UserError: If it cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / _SPACE_FILE, json.dumps(self.to_dict()).encode())
        except OSError as error:
            raise UserError(f"{folder}: cannot be written ({error.strerror})") from None

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
