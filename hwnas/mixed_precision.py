"""Leave in float32 what suffers most from int8, and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwnas.quantization import CalibratedStages
from hwnas.stage_running import run_stage_models

if TYPE_CHECKING:
    import onnx

Logits = Sequence[NDArray[np.float32]]

# a mean over so many samples and all classes: enough to rank by
_NOISE_SAMPLES = 64


@dataclass(frozen=True)
class MixedPrecision:
    """Which operators of some networks stay in float32.

    Args:
        models: Of each network one per stage, with these operators in float32.
        float_operators: What stays in float32, the most sensitive first.
        accuracy_drop: Against float32, see `mean_largest_drop`.
    """

    models: tuple[tuple[onnx.ModelProto, ...], ...]
    float_operators: tuple[str, ...]
    accuracy_drop: float


def mixed_precision(
    networks: Sequence[CalibratedStages],
    samples: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    max_drop: float,
) -> MixedPrecision:
    """Quantize all operators but the fewest that keep the accuracy, the same in every network.

    Operators are ranked by `operator_noise`, averaged over the networks; the shortest head of
    that list that keeps their mean drop within the limit is found by bisection, which takes
    accuracies to fall with every operator that is quantized. What comes out has been judged
    itself. With no operator quantized the drop is 0, so that there always is a result.

    Args:
        networks: The stages of each; they differ in their training seed alone.
        samples: To judge by, ``(N, C, H, W)``: neither of the training nor of the test split.
        labels: Their classes ``(N,)``.
        max_drop: Accuracy that may be lost, a share of samples.
    """
    references = [run_stage_models(stages.models, samples) for stages in networks]
    noises = [operator_noise(stages) for stages in networks]
    ranked = sorted(noises[0], key=lambda name: -float(np.mean([n[name] for n in noises])))

    def judged(n_float: int) -> MixedPrecision:
        kept = tuple(ranked[:n_float])
        models = tuple(stages.quantized(kept) for stages in networks)
        answers = [run_stage_models(stages, samples) for stages in models]
        return MixedPrecision(models, kept, mean_largest_drop(references, answers, labels))

    found = judged(0)
    too_few, enough = -1, 0
    if found.accuracy_drop > max_drop:
        too_few, enough = 0, len(ranked)
        found = judged(enough)
    while enough - too_few > 1:
        # sensitive operators are few: looks below the middle
        middle = too_few + max(1, (enough - too_few) // 4)
        tried = judged(middle)
        if tried.accuracy_drop <= max_drop:
            enough, found = middle, tried
        else:
            too_few = middle
    return found


def operator_noise(calibrated: CalibratedStages) -> Mapping[str, float]:
    """Return how much noise each operator alone, computed in int8, adds to the logits.

    That is the power of what changes over the power of the logits, averaged over the exits
    that come after the operator: the inverse of the signal-to-quantization-noise ratio. Noises
    of small steps are nearly independent, so that they add up.

    Args:
        calibrated: The stages; judged by some of the samples that they were calibrated with.
    """
    inputs = [x[:_NOISE_SAMPLES] for x in calibrated.inputs]
    floats = run_stage_models(calibrated.models, inputs[0])
    noise = {}
    for stage, operators in enumerate(calibrated.stage_operators):
        for name in operators:
            models = calibrated.quantized_alone(name)[stage:]
            logits = run_stage_models(models, inputs[stage])
            noise[name] = float(
                np.mean([_noise(a, b) for a, b in zip(logits, floats[stage:], strict=True)])
            )
    return noise


def mean_largest_drop(
    references: Sequence[Logits], answers: Sequence[Logits], labels: NDArray[np.int64]
) -> float:
    """Return the mean over networks of what each loses at the exit that loses most.

    Args:
        references: Of each network: of every exit in float32, each ``(N, classes)``.
        answers: The same as they are to be deployed.
        labels: Classes ``(N,)``.
    """
    # counts: a drop of 5 in 500 is 0.01 then, and no bit more
    lost = [
        max(
            _n_right(before, labels) - _n_right(after, labels)
            for before, after in zip(reference, logits, strict=True)
        )
        for reference, logits in zip(references, answers, strict=True)
    ]
    return sum(lost) / (len(lost) * len(labels))


def _n_right(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> int:
    return int((logits.argmax(axis=1) == labels).sum())


def _noise(logits: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    return float(np.square(logits - reference).sum() / np.square(reference).sum())
