"""Judge a form of a network: its variants, one for each exit policy, with every metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas.bits import pack_bits, unpack_bits
from hwnas.candidate_metrics import accuracy_metric, deployed_metrics
from hwnas.candidate_training import judge
from hwnas.config import EarlyExitConfig
from hwnas.datasets import Dataset
from hwnas.exit_policy import ExitPolicy
from hwnas.flash_parts import flash_part_metrics
from hwnas.front import VALIDATION
from hwnas.policy_curve import policy_curve
from hwnas.product_config import ProductConfig
from hwnas.recall import recall_metrics
from hwnas.variants import NetworkForm, Variant
from latency_predictors import MeasuredArchitecture
from targets import TargetSpec

if TYPE_CHECKING:
    import onnx

Logits = Sequence[NDArray[np.float32]]


@dataclass(frozen=True)
class SeedLogits:
    """What a network that was trained with one seed answers: per exit ``(n, classes)``."""

    validation: Logits
    test: Logits


@dataclass(frozen=True)
class MeasuredForm:
    """A form of a network with its answers and its costs.

    Args:
        form: What it is.
        models: Its ONNX graphs, one per stage, of the deployed network.
        answers: One per training seed; the first is deployed.
        measured: One measurement per stage, of the deployed network.
        spec: Of the target that measured it.
        device_point: Operating point that the device was at.
        selected: As of `TrainedNetworks`.
    """

    form: NetworkForm
    models: tuple[onnx.ModelProto, ...]
    answers: tuple[SeedLogits, ...]
    measured: MeasuredArchitecture
    spec: TargetSpec
    device_point: str | None = None
    selected: bool = False


@dataclass(frozen=True)
class JudgedVariant:
    """A variant, and which samples each seed's network got right.

    Args:
        variant: With every metric but those that compare it with others.
        correct: Of the test split, shape ``(seeds, n)``.
        validation_correct: Of the validation split, likewise.
    """

    variant: Variant
    correct: NDArray[np.bool_]
    validation_correct: NDArray[np.bool_]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "variant": self.variant.to_dict(),
            "correct": _packed(self.correct),
            "validation_correct": _packed(self.validation_correct),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> JudgedVariant:
        """Rebuild it from `to_dict`."""
        return cls(
            Variant.from_dict(data["variant"]),
            _unpacked(data["correct"]),
            _unpacked(data["validation_correct"]),
        )


def _packed(correct: NDArray[np.bool_]) -> dict[str, Any]:
    return {"n": correct.shape[1], "rows": [pack_bits(row) for row in correct]}


def _unpacked(data: Mapping[str, Any]) -> NDArray[np.bool_]:
    return np.stack([unpack_bits(row, data["n"]) for row in data["rows"]])


class FormJudge:
    """Finds exit policies of forms, and the metrics that follow.

    Args:
        dataset: Policies are chosen on its validation split, and judged on both others.
        settings: How policies are chosen.
        accuracy_drops: One policy for each: validation accuracy it may cost.
        product: What surrounds the network, where the experiment says so.
    """

    def __init__(
        self,
        dataset: Dataset,
        settings: EarlyExitConfig,
        accuracy_drops: Sequence[float],
        product: ProductConfig | None,
    ) -> None:
        self._dataset = dataset
        self._settings = settings
        self._drops = tuple(accuracy_drops)
        self._product = product

    def judge(self, found: MeasuredForm) -> list[JudgedVariant]:
        """Return one variant per exit policy that differs from those before it.

        Every seed's policy follows from its own validation logits by the same rule, so that
        accuracies are those of the rule; the policy of the first seed is deployed.
        """
        stage_costs = [m.latency_median_s for m in found.measured.measurements]
        labels = self._dataset.validation.y
        curves = [
            policy_curve(answers.validation, labels, stage_costs, self._settings)
            for answers in found.answers
        ]
        judged: list[JudgedVariant] = []
        for drop in self._drops:
            policies = [curve.for_drop(drop).policy for curve in curves]
            if policies[0] not in [j.variant.policy for j in judged]:
                judged.append(self._variant(found, policies, len(judged)))
        return judged

    def _variant(
        self, found: MeasuredForm, policies: Sequence[ExitPolicy], index: int
    ) -> JudgedVariant:
        validation, test = self._dataset.validation, self._dataset.test
        pairs = list(zip(found.answers, policies, strict=True))
        on_validation = [judge(answers.validation, validation, p) for answers, p in pairs]
        on_test = [judge(answers.test, test, policy) for answers, policy in pairs]
        predicted = np.stack([p.apply(answers.test)[0] for answers, p in pairs])
        chosen_by = np.stack([p.apply(answers.validation)[0] for answers, p in pairs])
        shares = on_validation[0].exit_shares
        classes = self._dataset.class_names
        recalls = recall_metrics(chosen_by, validation.y, classes, "validation")
        accuracies = {
            "accuracy": accuracy_metric(on_test, "test"),
            "validation_accuracy": accuracy_metric(on_validation, "validation", found.selected),
            **recall_metrics(predicted, test.y, classes),
            **{f"{VALIDATION}{name}": metric for name, metric in recalls.items()},
        }
        metrics = deployed_metrics(
            accuracies, found.measured, shares, found.spec.energy_model, self._product
        )
        measurements = found.measured.measurements
        metrics |= flash_part_metrics(found.models, measurements)
        variant = Variant(
            found.form,
            policies[0],
            shares,
            found.spec.name,
            metrics,
            found.device_point,
            policy_index=index,
        )
        return JudgedVariant(variant, predicted == test.y, chosen_by == validation.y)
