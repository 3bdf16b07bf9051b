"""What one stored trial holds: a single JSON attribute, and another once it is trained."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from hwnas.worker_process import WorkerProcess
from search_spaces import Architecture

RECORD = "record"
OUTCOME = "outcome"
FAILURE = "failure"
ABANDONED = "abandoned"
LEASE = "lease"
RUNG = "rung:"


@dataclass(frozen=True)
class TrialRecord:
    """What a trial is created with; never changed.

    Args:
        token: Of this record alone: a record that a broken connection made be stored
            twice counts once.
        worker: Name of who asked.
        process: Its process.
        architecture: What was proposed; ``None`` in a retry.
        positions: The same by position in each dimension, inactive choices not collapsed,
            as samplers remember it.
        violations: Of the limits that are known before training.
        system: Attributes that the sampler gave the trial.
        study: Attributes that the sampler gave the study while it proposed.
        duplicate_of: Number of the earlier evaluation of the same architecture.
        is_told: Whether that one's values were known when this was proposed.
        retry_of: Number of the evaluation that this trial takes up.
    """

    token: str
    worker: str
    process: WorkerProcess
    architecture: Architecture | None = None
    positions: Sequence[int] = ()
    violations: Mapping[str, float] = field(default_factory=dict)
    system: Mapping[str, Any] = field(default_factory=dict)
    study: Mapping[str, Any] = field(default_factory=dict)
    duplicate_of: int | None = None
    is_told: bool = False
    retry_of: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form without what is empty."""
        data = {**self.__dict__, "process": self.process.to_dict()}
        if self.architecture is not None:
            data["architecture"] = self.architecture.to_dict()
        # 0 is a number of an evaluation, and equal to False
        return {
            key: value
            for key, value in data.items()
            if value is not None and value is not False and value not in ((), {})
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a record from `to_dict`."""
        fields = {**data, "process": WorkerProcess.from_dict(data["process"])}
        if "architecture" in data:
            fields["architecture"] = Architecture.from_dict(data["architecture"])
        return cls(**fields)


def new_token() -> str:
    """Return a token that no other record has."""
    return uuid.uuid4().hex
