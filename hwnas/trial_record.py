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
# in an outcome
FAILURE, POINTS, RESULT, VIOLATIONS = "failure", "points", "result", "violations"
# why another attempt is to be made: DIED speaks against the architecture, RELEASED does not
ABANDONED, DIED, RELEASED = "abandoned", "died", "released"
# how many evaluations had ended before
AFTER = "after"
LEASE = "lease"
RUNG = "rung:"


@dataclass(frozen=True)
class TrialContent:
    """What a trial is about: an architecture proposed, or an evaluation taken up.

    Args:
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

    architecture: Architecture | None = None
    positions: Sequence[int] = ()
    violations: Mapping[str, float] = field(default_factory=dict)
    system: Mapping[str, Any] = field(default_factory=dict)
    study: Mapping[str, Any] = field(default_factory=dict)
    duplicate_of: int | None = None
    is_told: bool = False
    retry_of: int | None = None

    @property
    def is_miss(self) -> bool:
        """Whether there is nothing to evaluate."""
        return self.duplicate_of is not None or any(v > 0 for v in self.violations.values())

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form without what is empty."""
        data = dict(self.__dict__)
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
        """Rebuild a content from `to_dict`."""
        fields = dict(data)
        if "architecture" in data:
            fields["architecture"] = Architecture.from_dict(data["architecture"])
        return cls(**fields)


@dataclass(frozen=True)
class TrialRecord:
    """What a trial is created with; never changed.

    Args:
        token: Of this record alone: a record that a broken connection made be stored
            twice counts once.
        worker: Name of who stored it.
        process: Its process.
        content: What it is about.
        launcher: As announced by whoever ran the search when the worker joined it.
    """

    token: str
    worker: str
    process: WorkerProcess
    content: TrialContent
    launcher: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "token": self.token,
            "worker": self.worker,
            "process": self.process.to_dict(),
            "launcher": self.launcher,
            **self.content.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a record from `to_dict`."""
        content = dict(data)
        token, worker = content.pop("token"), content.pop("worker")
        process = WorkerProcess.from_dict(content.pop("process"))
        launcher = content.pop("launcher")
        return cls(token, worker, process, TrialContent.from_dict(content), launcher)


def new_token() -> str:
    """Return a token that no other record has."""
    return uuid.uuid4().hex
