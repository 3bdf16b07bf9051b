"""Exit policies: when a network answers early. NumPy alone, so that a device can run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

ConfidenceMeasure: TypeAlias = Literal["max_probability", "entropy", "margin"]
"""What tells how sure an exit is, from 0 to 1: the largest softmax probability; 1 less the
entropy over its largest possible value; the distance of the two largest probabilities."""

CONFIDENCE_MEASURES: tuple[ConfidenceMeasure, ...] = get_args(ConfidenceMeasure)

NEVER = 2.0
"""A threshold no confidence reaches: the exit is never taken."""


@dataclass(frozen=True)
class ExitPolicy:
    """Answer at the first exit whose confidence reaches its threshold.

    Args:
        thresholds: One per exit but the last, which always answers.
        temperatures: What each exit's logits are divided by, one per exit; none where
            they are taken as they are.
        measure: Of confidence.

    Raises:
        ValueError: For another number of temperatures than exits, one that is not
            positive, or an unknown measure.

    References:
        Teerapittayanon et al. (2016), BranchyNet, Sec. III (entropy).
        doi:10.1109/ICPR.2016.7900006; Huang et al. (2018), MSDNet, Sec. 4.1 (largest
        probability), arXiv:1703.09844; Guo et al. (2017), On calibration of modern
        neural networks, Sec. 4.2 (temperatures), arXiv:1706.04599.
    """

    thresholds: tuple[float, ...]
    temperatures: tuple[float, ...] = ()
    measure: ConfidenceMeasure = "max_probability"

    def __post_init__(self) -> None:
        if self.temperatures and len(self.temperatures) != len(self.thresholds) + 1:
            raise ValueError(
                f"wanted a temperature for each of {len(self.thresholds) + 1} exits. "
                f"Got {len(self.temperatures)}."
            )
        if not all(0 < t < np.inf for t in self.temperatures):
            raise ValueError(f"temperatures: wanted more than 0. Got {self.temperatures}.")
        if self.measure not in CONFIDENCE_MEASURES:
            wanted = ", ".join(CONFIDENCE_MEASURES)
            raise ValueError(f"measure: wanted one of {wanted}. Got {self.measure!r}.")

    def apply(
        self, logits: Sequence[NDArray[np.float32]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return predicted class and exit index of each sample, both of shape ``(n,)``.

        Args:
            logits: One array ``(n, classes)`` per exit.

        Raises:
            ValueError: For another number of exits than the policy has thresholds for.
        """
        if len(self.thresholds) != len(logits) - 1:
            raise ValueError(
                f"wanted a threshold for each of {len(logits)} exits but the last. "
                f"Got {len(self.thresholds)}."
            )
        exits = first_confident(self.confidences(logits), self.thresholds)
        predicted = np.stack([z.argmax(axis=1) for z in logits])
        return predicted[exits, np.arange(len(exits))], exits

    def confidences(self, logits: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
        """Return the confidence of every exit in every sample, shape ``(exits, n)``."""
        return np.stack([self.confidence(k, z) for k, z in enumerate(logits)])

    def confidence(self, exit_index: int, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return how sure one exit is, shape ``(n,)``, of its logits ``(n, classes)``."""
        temperature = self.temperatures[exit_index] if self.temperatures else 1.0
        return confidence(logits, self.measure, temperature)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "measure": self.measure,
            "temperatures": list(self.temperatures),
            "thresholds": list(self.thresholds),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ExitPolicy:
        """Rebuild a policy from `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: If it is damaged.
        """
        return cls(
            tuple(float(t) for t in data["thresholds"]),
            tuple(float(t) for t in data["temperatures"]),
            data["measure"],
        )


def confidence(
    logits: NDArray[np.float32], measure: ConfidenceMeasure, temperature: float = 1.0
) -> NDArray[np.float64]:
    """Return how sure an exit is of each sample, shape ``(n,)``, from 0 to 1.

    Args:
        logits: Shape ``(n, classes)``.
        measure: See `ConfidenceMeasure`.
        temperature: What logits are divided by.
    """
    scaled = logits.astype(np.float64) / temperature
    shifted = scaled - scaled.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    total = powers.sum(axis=1)
    found: NDArray[np.float64]
    if measure == "max_probability":
        found = 1 / total
    elif measure == "entropy":
        # of p = e^s / S: H = ln S - sum p s
        entropy = np.log(total) - (powers * shifted).sum(axis=1) / total
        found = 1 - entropy / np.log(logits.shape[1])
    else:
        second = np.partition(powers, -2, axis=1)[:, -2]
        found = (1 - second) / total
    return found


def first_confident(
    confidence: NDArray[np.float64], thresholds: Sequence[float]
) -> NDArray[np.int64]:
    """Return the first exit whose confidence reaches its threshold, shape ``(n,)``.

    Args:
        confidence: Shape ``(exits, n)``.
        thresholds: One per exit but the last, which always answers.
    """
    confident = np.ones(confidence.shape, dtype=np.bool_)
    confident[:-1] = confidence[:-1] >= np.asarray(thresholds).reshape(-1, 1)
    return np.asarray(confident.argmax(axis=0), dtype=np.int64)
