"""What trainings came to, kept as JSON beside the weights that they left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hwnas.candidate_training import TrainingOutcome
from targets import write_atomically


def keep_outcome(checkpoint: Path, outcome: TrainingOutcome) -> None:
    """Keep an outcome, in place of an earlier one.

    Args:
        checkpoint: Its weights.
        outcome: What the training came to.
    """
    write_atomically(_beside(checkpoint), json.dumps(outcome.to_dict()).encode())


def kept_result(checkpoint: Path) -> dict[str, Any] | None:
    """Return what is kept beside weights, for `TrainingOutcome.from_dict`; ``None`` if nothing."""
    file = _beside(checkpoint)
    return json.loads(file.read_text()) if file.exists() else None


def _beside(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(".json")
