"""What the kernels of a network cost: those measured as measured, others by what they resemble."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latency_predictors._types import UnknownWorkloadError
from latency_predictors.kernel_regression import KernelRegression
from latency_predictors.kernel_segments import Role, Segment, kernels_by_segment, segments
from search_spaces import Stage, Workload

if TYPE_CHECKING:
    from targets import KernelTime

Array: TypeAlias = NDArray[np.float64]
_Group: TypeAlias = tuple[Role, str]


class KernelCosts:
    """Costs of the segments of networks on one target, in seconds.

    A segment that was measured costs what its kernels took. Another is predicted from
    measured ones of the same operator, with a standard deviation that widens the less it
    resembles them. What leads from the sum to the latency of a network, such as the cost of
    calling a kernel, is not part of it.

    Args:
        measured: Mean and standard deviation of measured segments, seconds.
    """

    def __init__(self, measured: Mapping[Segment, tuple[float, float]]) -> None:
        self._measured = dict(measured)
        self._predicted: dict[Segment, tuple[float, float]] = {}
        self._regressions: dict[_Group, KernelRegression] = {}

    @classmethod
    def fit(cls, stages: Sequence[Stage], times: Sequence[Sequence[KernelTime]]) -> Self:
        """Learn from networks whose kernels were timed.

        Args:
            stages: n compiled networks.
            times: Length n: of the kernels each calls, in execution order.

        Raises:
            ValueError: If a time is not measured on the device itself, or the kernels of a
                network are not those of its workloads.
            UnknownWorkloadError: For an operator of which the kernel is not known.
        """
        samples: dict[Segment, list[tuple[float, float]]] = {}
        for stage, kernels in zip(stages, times, strict=True):
            for time in kernels:
                if time.provenance != "measured":
                    raise ValueError(
                        f"kernel {time.kernel}: {time.provenance} timings never calibrate "
                        "anything. Time kernels on a device, with provenance: measured"
                    )
            owners = kernels_by_segment(stage, [time.kernel for time in kernels])
            for segment, indices in zip(_segments(stage), owners, strict=True):
                own = [kernels[i] for i in indices]
                variance = sum((time.latency_s * time.relative_spread) ** 2 for time in own)
                total = (sum(time.latency_s for time in own), float(np.sqrt(variance)))
                samples.setdefault(segment, []).append(total)
        # equal segments are equal kernels, measured once: more than one only where they differ
        return cls({segment: _mean(found) for segment, found in samples.items()})

    @property
    def n_measured(self) -> int:
        """How many different segments were measured."""
        return len(self._measured)

    def segment_s(self, segment: Segment) -> tuple[float, float]:
        """Return mean and standard deviation of a segment's cost, seconds.

        Raises:
            UnknownWorkloadError: If no segment of its operator was measured.
        """
        if segment in self._measured:
            return self._measured[segment]
        if segment not in self._predicted:
            self._predict([segment])
        return self._predicted[segment]

    def network_s(self, stages: Sequence[Stage]) -> tuple[Array, Array]:
        """Return the summed costs of the segments of n networks, and their deviations.

        Errors of different segments are taken as independent, those of equal ones are equal.

        Returns:
            Two arrays of shape ``(n,)``, seconds.

        Raises:
            UnknownWorkloadError: If no segment of one's operator was measured.
        """
        counted = [Counter(_segments(stage)) for stage in stages]
        known = self._measured.keys() | self._predicted.keys()
        self._predict(sorted({s for parts in counted for s in parts} - known, key=repr))
        sums, variances = np.zeros(len(stages)), np.zeros(len(stages))
        for row, parts in enumerate(counted):
            for segment, times in parts.items():
                mean, std = self.segment_s(segment)
                sums[row] += times * mean
                variances[row] += (times * std) ** 2
        return sums, np.sqrt(variances)

    def n_measured_of(self, stage: Stage) -> int:
        """Return how many segments of a network were measured."""
        return sum(segment in self._measured for segment in _segments(stage))

    def to_dict(self) -> list[dict[str, Any]]:
        """Return the measured segments, JSON-ready, for `from_dict`."""
        return [
            {
                "role": segment.role,
                "workloads": [asdict(workload) for workload in segment.workloads],
                "mean_s": mean,
                "std_s": std,
            }
            for segment, (mean, std) in self._measured.items()
        ]

    @classmethod
    def from_dict(cls, state: Sequence[Mapping[str, Any]]) -> Self:
        """Rebuild costs that are exactly those `to_dict` was taken from.

        Raises:
            KeyError, TypeError, ValueError: If an entry is missing or not what it should be.
        """
        measured = {}
        for entry in state:
            if entry["role"] not in ("input", "compute", "output"):
                raise ValueError(f"role: {entry['role']!r}")
            workloads = tuple(_workload(fields) for fields in entry["workloads"])
            mean, std = float(entry["mean_s"]), float(entry["std_s"])
            if not (0 <= mean < np.inf and 0 <= std < np.inf):
                raise ValueError(f"mean_s, std_s: wanted numbers from 0 on, got {mean}, {std}")
            measured[Segment(entry["role"], workloads)] = mean, std
        return cls(measured)

    def _predict(self, unknown: Sequence[Segment]) -> None:
        groups: dict[_Group, list[Segment]] = {}
        for segment in unknown:
            groups.setdefault(_group(segment), []).append(segment)
        for group, members in groups.items():
            if group not in self._regressions:
                self._regressions[group] = self._regression(group)
            costs = self._regressions[group].predict([m.workloads for m in members])
            self._predicted.update(zip(members, costs, strict=True))

    def _regression(self, group: _Group) -> KernelRegression:
        # what needs no kernel says nothing of those that do
        known = {s.workloads: m for s, (m, _) in self._measured.items() if _group(s) == group and m}
        if not known:
            role, op = group
            names = sorted({s.workloads[0].op for s in self._measured if s.role == role})
            raise UnknownWorkloadError(
                f"no kernel of {op!r} ({role}) was timed; timed are {', '.join(names) or 'none'}. "
                "Time the kernels of a network that contains it."
            )
        return KernelRegression.fit(list(known), np.array(list(known.values())))


def _segments(stage: Stage) -> tuple[Segment, ...]:
    try:
        return segments(stage)
    except LookupError as error:
        raise UnknownWorkloadError(error.args[0]) from None


def _group(segment: Segment) -> _Group:
    return segment.role, segment.workloads[0].op


def _mean(found: Sequence[tuple[float, float]]) -> tuple[float, float]:
    means, stds = np.array(found).T
    return float(means.mean()), float(np.hypot(stds.mean(), means.std()))


def _workload(fields: Mapping[str, Any]) -> Workload:
    shapes = ("input_shape", "output_shape", "kernel", "stride")
    return Workload(**{**fields, **{k: tuple(int(x) for x in fields[k]) for k in shapes}})
