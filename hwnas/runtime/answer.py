"""What the runtime answers, and who may want to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hwnas.runtime.governor import ModeChange


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one input.

    Args:
        class_index: Predicted class.
        class_name: Its name.
        confidence: Of the exit that answered, from 0 to 1, by the policy's measure; 0 where
            its logits are not finite numbers.
        exit_index: That answered, 0 being the first.
        operating_point: That it was inferred at.
        latency_s: That this inference took here, with all overhead, seconds.
        energy_j: Mean of the operating point, joules: an estimate for this inference.
        energy_provenance: How that mean was obtained, such as ``measured`` or ``modelled``.
        source: ``device``, or where else class and confidence come from.
    """

    class_index: int
    class_name: str
    confidence: float
    exit_index: int
    operating_point: str
    latency_s: float
    energy_j: float
    energy_provenance: str
    source: str = "device"


class Observer(Protocol):
    """Is told of what the runtime does, at once: it should be quick."""

    def mode_changed(self, change: ModeChange) -> None:
        """Another operating point is in use from now on."""

    def answered(self, time_s: float, answer: Answer) -> None:
        """An input was answered at a time of the runtime's clock, seconds."""
