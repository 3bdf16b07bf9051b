"""Check that a bundle's graphs and thresholds reproduce the exit shares that were reported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import UserError
from hwnas.measuring import read_onnx
from hwnas.stage_running import run_stage_models
from hwnas.variants import Variant

_UNDECIDED = 1e-3
"""Confidences so near a threshold may fall on either side of it, as logits are rounded."""


def check_exit_shares(
    point: str, variant: Variant, models: Sequence[Path], x: NDArray[np.float32]
) -> None:
    """Run all validation samples through the ONNX files and count where they leave.

    Args:
        point: What messages call it.
        variant: With its policy and the shares reported of it.
        models: ONNX file of each stage.
        x: The validation split, shape ``(n, C, H, W)``.

    Raises:
        UserError: If a share differs by more samples than lie at a threshold.
    """
    logits = run_stage_models([read_onnx(model) for model in models], x)
    _, exits = variant.policy.apply(logits)
    confidences = variant.policy.confidences(logits)[:-1]
    thresholds = np.asarray(variant.policy.thresholds).reshape(-1, 1)
    near = (np.abs(confidences - thresholds) < _UNDECIDED).any(axis=0)
    shares = np.bincount(exits, minlength=len(logits)) / len(x)
    reported = np.asarray(variant.exit_shares)
    # a rounding of the share, and every undecided sample
    allowed = 1e-9 + near.mean()
    if np.abs(shares - reported).max() > allowed:
        raise UserError(
            f"operating_points.{point}: of the validation samples, "
            f"{', '.join(f'{s:.2%}' for s in shares)} leave at each exit. Reported: "
            f"{', '.join(f'{s:.2%}' for s in reported)}. The data or the models of the run "
            "have changed; search again."
        )
