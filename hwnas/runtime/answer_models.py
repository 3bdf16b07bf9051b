"""How well a simulated device answers: by its operating points' accuracy, or by running it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hwnas.bundle_manifest import BundleManifest
from hwnas.bundle_samples import BundleSamples
from hwnas.errors import UserError
from hwnas.runtime.operating_points import OperatingPoint
from hwnas.runtime.staged_network import StagedNetwork


class SimulatedAnswer(NamedTuple):
    """What is known of one simulated inference.

    Args:
        right: Whether it is right, or how probably.
        active: Whether it counts as activity, or how probably.
        confidence: Of the answer, where a network was run.
    """

    right: float
    active: float
    confidence: float | None


class AnswerModel(Protocol):
    """Says what a device would answer."""

    def answer(self, mode: str, row: int, is_event: bool) -> SimulatedAnswer:
        """Return the answer at an operating point to the event or background of a row."""


class PredictedAnswers:
    """Right with the probability that the operating point's accuracy says.

    Args:
        points: By name.
        quiet_class: Background, where it can be told from events. Then it is right as often as
            the recall of that class says, and events as often as those of the others do on
            average; an event is active where it is recognised, and background where it is
            mistaken. Without such a class all are active.
    """

    def __init__(self, points: Mapping[str, OperatingPoint], quiet_class: str | None) -> None:
        self._answers = {
            (name, is_event): _predicted(point, quiet_class, is_event)
            for name, point in points.items()
            for is_event in (False, True)
        }

    def answer(self, mode: str, row: int, is_event: bool) -> SimulatedAnswer:
        """Return the same for all rows of a kind."""
        return self._answers[mode, is_event]


def _predicted(point: OperatingPoint, quiet_class: str | None, is_event: bool) -> SimulatedAnswer:
    if quiet_class is None:
        return SimulatedAnswer(point.accuracy, 1.0, None)
    recalls = [r for name, r in point.recalls.items() if (name != quiet_class) == is_event]
    right = float(np.mean(recalls)) if recalls else point.accuracy
    return SimulatedAnswer(right, right if is_event else 1 - right, None)


class SampledAnswers:
    """What the networks answer to the bundle's samples, each run once at each operating point.

    Rows take one sample after the other. Where the policy has a quiet class, background takes
    those of that class, and events the others.

    Args:
        bundle: Its folder, opened.
        manifest: Of the bundle.
        quiet_class: Of the policy.

    Raises:
        UserError: If the samples are damaged, or none is of the quiet class or all are.
    """

    def __init__(self, bundle: Path, manifest: BundleManifest, quiet_class: str | None) -> None:
        exits = {name: len(network.stages) for name, network in manifest.networks.items()}
        samples = BundleSamples.load(bundle / manifest.samples, exits, manifest.operating_points)
        quiet = None if quiet_class is None else manifest.class_names.index(quiet_class)
        self._rows = {is_event: _indices(samples.y, quiet, is_event) for is_event in (False, True)}
        for is_event, indices in self._rows.items():
            if not len(indices):
                kind = "other classes" if is_event else f"class {quiet_class!r}"
                raise UserError(f"{bundle / manifest.samples}: no sample of {kind} to run.")
        self._answers = {
            name: _run(bundle, manifest, name, samples, quiet) for name in manifest.operating_points
        }

    def answer(self, mode: str, row: int, is_event: bool) -> SimulatedAnswer:
        """Return what was answered to the row's sample."""
        indices = self._rows[is_event]
        return self._answers[mode][indices[row % len(indices)]]


def _indices(y: NDArray[np.int64], quiet: int | None, is_event: bool) -> list[int]:
    wanted = np.ones(len(y), dtype=np.bool_) if quiet is None else (y != quiet) == is_event
    return [int(index) for index in np.flatnonzero(wanted)]


def _run(
    bundle: Path,
    manifest: BundleManifest,
    mode: str,
    samples: BundleSamples,
    quiet: int | None,
) -> list[SimulatedAnswer]:
    point = manifest.operating_points[mode]
    network = StagedNetwork.load(bundle, manifest.networks[point.network])
    policy = point.exit_policy.policy
    answers = []
    for x, y in zip(samples.x, samples.y, strict=True):
        found = network.infer(x[np.newaxis], policy)
        right = float(found.class_index == y)
        active = float(found.class_index != quiet)
        answers.append(SimulatedAnswer(right, active, found.confidence))
    return answers
